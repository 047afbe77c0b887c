//! The kernel's clock, the only one that file times are compared with.
//!
//! The kernel stamps files (`UTIME_NOW`); kache does not stamp them with a time that it read itself. A precise clock
//! runs ahead of the coarse one with which the kernel stamps writes, and cargo compares the two.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::{At, Result};

/// The mtime of every blob: 2000-01-01T00:00:00Z and 42 ns. A blob with another mtime was written through some link.
/// The odd nanoseconds distinguish it from the round times that archives and `touch -d` set.
pub const CANONICAL: Time = Time { secs: 946_684_800, nanos: 42 };

/// A point in time, as files record it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Time {
    /// Seconds since 1970. Negative for earlier times.
    pub secs: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl Time {
    /// Returns the nanoseconds since 1970.
    pub fn as_nanos(self) -> i128 {
        i128::from(self.secs) * 1_000_000_000 + i128::from(self.nanos)
    }

    /// Returns the milliseconds since 1970, rounded down.
    pub fn as_millis(self) -> i64 {
        self.secs * 1000 + i64::from(self.nanos / 1_000_000)
    }
}

/// Returns the earliest time with which the kernel would stamp a write now. Since Linux 6.13, if the times of a file
/// were read, its next change gets the precise time instead.
pub fn now() -> Time {
    #[cfg(target_os = "linux")]
    let clock = ClockId::CLOCK_REALTIME_COARSE;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::CLOCK_REALTIME;
    read(clock)
}

/// Returns the precise time: no file has a later stamp. For [`tick_after`] and for unique names, never for the time of
/// a file.
pub fn precise() -> Time {
    read(ClockId::CLOCK_REALTIME)
}

fn read(clock: ClockId) -> Time {
    let time = clock_gettime(clock).unwrap_or(TimeSpec::new(0, 0));
    Time { secs: time.tv_sec(), nanos: u32::try_from(time.tv_nsec()).unwrap_or(0) }
}

/// How long [`tick_after`] waits at most: longer than any tick (10 ms at 100 Hz).
const MAX_TICK: Duration = Duration::from_millis(50);

/// Waits for the first tick after the [`precise`] time `time`, usually for a few milliseconds, and returns it. Files
/// that were written before `time` have older stamps than this tick, so a file that a build script has just written is
/// not mistaken for one that changes while rustc runs. If the clock was set back, such a tick may not come for a long
/// time. The present time is then as good, because newer stamps count as changes.
pub fn tick_after(time: Time) -> Time {
    let began = Instant::now();
    loop {
        let tick = now();
        if tick > time || began.elapsed() > MAX_TICK {
            return tick;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Sets the file's mtime to the kernel's current time. The atime stays.
pub fn stamp_now(file: &File, path: &Path) -> Result<()> {
    set_mtime(file, path, TimeSpec::UTIME_NOW)
}

/// Sets the file's mtime. The atime stays.
pub fn stamp(file: &File, path: &Path, time: Time) -> Result<()> {
    set_mtime(file, path, TimeSpec::new(time.secs, time.nanos.into()))
}

fn set_mtime(file: &File, path: &Path, mtime: TimeSpec) -> Result<()> {
    futimens(file, &TimeSpec::UTIME_OMIT, &mtime).at("set the time of", path)
}
