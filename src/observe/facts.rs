//! Turns a trace into facts, in the order in which they were first found, without the files that the compile made
//! itself.
//!
//! Pure: a function of the records and the first process. Paths are absolute, without `//` and `/./`, and otherwise as
//! the programs spelled them, except that the target directory has the name that cargo uses.

use std::collections::HashSet;

use super::made_paths::MadePaths;
use super::starts::Starts;
use super::wire::{CallResult, RecordKind, TraceRecord};
use super::{Fact, FirstProcess, Observation, ObservedKind, Seen, Shell};

/// Turns the records of a compile or run into facts. `first` is its first process.
pub fn facts_of(records: &[TraceRecord<'_>], first: FirstProcess<'_>) -> Seen {
    let mut collector = FactCollector { first, ..FactCollector::default() };
    for record in records {
        collector.add(record);
    }
    let starts = &collector.starts;
    collector.seen.facts.retain(|fact| match &fact.observation {
        Observation::Program(program) => !starts.has_only_failed(program),
        _ => true,
    });
    collector.seen.unobserved = collector.unobserved.take().or_else(|| collector.starts.unreported(first));
    collector.seen
}

#[derive(Default)]
struct FactCollector<'a> {
    first: FirstProcess<'a>,
    seen: Seen,
    known: HashSet<Fact>,
    /// Paths that already existed when a program looked at them, before any program wrote to them.
    found: HashSet<String>,
    made: MadePaths,
    starts: Starts,
    unobserved: Option<String>,
}

impl FactCollector<'_> {
    fn add(&mut self, record: &TraceRecord<'_>) {
        // Arguments that are not UTF-8 count as unknown.
        let extra = if record.kind == RecordKind::Shell && std::str::from_utf8(record.extra).is_err() {
            b""
        } else {
            record.extra
        };
        let (Ok(text), Ok(extra)) = (std::str::from_utf8(record.text), std::str::from_utf8(extra)) else {
            return self.add_unobserved(format!("{} is not UTF-8", String::from_utf8_lossy(record.text)));
        };
        match record.kind {
            RecordKind::Start => self.add_start(record, text, extra),
            RecordKind::Exec | RecordKind::Spawn => self.expect_start(record, text, extra, 1),
            RecordKind::ExecFailed => self.expect_start(record, text, extra, -1),
            RecordKind::Environ => self.add_observation(Observation::Environ(self.path(text)), record.plugin),
            RecordKind::End => self.starts.ended(record.process),
            RecordKind::Lost => self.add_unobserved(text.to_owned()),
            RecordKind::Connect => self.add_unobserved("a socket".to_owned()),
            RecordKind::Write => self.add_write(self.path(text), record.plugin),
            RecordKind::Symlink => {
                self.add_write(self.path(text), record.plugin);
                self.seen.links.insert(self.path(text), extra.to_owned());
            }
            RecordKind::Shell => self.add_shell(record, text, extra),
            RecordKind::Commands => {
                self.seen.commands.insert(self.path(text));
            }
            RecordKind::Append => self.add_append(record, text),
            RecordKind::Env => {
                let value = (record.result == CallResult::Ok).then(|| extra.to_owned());
                self.add_observation(Observation::Env(text.to_owned(), value), record.plugin);
            }
            RecordKind::Lookup => {
                let found = (record.result == CallResult::Ok).then(|| self.path(extra));
                self.add_observation(Observation::Lookup(text.to_owned(), found), record.plugin);
            }
            RecordKind::Load => {
                if text.rsplit('/').next().is_some_and(|name| name.starts_with("librustc_driver")) {
                    self.starts.add_compiler(record.process);
                }
                // The compiler's identity covers the libraries of rustc itself.
                let is_compiler = record.process == self.first.process && !self.first.is_script;
                if !is_compiler || record.plugin {
                    self.add_observation(Observation::Library(self.path(text)), record.plugin);
                }
            }
            RecordKind::Read
            | RecordKind::Stat
            | RecordKind::LinkStat
            | RecordKind::List
            | RecordKind::Link
            | RecordKind::Resolve => {
                self.add_access(record, self.path(text), extra);
            }
        }
    }

    fn add_unobserved(&mut self, what: String) {
        self.unobserved.get_or_insert(what);
    }

    fn add_observation(&mut self, observation: Observation, plugin: bool) {
        let fact = Fact { observation, plugin };
        if self.known.insert(fact.clone()) {
            self.seen.facts.push(fact);
        }
    }

    fn expect_start(&mut self, record: &TraceRecord<'_>, started_by: &str, program: &str, change: i64) {
        let program = (!program.is_empty()).then(|| self.path(program));
        self.starts.expect(record.process, started_by, program.as_deref(), change);
        if let Some(program) = program.filter(|_| change > 0) {
            self.add_observation(Observation::Program(program), record.plugin);
        }
    }

    fn add_start(&mut self, record: &TraceRecord<'_>, program: &str, started_by: &str) {
        let program = self.path(program);
        self.starts.began(record.process, started_by, &program);
        self.add_observation(Observation::Program(program), record.plugin);
    }

    fn add_shell(&mut self, record: &TraceRecord<'_>, program: &str, arguments: &str) {
        let arguments = (record.result == CallResult::Ok && !arguments.is_empty())
            .then(|| arguments.split_terminator('\0').map(str::to_owned).collect());
        self.seen.shells.push(Shell { program: self.path(program), arguments, plugin: record.plugin });
    }

    /// A file that is appended to keeps its content, so it counts as read. The exception is a script in the compiler's
    /// place, which may keep a log: the result does not depend on it, and no one misses a line for a compile that did
    /// not happen. In the target directory an append always counts, because no logs are kept among cargo's files.
    fn add_append(&mut self, record: &TraceRecord<'_>, to: &str) {
        let path = self.path(to);
        let is_of_cargo = self.first.target.is_some_and(|target| below(&path, target.name).is_some());
        if self.first.is_script && !record.plugin && !is_of_cargo {
            if record.result != CallResult::Ok {
                self.made.insert(path);
            }
            return;
        }
        if record.result == CallResult::Ok {
            self.add_access(&TraceRecord { kind: RecordKind::Read, ..*record }, path.clone(), "");
        }
        self.add_write(path, record.plugin);
    }

    fn add_write(&mut self, path: String, plugin: bool) {
        if !self.found.contains(&path) {
            self.made.insert(path.clone());
        }
        *self.seen.written.entry(path).or_default() |= plugin;
    }

    fn add_access(&mut self, record: &TraceRecord<'_>, path: String, extra: &str) {
        if self.is_made(&path) {
            return;
        }
        let found = match record.result {
            CallResult::Ok => ObservedKind::Unspecified,
            CallResult::Absent => ObservedKind::Absent,
            CallResult::Denied => ObservedKind::Denied,
            CallResult::File => ObservedKind::File,
            CallResult::Directory => ObservedKind::Directory,
            CallResult::Link => ObservedKind::Link,
            CallResult::Special => ObservedKind::Special,
            CallResult::Other => return self.add_unobserved(format!("{path} could not be looked at")),
        };
        if !matches!(found, ObservedKind::Absent | ObservedKind::Denied) {
            self.found.insert(path.clone());
        }
        let observation = match record.kind {
            _ if matches!(found, ObservedKind::Absent | ObservedKind::Denied) => Observation::Stat(path, found),
            RecordKind::Read => Observation::Read(path),
            RecordKind::List => Observation::List(path),
            RecordKind::Link => Observation::Link(path, extra.to_owned()),
            RecordKind::Resolve => Observation::Resolve(path, extra.to_owned()),
            RecordKind::LinkStat => Observation::LinkStat(path, found),
            _ => Observation::Stat(path, found),
        };
        self.add_observation(observation, record.plugin);
    }

    /// Whether the compile made the file at `path`. If `..` follows anything but a directory that the compile made, the
    /// path may lead anywhere, and the answer is no, unless it was written under exactly this name.
    fn is_made(&self, path: &str) -> bool {
        if !path.contains("/../") && !path.ends_with("/..") {
            return self.made.covers(path);
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
            if !self.made.covers(&place) || self.seen.links.contains_key(&place) {
                return false;
            }
            place.truncate(place.rfind('/').unwrap_or(0));
        }
        self.made.covers(&place)
    }

    /// Normalizes a path, and gives the target directory the name that cargo uses.
    fn path(&self, text: &str) -> String {
        let path = path(text);
        let target = self.first.target.filter(|target| target.real != target.name);
        let renamed = target.and_then(|target| Some((below(&path, target.real)?, target.name)));
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
    if !has_redundant_parts(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        out.push('/');
        out.push_str(part);
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

fn has_redundant_parts(path: &str) -> bool {
    let bytes = path.as_bytes();
    let is_redundant = |slash: usize| match bytes.get(slash + 1) {
        None | Some(b'/') => true,
        Some(b'.') => matches!(bytes.get(slash + 2), None | Some(b'/')),
        Some(_) => false,
    };
    !path.starts_with('/') || memchr::memchr_iter(b'/', bytes).any(is_redundant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::TargetNames;

    const FIRST_ID: u32 = 10;
    const FIRST: FirstProcess<'_> = FirstProcess { process: FIRST_ID, is_script: false, target: None };

    fn record(kind: RecordKind, result: CallResult, text: &'static str) -> TraceRecord<'static> {
        TraceRecord { kind, result, plugin: false, process: FIRST_ID, text: text.as_bytes(), extra: b"" }
    }

    fn start_by(process: u32, path: &'static str) -> TraceRecord<'static> {
        TraceRecord { process, extra: path.as_bytes(), ..record(RecordKind::Start, CallResult::Ok, path) }
    }

    fn facts(records: &[TraceRecord<'_>]) -> Vec<Observation> {
        facts_of(records, FIRST).facts.into_iter().map(|fact| fact.observation).collect()
    }

    #[test]
    fn what_the_compile_made_is_no_input() {
        let seen = facts(&[
            record(RecordKind::Stat, CallResult::Absent, "/out/a.o"),
            record(RecordKind::Write, CallResult::Ok, "/out/a.o"),
            record(RecordKind::Read, CallResult::Ok, "/out/a.o"),
            record(RecordKind::Write, CallResult::Ok, "/tmp/dir"),
            record(RecordKind::Read, CallResult::Ok, "/tmp/dir/./sub//f"),
            record(RecordKind::Read, CallResult::Ok, "/tmp/dirt"),
            record(RecordKind::Read, CallResult::Ok, "/tmp/dir/sub/../f"),
            record(RecordKind::Read, CallResult::Ok, "/tmp/dir/../other"),
            record(RecordKind::Write, CallResult::Ok, "/w/../made"),
            record(RecordKind::Read, CallResult::Ok, "/w/../made"),
            record(RecordKind::Read, CallResult::Ok, "/w/x/../../tmp/dir/f"),
        ]);
        let read = |path: &str| Observation::Read(path.into());
        let inputs = [read("/tmp/dirt"), read("/tmp/dir/../other"), read("/w/x/../../tmp/dir/f")];
        assert_eq!(seen[0], Observation::Stat("/out/a.o".into(), ObservedKind::Absent));
        assert_eq!(seen[1..], inputs);
    }

    #[test]
    fn what_was_there_before_it_was_written_is_an_input() {
        let seen = facts(&[
            record(RecordKind::Read, CallResult::Ok, "/w/f"),
            record(RecordKind::Write, CallResult::Ok, "/w/f"),
            record(RecordKind::List, CallResult::Ok, "/w/f"),
        ]);
        assert_eq!(seen, [Observation::Read("/w/f".into()), Observation::List("/w/f".into())]);
    }

    #[test]
    fn a_program_that_could_not_be_started_was_not_run() {
        let exec = |kind, program: &'static str| TraceRecord {
            extra: program.as_bytes(),
            ..record(kind, CallResult::Ok, program)
        };
        let programs = |records: &[TraceRecord<'_>]| -> Vec<Observation> {
            facts(records).into_iter().filter(|observation| matches!(observation, Observation::Program(_))).collect()
        };
        let run = |path: &str| Observation::Program(path.into());
        let failed = [exec(RecordKind::Exec, "/a/cc"), exec(RecordKind::ExecFailed, "/a/cc")];
        let found = [exec(RecordKind::Exec, "/b/cc"), start_by(FIRST_ID, "/b/cc")];
        assert_eq!(programs(&[failed, found].concat()), [run("/b/cc")]);
        assert_eq!(
            programs(&[found, [exec(RecordKind::Exec, "/b/cc"), exec(RecordKind::ExecFailed, "/b/cc")]].concat()),
            [run("/b/cc")]
        );
    }

    #[test]
    fn libraries_of_rustc_are_no_facts_but_those_that_it_loads_are() {
        let load =
            |plugin, process| TraceRecord { plugin, process, ..record(RecordKind::Load, CallResult::Ok, "/lib/x.so") };
        assert!(facts(&[load(false, FIRST_ID)]).is_empty());
        assert_eq!(facts(&[load(true, FIRST_ID)]), [Observation::Library("/lib/x.so".into())]);
        assert_eq!(facts(&[load(false, 11)]), [Observation::Library("/lib/x.so".into())]);
    }

    #[test]
    fn paths_lose_what_means_nothing() {
        assert_eq!(path("/a//b/./c/."), "/a/b/c");
        assert_eq!(path("/a/../b/"), "/a/../b");
        assert_eq!(path("/"), "/");
        assert_eq!(path("/a/.b/..c/d."), "/a/.b/..c/d.");
        assert_eq!(
            (path("/a/."), path("/."), path("//a"), path("a")),
            ("/a".into(), "/".into(), "/a".into(), "/a".into())
        );
    }

    #[test]
    fn what_was_made_under_one_name_is_made_under_the_other() {
        let records = [
            record(RecordKind::Write, CallResult::Ok, "/w/target/tmp"),
            record(RecordKind::Read, CallResult::Ok, "/disk/t/tmp/f"),
            record(RecordKind::Read, CallResult::Ok, "/disk/t/other"),
            record(RecordKind::Read, CallResult::Ok, "/disk/tx"),
        ];
        let read = |path: &str| Fact { observation: Observation::Read(path.into()), plugin: false };
        let first = FirstProcess { target: Some(TargetNames { name: "/w/target", real: "/disk/t" }), ..FIRST };
        assert_eq!(facts_of(&records, first).facts, [read("/w/target/other"), read("/disk/tx")]);
        assert_eq!(facts_of(&records, FIRST).facts.len(), 3, "control");
    }

    #[test]
    fn what_a_compilers_script_appends_is_a_log_but_among_cargos_files() {
        let append = |result, path| TraceRecord { result, ..record(RecordKind::Append, result, path) };
        let first = FirstProcess {
            is_script: true,
            target: Some(TargetNames { name: "/w/target", real: "/w/target" }),
            ..FIRST
        };
        let records = [
            append(CallResult::Ok, "/log"),
            append(CallResult::Absent, "/args"),
            record(RecordKind::Read, CallResult::Ok, "/args"),
            append(CallResult::Ok, "/w/target/units"),
        ];
        let seen = facts_of(&records, first);
        assert_eq!(seen.written.keys().collect::<Vec<_>>(), ["/w/target/units"]);
        let read = |path: &str| Fact { observation: Observation::Read(path.into()), plugin: false };
        assert_eq!(seen.facts, [read("/w/target/units")]);
        assert_eq!(facts_of(&records, FIRST).written.len(), 3, "control: who is the compiler itself");
    }
}
