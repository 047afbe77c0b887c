//! The oracle is a measuring device, not a cache: it replays the outputs of a compile by the arguments alone, and does
//! not check any input. The time of a build with it is the floor for any wrapper that copies outputs as it does.
//!
//! If the oracle is the `RUSTC_WRAPPER`, cargo runs `oracle RUSTC ARGUMENT...`. The key of a call is a hash of the path
//! of rustc, the arguments, and, if there is an `--out-dir`, the working directory.
//!
//! ```text
//! $ORACLE_DIR/<key>/f/      the output files; an `.rlib` is a hard link, any other file a copy
//! $ORACLE_DIR/<key>/out     standard output
//! $ORACLE_DIR/<key>/err     standard error
//! $ORACLE_DIR/<key>/code    the exit code in one byte, written last
//! ```
//!
//! The oracle records a call with an `--out-dir` if it succeeds. It records a call without one, such as a question of
//! cargo, if `ORACLE_PROBE` is set. The default of `ORACLE_DIR` is `oracle-store` in the temporary directory.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

/// The FNV-1a hash with 128 bits.
struct Hash(u128);

impl Hash {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }
}

/// The arguments that say where rustc writes.
#[derive(Default)]
struct Call {
    out_dir: Option<PathBuf>,
    crate_name: Option<String>,
    extra_filename: String,
}

impl Call {
    fn parse(arguments: &[OsString]) -> Self {
        let mut call = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_bytes() {
                b"--out-dir" => call.out_dir = words.next().map(PathBuf::from),
                b"--crate-name" => call.crate_name = words.next().map(|name| name.to_string_lossy().into_owned()),
                b"-C" => {
                    let option = words.next().map(|option| option.to_string_lossy());
                    if let Some(extra) = option.as_deref().and_then(|option| option.strip_prefix("extra-filename=")) {
                        extra.clone_into(&mut call.extra_filename);
                    }
                }
                _ => {}
            }
        }
        call
    }

    /// Returns the directory of the outputs, and their name up to the first dot, without `lib`.
    fn outputs(&self) -> Option<(&Path, String)> {
        let (dir, name) = (self.out_dir.as_deref()?, self.crate_name.as_deref()?);
        Some((dir, format!("{name}{}", self.extra_filename)))
    }
}

/// Returns the directory with the record of a call. `words` are rustc and its arguments.
fn record_dir(words: &[OsString], call: &Call) -> io::Result<PathBuf> {
    let mut hash = Hash(Hash::BASIS);
    for word in words {
        hash.add(word.as_bytes());
        hash.add(b"\0");
    }
    if call.out_dir.is_some() {
        hash.add(env::current_dir()?.as_os_str().as_bytes());
    }
    let root = env::var_os("ORACLE_DIR").map_or_else(|| env::temp_dir().join("oracle-store"), PathBuf::from);
    Ok(root.join(format!("{:032x}", hash.0)))
}

/// Whether a file in the output directory belongs to the unit with this stem.
fn is_output(name: &str, stem: &str) -> bool {
    let base = if name.starts_with(stem) { name } else { name.strip_prefix("lib").unwrap_or(name) };
    base.split('.').next() == Some(stem)
}

/// Links or copies a file, replacing `to`.
fn clone_file(from: &Path, to: &Path) -> io::Result<()> {
    let _ = fs::remove_file(to);
    match from.extension().is_some_and(|extension| extension == "rlib") {
        true => fs::hard_link(from, to),
        false => fs::copy(from, to).map(|_| ()),
    }
}

fn replay(record: &Path, call: &Call) -> io::Result<()> {
    if let Some((dir, _)) = call.outputs() {
        for entry in fs::read_dir(record.join("f"))? {
            let entry = entry?;
            clone_file(&entry.path(), &dir.join(entry.file_name()))?;
        }
    }
    io::stdout().write_all(&fs::read(record.join("out"))?)?;
    io::stderr().write_all(&fs::read(record.join("err"))?)
}

fn main() -> io::Result<ExitCode> {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let (rustc, arguments) = words.split_first().ok_or_else(|| io::Error::other("usage: oracle RUSTC ARGUMENT..."))?;
    // A build script gives the compiler a source; cargo's own question (its crate is called `___`) has none.
    if arguments.iter().any(|word| word == "-") && !arguments.iter().any(|word| word == "___") {
        let status = Command::new(rustc).args(arguments).status()?;
        return Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
    }
    let call = Call::parse(arguments);
    let record = record_dir(&words, &call)?;
    if let Ok([code]) = fs::read(record.join("code")).as_deref() {
        replay(&record, &call)?;
        return Ok(ExitCode::from(*code));
    }
    let ran = Command::new(rustc).args(arguments).stdin(Stdio::inherit()).output()?;
    let code = ran.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    let is_recorded = if call.out_dir.is_some() { code == 0 } else { env::var_os("ORACLE_PROBE").is_some() };
    if is_recorded {
        fs::create_dir_all(record.join("f"))?;
        if let Some((dir, stem)) = call.outputs() {
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                if is_output(&entry.file_name().to_string_lossy(), &stem) && entry.file_type()?.is_file() {
                    clone_file(&entry.path(), &record.join("f").join(entry.file_name()))?;
                }
            }
        }
        fs::write(record.join("out"), &ran.stdout)?;
        fs::write(record.join("err"), &ran.stderr)?;
        fs::write(record.join("code"), [code])?;
    }
    io::stdout().write_all(&ran.stdout)?;
    io::stderr().write_all(&ran.stderr)?;
    Ok(ExitCode::from(code))
}
