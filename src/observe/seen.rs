//! Turns a trace into facts, in the order in which they were first found, without the files that the compile made
//! itself.
//!
//! Pure: a function of the records and the root. Paths are absolute, without `//` and `/./`, and otherwise as the
//! programs spelled them, except that the target directory has the name that cargo uses.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::starts::Starts;
use super::wire::{Answer, Kind, Record};

/// What a call found at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Found {
    /// Something: the call does not show of which kind.
    Something,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link. Only from calls that do not follow links.
    Link,
    /// A pipe, socket or device.
    Special,
    /// Nothing.
    Nothing,
    /// Access was denied.
    Denied,
}

/// One thing that a program found out or did.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum What {
    /// The file or directory was opened for reading.
    Read(String),
    /// A call that follows links found this at the path.
    Stat(String, Found),
    /// A call that does not follow links found this at the path.
    LinkStat(String, Found),
    /// The directory was listed.
    List(String),
    /// The link at the first path has the second as its target.
    Link(String, String),
    /// The second path is the first with all links resolved.
    Resolve(String, String),
    /// The variable has this value. `None`: it is not set.
    Env(String, Option<String>),
    /// The program of this name was looked up on `PATH`, and this file was found. `None`: there is no such program.
    Lookup(String, Option<String>),
    /// The program in this file was run.
    Program(String),
    /// The library in this file was loaded.
    Library(String),
    /// The library in this file is a plugin and may have read all variables at once, through `environ`.
    Environ(String),
}

/// A fact, and whether a plugin found it: a proc macro, a build script, or a program that one of them started.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Fact {
    /// What was found.
    pub what: What,
    /// Whether a plugin found it.
    pub plugin: bool,
}

/// The first process of a compile or run, and the names of its target directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Root<'a> {
    /// ID of the process.
    pub process: u32,
    /// Whether a script takes the place of the compiler. Then the compiler's identity does not cover the libraries that
    /// this process loads.
    pub is_script: bool,
    /// The target directory, if there is one. If its path contains a link, rustc uses both names.
    pub target: Option<Target<'a>>,
}

/// The two names of the target directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    /// The path that cargo uses.
    pub name: &'a str,
    /// The same path with all links resolved.
    pub real: &'a str,
}

/// One run of a shell, or of `env`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shell {
    /// File of the program.
    pub program: String,
    /// Its arguments, beginning with `argv[0]`. `None` if they could not be read.
    pub arguments: Option<Vec<String>>,
    /// Whether a plugin started it.
    pub plugin: bool,
}

/// Everything that a trace shows of a compile or run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Facts, in the order in which they were first found.
    pub facts: Vec<Fact>,
    /// Files that were written, each with whether a plugin wrote it.
    pub written: BTreeMap<String, bool>,
    /// Symbolic links that were made, each with its target.
    pub links: BTreeMap<String, String>,
    /// The shells, and `env`, that were run.
    pub shells: Vec<Shell>,
    /// Files that shells opened, which may contain commands.
    pub commands: BTreeSet<String>,
    /// Something that was not observed, or that cannot be repeated, such as a connection to a socket. `None`: the trace
    /// shows everything.
    pub unobserved: Option<String>,
}

/// Turns the records of a compile or run into facts. `root` is its first process.
pub fn tell(records: &[Record<'_>], root: Root<'_>) -> Seen {
    let mut teller = Teller { root, ..Teller::default() };
    for record in records {
        teller.hear(record);
    }
    let starts = &teller.starts;
    teller.seen.facts.retain(|fact| match &fact.what {
        What::Program(program) => !starts.has_only_failed(program),
        _ => true,
    });
    teller.seen.unobserved = teller.trouble.take().or_else(|| teller.starts.unheard(root));
    teller.seen
}

#[derive(Default)]
struct Teller<'a> {
    root: Root<'a>,
    seen: Seen,
    told: HashSet<Fact>,
    /// Paths that already existed when a program looked at them, before any program wrote to them.
    found: HashSet<String>,
    /// Paths that the compile made, directories included.
    made: BTreeSet<String>,
    starts: Starts,
    trouble: Option<String>,
}

impl Teller<'_> {
    fn hear(&mut self, record: &Record<'_>) {
        // Arguments that are not UTF-8 count as unknown.
        let two = if record.kind == Kind::Shell && std::str::from_utf8(record.two).is_err() { b"" } else { record.two };
        let (Ok(one), Ok(two)) = (std::str::from_utf8(record.one), std::str::from_utf8(two)) else {
            return self.trouble(format!("{} is not UTF-8", String::from_utf8_lossy(record.one)));
        };
        match record.kind {
            Kind::Start => self.started(record, one, two),
            Kind::Exec | Kind::Spawn => self.starts(record, one, two, 1),
            Kind::ExecFailed => self.starts(record, one, two, -1),
            Kind::Environ => self.tell(What::Environ(self.path(one)), record.plugin),
            Kind::End => self.starts.ended(record.process),
            Kind::Lost => self.trouble(one.to_owned()),
            Kind::Connect => self.trouble("a socket".to_owned()),
            Kind::Write => self.wrote(self.path(one), record.plugin),
            Kind::Symlink => {
                self.wrote(self.path(one), record.plugin);
                self.seen.links.insert(self.path(one), two.to_owned());
            }
            Kind::Shell => self.shell(record, one, two),
            Kind::Commands => {
                self.seen.commands.insert(self.path(one));
            }
            Kind::Append => self.appended(record, one),
            Kind::Env => {
                let value = (record.answer == Answer::Ok).then(|| two.to_owned());
                self.tell(What::Env(one.to_owned(), value), record.plugin);
            }
            Kind::Lookup => {
                let found = (record.answer == Answer::Ok).then(|| self.path(two));
                self.tell(What::Lookup(one.to_owned(), found), record.plugin);
            }
            Kind::Load => {
                if one.rsplit('/').next().is_some_and(|name| name.starts_with("librustc_driver")) {
                    self.starts.is_compiler(record.process);
                }
                // The compiler's identity covers the libraries of rustc itself.
                let is_compiler = record.process == self.root.process && !self.root.is_script;
                if !is_compiler || record.plugin {
                    self.tell(What::Library(self.path(one)), record.plugin);
                }
            }
            Kind::Read | Kind::Stat | Kind::LinkStat | Kind::List | Kind::Link | Kind::Resolve => {
                self.looked(record, self.path(one), two);
            }
        }
    }

    fn trouble(&mut self, what: String) {
        self.trouble.get_or_insert(what);
    }

    fn tell(&mut self, what: What, plugin: bool) {
        let fact = Fact { what, plugin };
        if self.told.insert(fact.clone()) {
            self.seen.facts.push(fact);
        }
    }

    fn starts(&mut self, record: &Record<'_>, started_by: &str, program: &str, change: i64) {
        let program = (!program.is_empty()).then(|| self.path(program));
        self.starts.expect(record.process, started_by, program.as_deref(), change);
        if let Some(program) = program.filter(|_| change > 0) {
            self.tell(What::Program(program), record.plugin);
        }
    }

    fn started(&mut self, record: &Record<'_>, program: &str, started_by: &str) {
        let program = self.path(program);
        self.starts.began(record.process, started_by, &program);
        self.tell(What::Program(program), record.plugin);
    }

    fn shell(&mut self, record: &Record<'_>, program: &str, arguments: &str) {
        let arguments = (record.answer == Answer::Ok && !arguments.is_empty())
            .then(|| arguments.split_terminator('\0').map(str::to_owned).collect());
        self.seen.shells.push(Shell { program: self.path(program), arguments, plugin: record.plugin });
    }

    /// A file that is appended to keeps its content, so it counts as read. The exception is a script in the compiler's
    /// place, which may keep a log: the result does not depend on it, and no one misses a line for a compile that did
    /// not happen. In the target directory an append always counts, because no logs are kept among cargo's files.
    fn appended(&mut self, record: &Record<'_>, to: &str) {
        let path = self.path(to);
        let is_of_cargo = self.root.target.is_some_and(|target| below(&path, target.name).is_some());
        if self.root.is_script && !record.plugin && !is_of_cargo {
            if record.answer != Answer::Ok {
                self.made.insert(path);
            }
            return;
        }
        if record.answer == Answer::Ok {
            self.looked(&Record { kind: Kind::Read, ..*record }, path.clone(), "");
        }
        self.wrote(path, record.plugin);
    }

    fn wrote(&mut self, path: String, plugin: bool) {
        if !self.found.contains(&path) {
            self.made.insert(path.clone());
        }
        *self.seen.written.entry(path).or_default() |= plugin;
    }

    fn looked(&mut self, record: &Record<'_>, path: String, two: &str) {
        if self.is_made(&path) {
            return;
        }
        let found = match record.answer {
            Answer::Ok => Found::Something,
            Answer::Absent => Found::Nothing,
            Answer::Denied => Found::Denied,
            Answer::File => Found::File,
            Answer::Directory => Found::Directory,
            Answer::Link => Found::Link,
            Answer::Special => Found::Special,
            Answer::Other => return self.trouble(format!("{path} could not be looked at")),
        };
        if !matches!(found, Found::Nothing | Found::Denied) {
            self.found.insert(path.clone());
        }
        let what = match record.kind {
            _ if matches!(found, Found::Nothing | Found::Denied) => What::Stat(path, found),
            Kind::Read => What::Read(path),
            Kind::List => What::List(path),
            Kind::Link => What::Link(path, two.to_owned()),
            Kind::Resolve => What::Resolve(path, two.to_owned()),
            Kind::LinkStat => What::LinkStat(path, found),
            _ => What::Stat(path, found),
        };
        self.tell(what, record.plugin);
    }

    /// Whether the compile made the file at `path`. If `..` follows anything but a directory that the compile made, the
    /// path may lead anywhere, and the answer is no, unless it was written under exactly this name.
    fn is_made(&self, path: &str) -> bool {
        if !path.contains("/../") && !path.ends_with("/..") {
            return self.is_below_made(path);
        }
        if self.made.contains(path) {
            return true;
        }
        let mut place = String::with_capacity(path.len());
        for part in path.split('/').skip(1) {
            if part != ".." {
                place.push('/');
                place.push_str(part);
                continue;
            }
            if !self.is_below_made(&place) || self.seen.links.contains_key(&place) {
                return false;
            }
            place.truncate(place.rfind('/').unwrap_or(0));
        }
        self.is_below_made(&place)
    }

    fn is_below_made(&self, path: &str) -> bool {
        let mut ends = path.match_indices('/').map(|(slash, _)| slash).filter(|slash| *slash > 0).chain([path.len()]);
        ends.any(|end| self.made.contains(&path[..end]))
    }

    /// Normalizes a path, and gives the target directory the name that cargo uses.
    fn path(&self, text: &str) -> String {
        let path = path(text);
        let renamed = self.root.target.and_then(|target| Some((below(&path, target.real)?, target.name)));
        match renamed {
            Some((below, name)) => format!("{name}{below}"),
            None => path,
        }
    }
}

/// The rest of `path` if it is `dir` or below it.
fn below<'a>(path: &'a str, dir: &str) -> Option<&'a str> {
    path.strip_prefix(dir).filter(|below| below.is_empty() || below.starts_with('/'))
}

/// A path without its redundant parts: `//`, `/./`, and a `/` or `/.` at its end.
fn path(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        out.push('/');
        out.push_str(part);
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u32 = 10;
    const AT: Root<'_> = Root { process: ROOT, is_script: false, target: None };

    fn record(kind: Kind, answer: Answer, one: &'static str) -> Record<'static> {
        Record { kind, answer, plugin: false, process: ROOT, one: one.as_bytes(), two: b"" }
    }

    fn start_by(process: u32, path: &'static str) -> Record<'static> {
        Record { process, two: path.as_bytes(), ..record(Kind::Start, Answer::Ok, path) }
    }

    fn facts(records: &[Record<'_>]) -> Vec<What> {
        tell(records, AT).facts.into_iter().map(|fact| fact.what).collect()
    }

    #[test]
    fn what_the_compile_made_is_no_input() {
        let seen = facts(&[
            record(Kind::Stat, Answer::Absent, "/out/a.o"),
            record(Kind::Write, Answer::Ok, "/out/a.o"),
            record(Kind::Read, Answer::Ok, "/out/a.o"),
            record(Kind::Write, Answer::Ok, "/tmp/dir"),
            record(Kind::Read, Answer::Ok, "/tmp/dir/./sub//f"),
            record(Kind::Read, Answer::Ok, "/tmp/dirt"),
            record(Kind::Read, Answer::Ok, "/tmp/dir/sub/../f"),
            record(Kind::Read, Answer::Ok, "/tmp/dir/../other"),
            record(Kind::Write, Answer::Ok, "/w/../made"),
            record(Kind::Read, Answer::Ok, "/w/../made"),
            record(Kind::Read, Answer::Ok, "/w/x/../../tmp/dir/f"),
        ]);
        let read = |path: &str| What::Read(path.into());
        let inputs = [read("/tmp/dirt"), read("/tmp/dir/../other"), read("/w/x/../../tmp/dir/f")];
        assert_eq!(seen[0], What::Stat("/out/a.o".into(), Found::Nothing));
        assert_eq!(seen[1..], inputs);
    }

    #[test]
    fn what_was_there_before_it_was_written_is_an_input() {
        let seen = facts(&[
            record(Kind::Read, Answer::Ok, "/w/f"),
            record(Kind::Write, Answer::Ok, "/w/f"),
            record(Kind::List, Answer::Ok, "/w/f"),
        ]);
        assert_eq!(seen, [What::Read("/w/f".into()), What::List("/w/f".into())]);
    }

    #[test]
    fn a_program_that_could_not_be_started_was_not_run() {
        let exec =
            |kind, program: &'static str| Record { two: program.as_bytes(), ..record(kind, Answer::Ok, program) };
        let programs = |records: &[Record<'_>]| -> Vec<What> {
            facts(records).into_iter().filter(|what| matches!(what, What::Program(_))).collect()
        };
        let run = |path: &str| What::Program(path.into());
        let failed = [exec(Kind::Exec, "/a/cc"), exec(Kind::ExecFailed, "/a/cc")];
        let found = [exec(Kind::Exec, "/b/cc"), start_by(ROOT, "/b/cc")];
        assert_eq!(programs(&[failed, found].concat()), [run("/b/cc")]);
        assert_eq!(
            programs(&[found, [exec(Kind::Exec, "/b/cc"), exec(Kind::ExecFailed, "/b/cc")]].concat()),
            [run("/b/cc")]
        );
    }

    #[test]
    fn what_rustc_is_made_of_is_not_told_but_what_it_loads_is() {
        let load = |plugin, process| Record { plugin, process, ..record(Kind::Load, Answer::Ok, "/lib/x.so") };
        assert!(facts(&[load(false, ROOT)]).is_empty());
        assert_eq!(facts(&[load(true, ROOT)]), [What::Library("/lib/x.so".into())]);
        assert_eq!(facts(&[load(false, 11)]), [What::Library("/lib/x.so".into())]);
    }

    #[test]
    fn paths_lose_what_means_nothing() {
        assert_eq!(path("/a//b/./c/."), "/a/b/c");
        assert_eq!(path("/a/../b/"), "/a/../b");
        assert_eq!(path("/"), "/");
    }

    #[test]
    fn what_was_made_under_one_name_is_made_under_the_other() {
        let records = [
            record(Kind::Write, Answer::Ok, "/w/target/tmp"),
            record(Kind::Read, Answer::Ok, "/disk/t/tmp/f"),
            record(Kind::Read, Answer::Ok, "/disk/t/other"),
            record(Kind::Read, Answer::Ok, "/disk/tx"),
        ];
        let read = |path: &str| Fact { what: What::Read(path.into()), plugin: false };
        let root = Root { target: Some(Target { name: "/w/target", real: "/disk/t" }), ..AT };
        assert_eq!(tell(&records, root).facts, [read("/w/target/other"), read("/disk/tx")]);
        assert_eq!(tell(&records, AT).facts.len(), 3, "control");
    }

    #[test]
    fn what_a_compilers_script_appends_is_a_log_but_among_cargos_files() {
        let append = |answer, path| Record { answer, ..record(Kind::Append, answer, path) };
        let root = Root { is_script: true, target: Some(Target { name: "/w/target", real: "/w/target" }), ..AT };
        let records = [
            append(Answer::Ok, "/log"),
            append(Answer::Absent, "/args"),
            record(Kind::Read, Answer::Ok, "/args"),
            append(Answer::Ok, "/w/target/units"),
        ];
        let seen = tell(&records, root);
        assert_eq!(seen.written.keys().collect::<Vec<_>>(), ["/w/target/units"]);
        let read = |path: &str| Fact { what: What::Read(path.into()), plugin: false };
        assert_eq!(seen.facts, [read("/w/target/units")]);
        assert_eq!(tell(&records, AT).written.len(), 3, "control: who is the compiler itself");
    }
}
