//! Expands `@path` arguments as rustc does: one argument per line, no quotes, no nesting
//! (`rustc_driver_impl::args::Expander`). `@shell:` is unstable in rustc and refused here.

use std::ffi::OsString;
use std::path::Path;

use crate::fsx;
use crate::model::{BypassReason, Refusal};

/// Replaces every `@path` with the lines of the file. Fails if one of the arguments or files cannot be used.
pub fn expand(args: &[OsString], cwd: &Path) -> Result<Vec<String>, Refusal> {
    let mut out = Vec::with_capacity(args.len());
    for arg in args {
        let Some(arg) = arg.to_str() else {
            return Err(Refusal::new(BypassReason::NonUtf8, arg.to_string_lossy()));
        };
        match arg.strip_prefix('@') {
            Some(path) => out.extend(read(path, cwd)?),
            None => out.push(arg.to_owned()),
        }
    }
    Ok(out)
}

fn read(path: &str, cwd: &Path) -> Result<Vec<String>, Refusal> {
    let refuse = || Refusal::new(BypassReason::Argfile, path);
    if path.starts_with("shell:") {
        return Err(refuse());
    }
    // A pipe can be read only once, and rustc must read it.
    let path = cwd.join(path);
    fsx::Stamp::of(&path).ok().filter(|stamp| stamp.is_file).ok_or_else(refuse)?;
    let text = fsx::read_to_string(&path).map_err(|_| refuse())?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.iter().any(|line| line.starts_with('@')) {
        return Err(refuse());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u27_an_argfile_is_expanded_by_lines() {
        let dir = tempfile::tempdir().unwrap();
        fsx::Publish::default().bytes(&dir.path().join("args"), b"--cfg\nfeature=\"a b\"\n-O\n").unwrap();
        let args = [OsString::from("--crate-name"), "x".into(), "@args".into()];
        assert_eq!(expand(&args, dir.path()).unwrap(), ["--crate-name", "x", "--cfg", "feature=\"a b\"", "-O"]);
    }

    #[test]
    fn u27_what_cannot_be_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fsx::Publish::default().bytes(&dir.path().join("nested"), b"@other\n").unwrap();
        // A pipe can be read only once. Opening this one would wait forever.
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for arg in ["@absent", "@nested", "@shell:x", "@pipe"] {
            assert_eq!(expand(&[arg.into()], dir.path()).unwrap_err().reason, BypassReason::Argfile, "{arg}");
        }
    }
}
