//! What a trace comes to: facts in the order in which they were first found, without what the compile made itself.
//!
//! Pure: a function of the records. Paths are absolute and otherwise as the programs spelled them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::wire::{Answer, Kind, Record};

/// What stands at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Found {
    /// Something; nobody asked what.
    Something,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link (only where links were not followed).
    Link,
    /// A pipe, socket or device.
    Special,
    /// Nothing.
    Nothing,
    /// Something that may not be looked at.
    Denied,
}

/// One thing that was found out.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum What {
    /// The file or directory was opened for reading.
    Read(String),
    /// This stands at the path, links followed.
    Stat(String, Found),
    /// This stands at the path itself.
    LinkStat(String, Found),
    /// The directory was listed.
    List(String),
    /// The link at the path leads there.
    Link(String, String),
    /// The path without links is that.
    Resolve(String, String),
    /// The variable has this value.
    Env(String, Option<String>),
    /// The program of this name was looked for on `PATH`, and found there.
    Lookup(String, Option<String>),
    /// The program in this file was run.
    Program(String),
    /// The library in this file was loaded.
    Library(String),
    /// The library in this file, a plugin, may have read all variables at once.
    Environ(String),
}

/// A fact, and whether a plugin asked: a proc macro, or a program that one started.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Fact {
    /// What.
    pub what: What,
    /// Whether a plugin asked.
    pub plugin: bool,
}

/// All that a trace tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// What was found out, in order.
    pub facts: Vec<Fact>,
    /// Files that were written, and whether a plugin wrote them.
    pub written: BTreeMap<String, bool>,
    /// Symbolic links that were made, and where they lead.
    pub links: BTreeMap<String, String>,
    /// What happened unseen, or cannot be made to happen again.
    pub unobserved: Option<String>,
}

/// The process of a program that was started by `system` or `popen`.
const UNKNOWN: u32 = 0;

/// Tells what the records say about the compile whose first process is `root`.
pub fn tell(records: &[Record<'_>], root: u32) -> Seen {
    let mut teller = Teller { root, ..Teller::default() };
    for record in records {
        teller.hear(record);
    }
    teller.forget_failed_starts();
    teller.seen.unobserved = teller.trouble.take().or_else(|| teller.unheard());
    teller.seen
}

#[derive(Default)]
struct Teller {
    root: u32,
    seen: Seen,
    told: HashSet<Fact>,
    /// Paths that were found to exist before anybody wrote them.
    found: HashSet<String>,
    /// Paths that the compile made, directories included.
    made: BTreeSet<String>,
    starting: BTreeMap<u32, Starts>,
    /// The programs that were to be started, and how often they were, failures aside.
    tried: BTreeMap<String, i64>,
    root_ended: bool,
    trouble: Option<String>,
}

/// The programs that one process was to become, by the path that it was to be started by: how many starts were expected, less
/// those that happened.
#[derive(Default)]
struct Starts(BTreeMap<String, i64>);

impl Starts {
    fn add(&mut self, started_by: &str, change: i64) {
        *self.0.entry(started_by.to_owned()).or_default() += change;
    }
}

impl Teller {
    fn hear(&mut self, record: &Record<'_>) {
        let (Ok(one), Ok(two)) = (std::str::from_utf8(record.one), std::str::from_utf8(record.two)) else {
            return self.trouble(format!("{} is not UTF-8", String::from_utf8_lossy(record.one)));
        };
        match record.kind {
            Kind::Start => self.started(record, one, two),
            Kind::Exec | Kind::Spawn => self.starts(record, one, two, 1),
            Kind::ExecFailed => self.starts(record, one, two, -1),
            Kind::Environ => self.tell(What::Environ(path(one)), record.plugin),
            Kind::End => self.root_ended |= record.process == self.root,
            Kind::Lost => self.trouble(one.to_owned()),
            Kind::Connect => self.trouble("a socket".to_owned()),
            Kind::Write => self.wrote(path(one), record.plugin),
            Kind::Symlink => {
                self.wrote(path(one), record.plugin);
                self.seen.links.insert(path(one), two.to_owned());
            }
            Kind::Env => {
                let value = (record.answer == Answer::Ok).then(|| two.to_owned());
                self.tell(What::Env(one.to_owned(), value), record.plugin);
            }
            Kind::Lookup => {
                let found = (record.answer == Answer::Ok).then(|| path(two));
                self.tell(What::Lookup(one.to_owned(), found), record.plugin);
            }
            Kind::Load => {
                // What rustc itself is made of is its identity's business.
                if record.process != self.root || record.plugin {
                    self.tell(What::Library(path(one)), record.plugin);
                }
            }
            Kind::Read | Kind::Stat | Kind::LinkStat | Kind::List | Kind::Link | Kind::Resolve => {
                self.looked(record, path(one), two);
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
        self.starting.entry(record.process).or_default().add(started_by, change);
        if !program.is_empty() {
            let program = path(program);
            *self.tried.entry(program.clone()).or_default() += change;
            if change > 0 {
                self.tell(What::Program(program), record.plugin);
            }
        }
    }

    fn started(&mut self, record: &Record<'_>, program: &str, started_by: &str) {
        self.starting.entry(record.process).or_default().add(started_by, -1);
        let program = path(program);
        *self.tried.entry(program.clone()).or_default() += 1;
        self.tell(What::Program(program), record.plugin);
    }

    /// A shell tries the directories of `PATH` until a start succeeds. For the others the trace holds a record of its own: the file
    /// is absent, or may not be run.
    fn forget_failed_starts(&mut self) {
        let tried = &self.tried;
        self.seen.facts.retain(|fact| match &fact.what {
            What::Program(program) => tried.get(program) != Some(&0),
            _ => true,
        });
    }

    /// A program that was started and never said so: one without the dynamic linker, or with another C library.
    fn unheard(&self) -> Option<String> {
        let announced = self.starting.iter().filter(|(process, _)| **process != UNKNOWN);
        let unheard = announced.flat_map(|(_, starts)| &starts.0).find(|(_, starting)| **starting > 0);
        let unheard = unheard.or_else(|| self.unheard_shell());
        // Nobody announced the first one.
        let began = self.starting.get(&self.root).is_some_and(|root| root.0.values().sum::<i64>() < 0);
        match unheard {
            Some((program, _)) => Some(program.clone()),
            // What it loaded is told at its end.
            None if !self.root_ended || !began => Some("the program itself".to_owned()),
            None => None,
        }
    }

    /// A program whose process nobody knew when it was started, and that fewer processes became, unannounced, than should have.
    fn unheard_shell(&self) -> Option<(&String, &i64)> {
        let became = |program: &String| {
            let others = self.starting.iter().filter(|(process, _)| **process != UNKNOWN && **process != self.root);
            others.filter_map(|(_, starts)| starts.0.get(program)).filter(|starting| **starting < 0).count()
        };
        let expected = self.starting.get(&UNKNOWN).into_iter().flat_map(|starts| &starts.0);
        expected
            .into_iter()
            .find(|(program, count)| i64::try_from(became(program)).is_ok_and(|became| became < **count))
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

    /// Whether the compile made what stands at `path`. Where `..` follows anything but a directory that it made, nobody here
    /// knows where that leads.
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
}

/// A path without what means nothing in it: `//`, `/./`, and a `/` or `/.` at its end.
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

    fn record(kind: Kind, answer: Answer, one: &'static str) -> Record<'static> {
        Record { kind, answer, plugin: false, process: ROOT, one: one.as_bytes(), two: b"" }
    }

    fn start(process: u32) -> Record<'static> {
        start_by(process, "/t/rustc")
    }

    fn start_by(process: u32, path: &'static str) -> Record<'static> {
        Record { process, two: path.as_bytes(), ..record(Kind::Start, Answer::Ok, path) }
    }

    fn facts(records: &[Record<'_>]) -> Vec<What> {
        tell(records, ROOT).facts.into_iter().map(|fact| fact.what).collect()
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
    fn a_child_that_never_speaks_is_unobserved() {
        let spawn = |process, kind| Record { process, two: b"/bin/cc", ..record(kind, Answer::Ok, "/bin/cc") };
        let cc = |process| start_by(process, "/bin/cc");
        let end = record(Kind::End, Answer::Ok, "");
        let unobserved = |records: &[Record<'_>]| tell(&[records, &[end]].concat(), ROOT).unobserved;
        assert_eq!(unobserved(&[start(ROOT)]), None);
        assert_eq!(unobserved(&[start(ROOT), spawn(11, Kind::Spawn), cc(11)]), None);
        assert_eq!(unobserved(&[start(ROOT), cc(11), spawn(11, Kind::Spawn)]), None, "it was faster");
        assert_eq!(unobserved(&[start(ROOT), spawn(11, Kind::Spawn)]), Some("/bin/cc".into()));
        assert_eq!(unobserved(&[start(ROOT), spawn(11, Kind::Exec), cc(11)]), None);
        assert_eq!(unobserved(&[start(ROOT), spawn(11, Kind::Exec), spawn(11, Kind::ExecFailed)]), None);
        assert_eq!(unobserved(&[start(ROOT), spawn(ROOT, Kind::Exec), cc(ROOT)]), None, "rustup's proxy");
        assert_eq!(unobserved(&[start(ROOT), spawn(ROOT, Kind::Exec)]), Some("/bin/cc".into()));
        let through = start_by(11, "/bin/sh");
        assert_eq!(unobserved(&[start(ROOT), spawn(11, Kind::Spawn), through]), Some("/bin/cc".into()), "through it");
        assert_eq!(unobserved(&[]), Some("the program itself".into()));
        assert_eq!(tell(&[start(ROOT)], ROOT).unobserved, Some("the program itself".into()), "it never ended");
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
    fn a_shell_whose_process_is_not_known_is_heard_by_its_name() {
        let shell = Record { process: UNKNOWN, two: b"/bin/sh", ..record(Kind::Spawn, Answer::Ok, "/bin/sh") };
        let end = record(Kind::End, Answer::Ok, "");
        let unobserved = |records: &[Record<'_>]| tell(&[records, &[end]].concat(), ROOT).unobserved;
        let (one, two) = (start_by(11, "/bin/sh"), start_by(12, "/bin/sh"));
        assert_eq!(unobserved(&[start(ROOT), shell]), Some("/bin/sh".into()));
        assert_eq!(unobserved(&[start(ROOT), shell, one]), None);
        assert_eq!(unobserved(&[start(ROOT), shell, one, shell]), Some("/bin/sh".into()));
        assert_eq!(unobserved(&[start(ROOT), shell, one, shell, two]), None);
        let announced = Record { process: 11, ..shell };
        assert_eq!(unobserved(&[start(ROOT), announced, shell, one]), Some("/bin/sh".into()), "it was another one");
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
}
