//! How transfers look while they run: bars on a terminal, a plain line now and then elsewhere.
//!
//! Hears every step of every transfer from many threads, so it holds its lock shortly. Knows nothing of S3.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::printer::Printer;
use super::units;
use crate::remote::{Phase, Step};

/// How many transfers have a bar of their own below the one for all.
const LINES: usize = 4;
/// A transfer below this size is over before anybody has read its name.
const WORTH_A_LINE: u64 = 1024 * 1024;
/// How often a log gets a line.
const EVERY: Duration = Duration::from_secs(15);

const ALL: &str = "{prefix} [{bar:28}] {bytes}/{total_bytes}  {bytes_per_sec}  eta {eta}  {msg}";
const ONE: &str = "  {msg:24!} [{bar:28}] {bytes}/{total_bytes}  {prefix}";

/// The display of one command.
pub(super) struct Display {
    verb: &'static str,
    entries: usize,
    bars: Option<(MultiProgress, ProgressBar)>,
    out: Printer,
    state: Mutex<State>,
}

struct State {
    running: HashMap<u64, Running>,
    sums: Sums,
    settled: usize,
    said: Instant,
}

#[derive(Default)]
struct Running {
    done: u64,
    total: u64,
    line: Option<ProgressBar>,
}

/// Bytes of all transfers that have begun.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Sums {
    done: u64,
    total: u64,
}

impl Sums {
    /// One transfer went from the one state to the other. Both numbers may fall.
    fn shift(&mut self, from: (u64, u64), to: (u64, u64)) {
        self.done = (self.done + to.0).saturating_sub(from.0);
        self.total = (self.total + to.1).saturating_sub(from.1);
    }
}

impl Display {
    /// A display for so many entries. `verb` stands before every line.
    pub(super) fn new(verb: &'static str, entries: usize) -> Self {
        let bars = io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let bar = all.add(ProgressBar::new(0).with_style(style(ALL)).with_prefix(verb));
            bar.enable_steady_tick(Duration::from_millis(200));
            (all, bar)
        });
        let state = State { running: HashMap::new(), sums: Sums::default(), settled: 0, said: Instant::now() };
        let display = Self { verb, entries, bars, out: Printer::new(), state: Mutex::new(state) };
        display.settled(0);
        display
    }

    /// A transfer went on.
    pub(super) fn step(&self, step: &Step) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let running = state.running.entry(step.id).or_default();
        let total = step.total.unwrap_or(0).max(step.done);
        state.sums.shift((running.done, running.total), (step.done, total));
        (running.done, running.total) = (step.done, total);
        if let Some((all, bar)) = &self.bars {
            bar.set_length(state.sums.total);
            bar.set_position(state.sums.done);
            let is_moving = matches!(step.phase, Phase::Downloading | Phase::Uploading);
            let lines = state.running.values().filter(|running| running.line.is_some()).count();
            if is_moving && lines < LINES && total >= WORTH_A_LINE {
                let line =
                    || all.add(ProgressBar::new(total).with_style(style(ONE)).with_message(step.label.to_string()));
                state.running.entry(step.id).or_default().line.get_or_insert_with(line);
            }
        }
        if let Some(line) = state.running.get(&step.id).and_then(|running| running.line.as_ref()) {
            line.set_length(total);
            line.set_position(step.done);
            line.set_prefix(if step.phase == Phase::Verifying { "verifying" } else { "" });
        }
        // The sums keep what it has moved; of what it has not, nothing will come.
        if step.phase.is_end()
            && let Some(over) = state.running.remove(&step.id)
        {
            state.sums.shift((over.done, over.total), (over.done, over.done));
            over.line.inspect(ProgressBar::finish_and_clear);
        }
        self.say(state);
    }

    /// So many entries are done with.
    pub(super) fn settled(&self, entries: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settled = entries;
        if let Some((_, bar)) = &self.bars {
            bar.set_message(format!("{entries} of {}", units::count(self.entries, "entry", "entries")));
        }
        self.say(&mut state);
    }

    /// A line for a log, if the last one is old.
    fn say(&self, state: &mut State) {
        if self.bars.is_none() && state.said.elapsed() >= EVERY {
            state.said = Instant::now();
            let (entries, done) = (units::count(self.entries, "entry", "entries"), units::bytes(state.sums.done));
            self.out.talk(format_args!("{}: {} of {entries}, {done}", self.verb, state.settled));
        }
    }

    /// Takes all bars away.
    pub(super) fn finish(&self) {
        if let Some((all, bar)) = &self.bars {
            bar.finish_and_clear();
            let _ = all.clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; one that could not be read would show in the test below.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(id: u64, phase: Phase, done: u64, total: u64) -> Step {
        Step { id, label: "x".into(), phase, done, total: Some(total) }
    }

    #[test]
    fn templates_can_be_read() {
        for template in [ALL, ONE] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn sums_follow_transfers_that_start_over_or_fail() {
        let display = Display::new("pull", 3);
        let sums = || {
            let state = display.state.lock().unwrap();
            (state.sums.done, state.sums.total)
        };
        display.step(&step(1, Phase::Pending, 0, 100));
        display.step(&step(2, Phase::Pending, 0, 50));
        assert_eq!(sums(), (0, 150));
        display.step(&step(1, Phase::Downloading, 60, 100));
        display.step(&step(1, Phase::Downloading, 10, 100));
        assert_eq!(sums(), (10, 150));
        display.step(&step(1, Phase::Completed, 100, 100));
        display.step(&step(2, Phase::Failed, 20, 50));
        assert_eq!(sums(), (120, 120));
        assert!(display.state.lock().unwrap().running.is_empty());
    }
}
