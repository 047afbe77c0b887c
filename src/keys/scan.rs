//! The root scan: finds the machine-local roots in the bytes of an output.
//!
//! If a root occurs in an output, kache pins it, so it becomes part of the entry key. A match needs no boundaries
//! around it: debug info and metadata put strings next to each other, so that anything may follow a path. When in
//! doubt, pin.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use memchr::memmem::Finder;

use super::Roots;
use super::times::Times;
use crate::fsx::{self, Stamp};
use crate::model::{Digest, RootKind};
use crate::rustc::alias::ALIAS;
use crate::rustc::notices::json_escaped;
use crate::store::stamps::StampedDigest;

/// A file is scanned in pieces of this size.
const CHUNK_BYTES: usize = 1 << 20;

/// Looks for all roots at once, in any number of files and texts.
#[derive(Debug)]
pub struct Scan<'a> {
    needles: Vec<(RootKind, Finder<'static>)>,
    longest: usize,
    found: Vec<RootKind>,
    roots: &'a Roots,
    times: Times,
    alias: Finder<'static>,
    holds_alias: bool,
}

impl<'a> Scan<'a> {
    /// Creates a scan for `roots`: by their names, by their paths without links, and as JSON spells them.
    pub fn new(roots: &'a Roots) -> Self {
        let mut needles: Vec<(RootKind, String)> = Vec::new();
        // `/tmp` occurs in std itself and in many sources. It does not show where a compile had its own files.
        for (kind, place) in roots.iter().filter(|root| *root != (RootKind::Tmp, "/tmp")) {
            needles.push((kind, place.to_owned()));
            if let Ok(real) = fsx::canonicalize(Path::new(place))
                && let Some(real) = real.to_str().filter(|real| *real != place && real.len() > 1)
            {
                needles.push((kind, real.to_owned()));
            }
        }
        let escaped: Vec<_> = needles.iter().map(|(kind, place)| (*kind, json_escaped(place))).collect();
        needles.extend(escaped);
        needles.sort();
        needles.dedup();
        let longest = needles.iter().map(|(_, needle)| needle.len()).max().unwrap_or(0).max(Times::overlap());
        let needles = needles.into_iter().map(|(kind, needle)| (kind, Finder::new(&needle).into_owned())).collect();
        let (alias, longest) = (Finder::new(ALIAS), longest.max(ALIAS.len()));
        Self { needles, longest, found: Vec::new(), roots, times: Times::default(), alias, holds_alias: false }
    }

    /// Also looks for these times.
    #[must_use]
    pub fn with_times(self, times: Times) -> Self {
        Self { times, ..self }
    }

    /// Whether the alias of the working directory was found. The remaps have not removed it, so a macro has put it
    /// there, from rustc's own arguments.
    pub fn holds_alias(&self) -> bool {
        self.holds_alias
    }

    /// Whether this time was found, in seconds since 1970.
    pub fn holds_time(&self, seconds: i64) -> bool {
        self.times.holds(seconds)
    }

    /// Scans bytes, such as those of a message.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.times.look(bytes);
        self.holds_alias |= self.alias.find(bytes).is_some();
        for (kind, needle) in &self.needles {
            if !self.found.contains(kind) && needle.find(bytes).is_some() {
                self.found.push(*kind);
            }
        }
    }

    /// Scans the name of a file below a directory. A place also counts without its leading slash, and with anything
    /// else in place of its slashes (`home-me-ws`), because names cannot contain slashes.
    pub fn name(&mut self, name: &str) {
        let plain = |text: &str| text.replace(|c: char| !c.is_alphanumeric(), "_");
        let (whole, plain_name) = (format!("/{name}/"), plain(name));
        let holds = |needle: &str| match needle.trim_start_matches('/') {
            // The `app` of `/app` is a part of many names.
            word if !word.contains('/') => whole.contains(&format!("/{word}/")),
            path => plain_name.contains(&plain(path)),
        };
        for (kind, needle) in &self.needles {
            if !self.found.contains(kind) && str::from_utf8(needle.needle()).is_ok_and(holds) {
                self.found.push(*kind);
            }
        }
    }

    /// Scans and hashes a file in one pass. Returns the stamp that the file had when its bytes were read.
    pub fn file(&mut self, path: &Path) -> fsx::Result<StampedDigest> {
        let file = fsx::open(path)?;
        self.read(&file).map_err(|error| fsx::Error::new("read", path, error))
    }

    fn read(&mut self, mut file: &File) -> std::io::Result<StampedDigest> {
        let stamp = Stamp::from(&file.metadata()?);
        let size = usize::try_from(stamp.size).unwrap_or(usize::MAX);
        let mut buffer = vec![0; size.saturating_add(1).min(CHUNK_BYTES) + self.longest];
        let mut hasher = blake3::Hasher::new();
        let mut kept = 0;
        loop {
            let n = match file.read(&mut buffer[kept..]) {
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if n == 0 {
                return Ok(StampedDigest { digest: Digest::from_bytes(*hasher.finalize().as_bytes()), stamp });
            }
            hasher.update(&buffer[kept..kept + n]);
            self.bytes(&buffer[..kept + n]);
            // A root may begin at the end of this chunk, so scan that again with the next one.
            let filled = kept + n;
            kept = filled.min(self.longest.saturating_sub(1));
            buffer.copy_within(filled - kept..filled, 0);
        }
    }

    /// Pins a root, whatever the bytes contain.
    pub fn pin(&mut self, kind: RootKind) {
        if !self.found.contains(&kind) {
            self.found.push(kind);
        }
    }

    /// Pins every root, because the outputs depend on paths in a way that a scan cannot find.
    pub fn pin_all(&mut self) {
        self.found = self.roots.iter().map(|(kind, _)| kind).collect();
    }

    /// Returns the roots that must keep their places, and these places, in a stable order.
    pub fn pinned(&self) -> Vec<(RootKind, String)> {
        let mut found = self.found.clone();
        found.sort_unstable();
        found.into_iter().filter_map(|kind| Some((kind, self.roots.place(kind)?.to_owned()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Roots {
        Roots::new([
            (RootKind::Workspace, Some("/very/own/workspace".into())),
            (RootKind::Home, Some("/home/x".into())),
        ])
    }

    fn scan_file(bytes: &[u8]) -> (Vec<RootKind>, Digest) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fsx::Publish::default().bytes(&path, bytes).unwrap();
        let roots = roots();
        let mut scan = Scan::new(&roots);
        let StampedDigest { digest, stamp } = scan.file(&path).unwrap();
        assert_eq!(stamp.size, bytes.len() as u64);
        (scan.pinned().into_iter().map(|(kind, _)| kind).collect(), digest)
    }

    #[test]
    fn a_root_is_found_wherever_it_stands() {
        for at in [0, 5, CHUNK_BYTES - 10, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 30, 2 * CHUNK_BYTES + 7] {
            let mut bytes = vec![b'x'; at];
            bytes.extend(b"/very/own/workspaceclang");
            let (found, digest) = scan_file(&bytes);
            assert_eq!(found, [RootKind::Workspace], "at {at}");
            assert_eq!(digest, Digest::of(&bytes));
            bytes.resize(at + 3 * CHUNK_BYTES, b'y');
            assert_eq!(scan_file(&bytes).0, [RootKind::Workspace], "at {at}, in the middle");
        }
    }

    #[test]
    fn the_usual_temporary_directory_is_no_find_but_another_one_is() {
        for (place, expected) in [("/tmp", &[][..]), ("/var/builds/tmp", &[RootKind::Tmp][..])] {
            let roots = Roots::new([(RootKind::Tmp, Some(place.into()))]);
            let mut scan = Scan::new(&roots);
            scan.bytes(format!("in {place}/x").as_bytes());
            assert_eq!(scan.pinned().into_iter().map(|(kind, _)| kind).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_root_is_found_in_names() {
        let roots = Roots::new([
            (RootKind::Workspace, Some("/very/own/work space".into())),
            (RootKind::Home, Some("/me".into())),
        ]);
        let found = |name: &str| {
            let mut scan = Scan::new(&roots);
            scan.name(name);
            scan.pinned().into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
        };
        for name in ["very/own/work space/x", "a/very/own/work space", "lib-very-own-work_space.a"] {
            assert_eq!(found(name), [RootKind::Workspace], "{name}");
        }
        for name in ["me", "me/x", "x/me/y"] {
            assert_eq!(found(name), [RootKind::Home], "{name}");
        }
        for name in ["very/own/work/x", "name/memory", "gen.rs"] {
            assert_eq!(found(name), [], "{name}");
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        assert!(scan_file(b"/very/own/work").0.is_empty());
        assert!(scan_file(b"").0.is_empty());
    }

    #[test]
    fn a_root_behind_a_link_is_found_by_both_names() {
        let dir = tempfile::tempdir().unwrap();
        let real = fsx::canonicalize(dir.path()).unwrap().join("real");
        fsx::create_dir_all(&real).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let roots = Roots::new([(RootKind::Workspace, Some(link.clone()))]);
        for name in [&real, &link] {
            let mut scan = Scan::new(&roots);
            scan.bytes(name.to_str().unwrap().as_bytes());
            assert_eq!(scan.pinned(), [(RootKind::Workspace, link.to_str().unwrap().to_owned())]);
        }
    }
}
