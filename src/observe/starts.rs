//! Compares the programs that were to start with those that reported their start. A program that never does so was not
//! observed.

use std::collections::{BTreeMap, BTreeSet};

use super::FirstProcess;

/// The process of a shell that `system` or `popen` started: neither returns its ID.
const UNKNOWN_PROCESS: u32 = 0;

/// The starts that a trace reports.
#[derive(Default)]
pub(super) struct Starts {
    by_process: BTreeMap<u32, ByPath>,
    /// For each program, how many starts were announced or reported, without those that failed.
    tried: BTreeMap<String, i64>,
    ended: BTreeSet<u32>,
    /// Processes that are rustc.
    compilers: BTreeSet<u32>,
}

/// The programs that one process was to become, by the path used to start them: how many starts are still expected.
/// Negative if more were reported than announced.
#[derive(Default)]
struct ByPath(BTreeMap<String, i64>);

impl ByPath {
    fn add(&mut self, started_by: &str, change: i64) {
        *self.0.entry(started_by.to_owned()).or_default() += change;
    }
}

impl Starts {
    /// Records that a program is to start (`change` 1), or could not be started (-1). `program` is its file, if known.
    pub(super) fn expect(&mut self, process: u32, started_by: &str, program: Option<&str>, change: i64) {
        self.by_process.entry(process).or_default().add(started_by, change);
        if let Some(program) = program {
            *self.tried.entry(program.to_owned()).or_default() += change;
        }
    }

    /// Records that a program reported its start.
    pub(super) fn began(&mut self, process: u32, started_by: &str, program: &str) {
        self.by_process.entry(process).or_default().add(started_by, -1);
        *self.tried.entry(program.to_owned()).or_default() += 1;
    }

    /// Records that a process ended normally.
    pub(super) fn ended(&mut self, process: u32) {
        self.ended.insert(process);
    }

    /// Records that a process is rustc.
    pub(super) fn add_compiler(&mut self, process: u32) {
        self.compilers.insert(process);
    }

    /// Whether the compiler ended normally. Only then does the trace contain the libraries that it loaded. If a script
    /// starts the compiler, its shell does not count: it ends by `_exit`, which the observer does not see.
    fn compiler_ended(&self, first: FirstProcess<'_>) -> bool {
        match first.is_script {
            true => !self.compilers.is_empty() && self.compilers.is_subset(&self.ended),
            false => self.ended.contains(&first.process),
        }
    }

    /// Whether every start of a program failed. A shell tries the directories of `PATH` in order. Where a start fails,
    /// the trace has another record: the file is absent, or is not executable.
    pub(super) fn has_only_failed(&self, program: &str) -> bool {
        self.tried.get(program) == Some(&0)
    }

    /// A program that was started but never reported its start: it has no dynamic linker, or another C library. Also
    /// returned for the first program if it did not start, or if the compiler did not end normally.
    pub(super) fn unreported(&self, first: FirstProcess<'_>) -> Option<String> {
        let announced = self.by_process.iter().filter(|(process, _)| **process != UNKNOWN_PROCESS);
        let unreported = announced.flat_map(|(_, starts)| &starts.0).find(|(_, starting)| **starting > 0);
        let unreported = unreported.or_else(|| self.unreported_shell(first.process));
        // No process announces the first program.
        let began = self.by_process.get(&first.process).is_some_and(|starts| starts.0.values().sum::<i64>() < 0);
        match unreported {
            Some((program, _)) => Some(program.clone()),
            None if !self.compiler_ended(first) || !began => Some("the program itself".to_owned()),
            None => None,
        }
    }

    /// A program that `system` or `popen` started, and for which too few processes reported an unannounced start.
    fn unreported_shell(&self, first: u32) -> Option<(&String, &i64)> {
        let reported = |program: &String| {
            let others =
                self.by_process.iter().filter(|(process, _)| **process != UNKNOWN_PROCESS && **process != first);
            others.filter_map(|(_, starts)| starts.0.get(program)).filter(|starting| **starting < 0).count()
        };
        let expected = self.by_process.get(&UNKNOWN_PROCESS).into_iter().flat_map(|starts| &starts.0);
        expected
            .into_iter()
            .find(|(program, count)| i64::try_from(reported(program)).is_ok_and(|reported| reported < **count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST_ID: u32 = 10;

    /// One event in a trace: a program is announced, fails to start, or reports its start; a process is rustc, or ends.
    #[derive(Clone, Copy)]
    enum StartEvent {
        Expected(u32, &'static str),
        Failed(u32, &'static str),
        Began(u32, &'static str),
        IsCompiler(u32),
        Ended(u32),
    }
    use StartEvent::{Began, Ended, Expected, Failed, IsCompiler};

    fn unreported(events: &[StartEvent]) -> Option<String> {
        unreported_by(events, FirstProcess { process: FIRST_ID, ..FirstProcess::default() })
    }

    fn unreported_by(events: &[StartEvent], first: FirstProcess<'_>) -> Option<String> {
        let mut starts = Starts::default();
        for event in events {
            match *event {
                Expected(process, path) => starts.expect(process, path, Some(path), 1),
                Failed(process, path) => starts.expect(process, path, Some(path), -1),
                Began(process, path) => starts.began(process, path, path),
                IsCompiler(process) => starts.add_compiler(process),
                Ended(process) => starts.ended(process),
            }
        }
        starts.unreported(first)
    }

    /// Like `unreported`, for a compile that starts and ends normally.
    fn unreported_in_compile(events: &[StartEvent]) -> Option<String> {
        unreported(&[&[Began(FIRST_ID, "/t/rustc")], events, &[Ended(FIRST_ID)]].concat())
    }

    #[test]
    fn a_child_that_does_not_report_its_start_is_unreported() {
        let cc = "/bin/cc";
        assert_eq!(unreported_in_compile(&[]), None);
        assert_eq!(unreported_in_compile(&[Expected(11, cc), Began(11, cc)]), None);
        assert_eq!(unreported_in_compile(&[Began(11, cc), Expected(11, cc)]), None, "it was faster");
        assert_eq!(unreported_in_compile(&[Expected(11, cc)]), Some(cc.into()));
        assert_eq!(unreported_in_compile(&[Expected(11, cc), Failed(11, cc)]), None);
        assert_eq!(unreported_in_compile(&[Expected(FIRST_ID, cc), Began(FIRST_ID, cc)]), None, "rustup's proxy");
        assert_eq!(unreported_in_compile(&[Expected(FIRST_ID, cc)]), Some(cc.into()));
        assert_eq!(unreported_in_compile(&[Expected(11, cc), Began(11, "/bin/sh")]), Some(cc.into()), "through it");
        assert_eq!(unreported(&[]), Some("the program itself".into()));
        assert_eq!(unreported(&[Began(FIRST_ID, "/t/rustc")]), Some("the program itself".into()), "it never ended");
    }

    #[test]
    fn a_shell_whose_process_is_not_known_is_found_by_its_name() {
        let shell = "/bin/sh";
        let (asked, one, two) = (Expected(UNKNOWN_PROCESS, shell), Began(11, shell), Began(12, shell));
        assert_eq!(unreported_in_compile(&[asked]), Some(shell.into()));
        assert_eq!(unreported_in_compile(&[asked, one]), None);
        assert_eq!(unreported_in_compile(&[asked, one, asked]), Some(shell.into()));
        assert_eq!(unreported_in_compile(&[asked, one, asked, two]), None);
        let announced = Expected(11, shell);
        assert_eq!(unreported_in_compile(&[announced, asked, one]), Some(shell.into()), "it was another one");
    }

    #[test]
    fn a_script_need_not_report_its_end_but_its_compiler_must() {
        let first = FirstProcess { process: FIRST_ID, is_script: true, ..FirstProcess::default() };
        let begins = [Began(FIRST_ID, "/bin/sh"), Expected(11, "/t/rustc"), Began(11, "/t/rustc"), IsCompiler(11)];
        let unreported = |more: &[StartEvent]| unreported_by(&[&begins, more].concat(), first);
        assert_eq!(unreported(&[Ended(11)]), None);
        assert_eq!(unreported(&[]), Some("the program itself".into()));
        assert_eq!(unreported(&[Ended(FIRST_ID)]), Some("the program itself".into()));
        assert_eq!(
            unreported_by(&[Began(FIRST_ID, "/bin/sh"), Ended(FIRST_ID)], first),
            Some("the program itself".into()),
            "no compiler"
        );
    }

    #[test]
    fn a_program_of_which_no_start_succeeded_was_not_run() {
        let mut starts = Starts::default();
        starts.expect(11, "/a/cc", Some("/a/cc"), 1);
        starts.expect(11, "/a/cc", Some("/a/cc"), -1);
        starts.expect(11, "/b/cc", Some("/b/cc"), 1);
        assert!(starts.has_only_failed("/a/cc") && !starts.has_only_failed("/b/cc"));
    }
}
