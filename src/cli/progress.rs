//! Shows the progress of transfers: bars on a terminal, elsewhere a plain line now and then.
//!
//! Many threads report the progress of every transfer, so the display holds its lock only briefly. It does not depend
//! on S3.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::printer::Printer;
use super::units;
use crate::remote::{Phase, TransferProgress};

/// How many transfers get a separate bar below the overall one.
const MAX_BARS: usize = 4;
/// Size in bytes from which a transfer gets a bar; a smaller one ends before anybody can read the line.
const MIN_BAR_BYTES: u64 = 1024 * 1024;
/// Interval between lines if stderr is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(15);

// Both fit into 80 columns for all numbers, because a line that wraps cannot be cleared again.
const TOTAL_TEMPLATE: &str = "{prefix} [{wide_bar}] {done}/{whole}  {rate}  eta {eta}  {msg}";
const TRANSFER_TEMPLATE: &str = "  {msg:22!} [{bar:18}] {done}/{whole}  {prefix}";

/// The progress display of one command.
pub(super) struct Display {
    verb: &'static str,
    entries: usize,
    bars: Option<(MultiProgress, ProgressBar)>,
    out: Printer,
    state: Mutex<DisplayState>,
}

struct DisplayState {
    running: HashMap<u64, Running>,
    sums: Sums,
    settled: usize,
    /// When the last line was printed.
    last_line: Instant,
    /// When bytes were last transferred, or an entry was settled.
    last_progress: Instant,
}

#[derive(Default)]
struct Running {
    done: u64,
    total: u64,
    is_verifying: bool,
    bar: Option<ProgressBar>,
}

/// Bytes of all transfers that have begun.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Sums {
    done: u64,
    total: u64,
}

impl Sums {
    /// Moves one transfer from state `from` to state `to`, each bytes done and bytes in total. Both numbers may fall.
    fn shift(&mut self, from: (u64, u64), to: (u64, u64)) {
        self.done = (self.done + to.0).saturating_sub(from.0);
        self.total = (self.total + to.1).saturating_sub(from.1);
    }
}

impl Display {
    /// Creates a display for this many entries. `verb` begins every line.
    pub(super) fn new(verb: &'static str, entries: usize) -> Self {
        let bars = io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let bar = all.add(ProgressBar::new(0).with_style(style(TOTAL_TEMPLATE)).with_prefix(verb));
            bar.enable_steady_tick(Duration::from_millis(200));
            (all, bar)
        });
        let (last_line, last_progress) = (Instant::now(), Instant::now());
        let state =
            DisplayState { running: HashMap::new(), sums: Sums::default(), settled: 0, last_line, last_progress };
        let display = Self { verb, entries, bars, out: Printer::new(), state: Mutex::new(state) };
        display.settled(0);
        display
    }

    /// Shows the progress of one transfer.
    pub(super) fn update(&self, progress: &TransferProgress) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let running = state.running.entry(progress.id).or_default();
        let total = progress.total.unwrap_or(0).max(progress.done);
        state.sums.shift((running.done, running.total), (progress.done, total));
        if running.done != progress.done {
            state.last_progress = Instant::now();
        }
        (running.done, running.total) = (progress.done, total);
        running.is_verifying = progress.phase == Phase::Verifying;
        if let Some((all, bar)) = &self.bars {
            bar.set_length(state.sums.total);
            bar.set_position(state.sums.done);
            let is_moving = matches!(progress.phase, Phase::Downloading | Phase::Uploading);
            let bars = state.running.values().filter(|running| running.bar.is_some()).count();
            if is_moving && bars < MAX_BARS && total >= MIN_BAR_BYTES {
                let bar = || {
                    all.add(
                        ProgressBar::new(total)
                            .with_style(style(TRANSFER_TEMPLATE))
                            .with_message(progress.label.to_string()),
                    )
                };
                state.running.entry(progress.id).or_default().bar.get_or_insert_with(bar);
            }
        }
        if let Some(bar) = state.running.get(&progress.id).and_then(|running| running.bar.as_ref()) {
            bar.set_length(total);
            bar.set_position(progress.done);
            bar.set_prefix(if progress.phase == Phase::Verifying { "verifying" } else { "" });
        }
        // The sums keep the bytes that it has moved and drop the rest, which will not come.
        if progress.phase.is_end()
            && let Some(over) = state.running.remove(&progress.id)
        {
            state.sums.shift((over.done, over.total), (over.done, over.done));
            over.bar.inspect(ProgressBar::finish_and_clear);
        }
        self.print_line(state);
    }

    /// Sets the number of settled entries.
    pub(super) fn settled(&self, entries: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settled = entries;
        state.last_progress = Instant::now();
        if let Some((_, bar)) = &self.bars {
            bar.set_message(format!("{entries} of {}", units::count(self.entries, "entry", "entries")));
        }
        self.print_line(&mut state);
    }

    /// How long nothing was transferred and no entry was settled. Zero while a download is being checked, since that
    /// takes as long as it takes.
    pub(super) fn silent_for(&self) -> Duration {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_verifying = state.running.values().any(|running| running.is_verifying);
        if is_verifying { Duration::ZERO } else { state.last_progress.elapsed() }
    }

    /// Prints a line if there are no bars and the last line is old enough.
    fn print_line(&self, state: &mut DisplayState) {
        if self.bars.is_none() && state.last_line.elapsed() >= LINE_INTERVAL {
            state.last_line = Instant::now();
            let (entries, done) = (units::count(self.entries, "entry", "entries"), units::bytes(state.sums.done));
            self.out.message(format_args!("{}: {} of {entries}, {done}", self.verb, state.settled));
        }
    }

    /// Prints that the transfers are stopping.
    pub(super) fn stopping(&self) {
        const LINE: &str = "stopping; press Ctrl-C again to end at once";
        // Printed through the bars: they cannot redraw themselves after other output.
        match &self.bars {
            Some((all, bar)) if !bar.is_finished() => drop(all.println(LINE)),
            _ => self.out.message(LINE),
        }
    }

    /// Removes all bars from the terminal, so that the totals follow the last message.
    pub(super) fn finish(&self) {
        if let Some((all, bar)) = &self.bars {
            bar.finish_and_clear();
            let _ = all.clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, and a test below fails if one is invalid.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let style = with_bytes(style, "done", "", ProgressState::pos);
    let style = with_bytes(style, "whole", "", |state| state.len().unwrap_or(0));
    with_bytes(style, "rate", "/s", rate).progress_chars("=> ")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, to be looked at")]
fn rate(state: &ProgressState) -> u64 {
    state.per_sec() as u64
}

fn with_bytes(
    style: ProgressStyle,
    key: &'static str,
    unit: &'static str,
    of: fn(&ProgressState) -> u64,
) -> ProgressStyle {
    style.with_key(key, move |state: &ProgressState, out: &mut dyn Write| {
        let _ = write!(out, "{}{unit}", units::bytes(of(state)));
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;

    fn progress(id: u64, phase: Phase, done: u64, total: u64) -> TransferProgress {
        TransferProgress { id, label: "x".into(), phase, done, total: Some(total) }
    }

    /// A terminal of 80 columns that records its output.
    #[derive(Clone, Debug, Default)]
    struct RecordingTerminal(Arc<Mutex<String>>);

    impl TermLike for RecordingTerminal {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_fit_into_eighty_columns() {
        const MIB: u64 = 1024 * 1024;
        let line = |template, prefix: &'static str, message: &'static str| {
            let terminal = RecordingTerminal::default();
            let bar = ProgressBar::with_draw_target(
                Some(1023 * MIB),
                ProgressDrawTarget::term_like(Box::new(terminal.clone())),
            );
            bar.set_style(style(template));
            bar.set_prefix(prefix);
            bar.set_message(message);
            bar.set_position(1022 * MIB);
            terminal.0.lock().unwrap().clear();
            bar.force_draw();
            terminal.0.lock().unwrap().trim_end().to_owned()
        };
        let all = line(TOTAL_TEMPLATE, "pull", "12345 of 23456 entries");
        assert!(all.len() == 80 && all.contains("=>"), "{all:?}");
        let one = line(TRANSFER_TEMPLATE, "verifying", "a_crate_with_a_very_long_name_indeed");
        assert!(one.len() <= 80 && one.ends_with("1022.0 MiB/1023.0 MiB  verifying"), "{one:?}");
    }

    #[test]
    fn templates_can_be_read() {
        for template in [TOTAL_TEMPLATE, TRANSFER_TEMPLATE] {
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
        display.update(&progress(1, Phase::Pending, 0, 100));
        display.update(&progress(2, Phase::Pending, 0, 50));
        assert_eq!(sums(), (0, 150));
        display.update(&progress(1, Phase::Downloading, 60, 100));
        display.update(&progress(1, Phase::Downloading, 10, 100));
        assert_eq!(sums(), (10, 150));
        display.update(&progress(1, Phase::Completed, 100, 100));
        display.update(&progress(2, Phase::Failed, 20, 50));
        assert_eq!(sums(), (120, 120));
        assert!(display.state.lock().unwrap().running.is_empty());
    }
}
