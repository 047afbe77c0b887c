//! Validates the files and absences of an input set together: it opens each directory once for all names in it that are
//! next to each other (from three on), and queries the stamp memo once for all files.
//!
//! The result is the same as if each input were validated alone.

use std::path::{Path, PathBuf};

use super::Context;
use crate::fsx::{self, Dir, Stamp};
use crate::model::{Input, TokenString};
use crate::store::file_sets::FileSet;

/// From this number of names on, kache opens their directory: opening and closing it costs as much as two lookups by
/// path.
const MIN_NAMES_TO_OPEN: usize = 3;
/// From this number of files on, one query of the memo (a file set) covers all of them.
const MIN_FILES_FOR_SET: usize = 3;

/// Returns the directory, as it is spelled, of an input that this module validates. `None` for any other input.
pub(super) fn directory_of(input: &Input) -> Option<&str> {
    match input {
        Input::File(path, _) | Input::Absent(path) => path.directory_and_name().map(|(dir, _)| dir),
        _ => None,
    }
}

/// Checks files and absences. Holds the files that were found so far, each with its stamp.
pub(super) struct FileValidator<'a> {
    context: Context<'a>,
    set: FileSet,
    found: Vec<(&'a Input, Stamp)>,
}

/// How names in one directory are looked up.
enum DirectoryLookup {
    /// An open directory.
    Open(Dir),
    /// A directory that does not exist, so it does not contain any name.
    Missing,
    /// A directory whose names are looked up by path.
    ByPath,
}

impl<'a> FileValidator<'a> {
    pub(super) fn new(context: Context<'a>) -> Self {
        let roots = context.roots.iter().flat_map(|(kind, place)| [kind.name(), place]);
        let about = context.cwd.to_str().into_iter().chain(roots);
        Self { set: FileSet::begin(about), found: Vec::new(), context }
    }

    /// Checks inputs of one directory. Returns the first that does not hold, as far as that shows without reading
    /// content.
    pub(super) fn look(&mut self, side_by_side: &'a [Input]) -> Result<(), &'a Input> {
        let lookup = if side_by_side.len() < MIN_NAMES_TO_OPEN {
            DirectoryLookup::ByPath
        } else {
            self.directory_lookup(&side_by_side[0])
        };
        side_by_side.iter().try_for_each(|input| self.look_at(input, &lookup).ok_or(input))
    }

    fn directory_lookup(&self, input: &Input) -> DirectoryLookup {
        let dir = directory_of(input).and_then(|dir| self.context.roots.expand_spelled(dir));
        match dir.map(|dir| Dir::open(&self.context.cwd.join(dir))) {
            Some(Ok(Some(dir))) => DirectoryLookup::Open(dir),
            Some(Ok(None)) => DirectoryLookup::Missing,
            Some(Err(_)) | None => DirectoryLookup::ByPath,
        }
    }

    /// `None` if the input does not hold.
    fn look_at(&mut self, input: &'a Input, lookup: &DirectoryLookup) -> Option<()> {
        let name = |path: &'a TokenString| path.directory_and_name().map_or("", |(_, name)| name);
        match (input, lookup) {
            (Input::File(path, digest), lookup) => {
                let stamp = match lookup {
                    DirectoryLookup::Open(dir) => dir.stamp(name(path))?,
                    DirectoryLookup::Missing => return None,
                    DirectoryLookup::ByPath => Stamp::of(&self.path(path)?).ok()?,
                };
                self.set.add(path.as_str(), &stamp, *digest);
                self.found.push((input, stamp));
                Some(())
            }
            (Input::Absent(path), DirectoryLookup::Open(dir)) => (!dir.contains(name(path))).then_some(()),
            (Input::Absent(_), DirectoryLookup::Missing) => Some(()),
            (Input::Absent(path), DirectoryLookup::ByPath) => (!fsx::exists(&self.path(path)?)).then_some(()),
            _ => None,
        }
    }

    fn path(&self, path: &TokenString) -> Option<PathBuf> {
        let path = self.context.roots.expand(path)?;
        Some(self.context.cwd.join(Path::new(&path)))
    }

    /// Compares the contents of all files that were found. Returns the first that differs.
    pub(super) fn compare(self) -> Result<(), &'a Input> {
        let stamps = self.context.stamps;
        let together = self.found.len() >= MIN_FILES_FOR_SET;
        if together && stamps.has(&self.set) {
            return Ok(());
        }
        let mut remembered = true;
        for (input, stamp) in &self.found {
            let Input::File(path, digest) = input else { continue };
            let found = self.path(path).and_then(|path| stamps.content_under(&path, *stamp).ok()).ok_or(*input)?;
            if found.content.digest != *digest {
                return Err(input);
            }
            remembered &= found.remembered && found.content.stamp == *stamp;
        }
        if together && remembered {
            stamps.remember(&self.set);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;
    use crate::fsx::{Publish, canonicalize, create_dir_all, rename};
    use crate::keys::{Roots, validate};
    use crate::model::{Digest, RootKind};
    use crate::rustc::Invocation;
    use crate::store::Store;
    use std::ffi::OsString;

    struct FilesFixture {
        dir: tempfile::TempDir,
        invocation: Invocation,
        roots: Roots,
    }

    impl FilesFixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let at = canonicalize(dir.path()).unwrap();
            let args =
                "--crate-name a src/lib.rs --json=artifacts --crate-type lib --emit=dep-info,link --out-dir target";
            let args: Vec<OsString> = args.split_whitespace().map(OsString::from).collect();
            let invocation = Invocation::parse(&args, &at.join("w")).unwrap();
            let roots = Roots::new([(RootKind::Workspace, Some(at.join("w"))), (RootKind::Home, Some(at.clone()))]);
            Self { dir, invocation, roots }
        }

        fn write(&self, name: &str, content: &str) {
            Publish::default().bytes(&self.invocation.cwd.join(name), content.as_bytes()).unwrap();
        }

        fn path(&self, text: &str) -> TokenString {
            self.roots.tokenise(text)
        }

        fn file(&self, name: &str, content: &str) -> Input {
            Input::File(self.path(name), Digest::of(content.as_bytes()))
        }

        /// Validates as a new process would: no directory is open yet.
        fn first_that_differs(&self, inputs: &[Input]) -> Option<String> {
            let (env, store) =
                (Env::of([("", ""); 0]), Store::open(&canonicalize(self.dir.path()).unwrap().join("cache")));
            let (invocation, roots) = (&self.invocation, &self.roots);
            let context = Context::of(invocation, roots, &env, store.stamps());
            validate::holds(inputs, context).err().map(|differs| differs.0)
        }
    }

    #[test]
    fn names_side_by_side_hold_as_each_alone_does() {
        let f = FilesFixture::new();
        for name in ["src/lib.rs", "src/a.rs", "src/b {odd}.rs", "other/x", "top.rs"] {
            f.write(name, "x");
        }
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, f.invocation.cwd.join(name)).unwrap();
        link("../src", "src/loop");
        link("src", "linked");
        link("nowhere", "src/dangling.rs");
        link("self", "self");
        let dirs =
            ["", "src/", "linked/", "src/none/", "src/a.rs/", "none/none/", "self/", "{there}/", "src//", "src/loop/"];
        let home = f.roots.place(RootKind::Home).unwrap();
        let dirs = dirs.iter().map(|dir| (*dir).to_owned()).chain(["/".into(), format!("{home}/w/src/")]);
        let names = ["lib.rs", "a.rs", "b {odd}.rs", "dangling.rs", "none.rs", "top.rs", "..", ".", "", "self", "x\0y"];
        let (mut held, mut differed) = (0, 0);
        for dir in dirs {
            let paths: Vec<String> = names.iter().map(|name| format!("{dir}{name}")).collect();
            let absent = paths.iter().map(|path| Input::Absent(f.path(path)));
            let inputs: Vec<Input> = absent.chain(paths.iter().map(|path| f.file(path, "x"))).collect();
            // Inputs that hold alone also hold together, and one that does not is found among those that do.
            let (good, bad): (Vec<Input>, Vec<Input>) =
                inputs.into_iter().partition(|input| f.first_that_differs(std::slice::from_ref(input)).is_none());
            assert_eq!(f.first_that_differs(&good), None, "{dir:?}");
            held += good.len();
            for input in bad {
                let alone = f.first_that_differs(std::slice::from_ref(&input));
                let together: Vec<Input> = good.iter().cloned().chain([input]).chain(good.iter().cloned()).collect();
                assert_eq!(f.first_that_differs(&together), alone, "{dir:?}");
                differed += 1;
            }
        }
        assert!(held > 50 && differed > 50, "{held} {differed}");
    }

    #[test]
    fn a_link_into_a_root_that_is_not_known_here_does_not_hold() {
        let f = FilesFixture::new();
        let elsewhere = Roots::new([(RootKind::CargoHome, Some("/elsewhere".into()))]);
        let there = elsewhere.tokenise("/elsewhere/x");
        assert_eq!(f.roots.expand(&there), None, "control");
        for input in [Input::Link(f.path("link"), there.clone()), Input::Resolved(f.path("link"), there)] {
            assert!(f.first_that_differs(std::slice::from_ref(&input)).is_some(), "{input:?}");
        }
        f.write("beside", "");
        std::os::unix::fs::symlink("beside", f.invocation.cwd.join("link")).unwrap();
        assert_eq!(f.first_that_differs(&[Input::Link(f.path("link"), f.path("beside"))]), None);
    }

    #[test]
    fn u24_no_file_set_outlives_its_files() {
        let f = FilesFixture::new();
        let names = ["src/a.rs", "src/b.rs", "src/c.rs", "d.rs"];
        for name in names {
            f.write(name, "old");
        }
        let inputs: Vec<Input> = names.iter().map(|name| f.file(name, "old")).collect();
        let holds = || f.first_that_differs(&inputs).is_none();
        assert!(holds() && holds(), "young");
        std::thread::sleep(std::time::Duration::from_millis(60));
        assert!(holds() && holds(), "settled, and then known");
        for name in names {
            let path = f.invocation.cwd.join(name);
            let before = filetime::FileTime::from_last_modification_time(&crate::fsx::metadata(&path).unwrap());
            std::io::Write::write_all(&mut crate::fsx::open_rw(&path).unwrap(), b"new").unwrap();
            filetime::set_file_mtime(&path, before).unwrap();
            assert_eq!(f.first_that_differs(&inputs), Some(format!("file {name}")), "same size, same mtime");
            std::io::Write::write_all(&mut crate::fsx::open_rw(&path).unwrap(), b"old").unwrap();
            assert!(holds());
        }
        std::thread::sleep(std::time::Duration::from_millis(60));
        assert!(holds() && holds());
        // The same inodes under each other's name, with the same sizes and times.
        let path = |name: &str| f.invocation.cwd.join(name);
        create_dir_all(&path("aside")).unwrap();
        f.write("src/b.rs", "new");
        rename(&path("src/b.rs"), &path("aside/b.rs")).unwrap();
        rename(&path("src/a.rs"), &path("src/b.rs")).unwrap();
        rename(&path("aside/b.rs"), &path("src/a.rs")).unwrap();
        assert_eq!(f.first_that_differs(&inputs), Some("file src/a.rs".to_owned()));
    }
}
