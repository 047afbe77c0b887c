//! The peak memory of another process.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads the peak memory of a process until it ends.
pub(crate) struct Watch(std::thread::JoinHandle<u64>);

impl Watch {
    pub(crate) fn of(pid: u32) -> Self {
        let path = PathBuf::from(format!("/proc/{pid}/status"));
        // The kernel keeps the high-water mark, so the last value before the end is enough.
        Self(std::thread::spawn(move || {
            let mut peak = 0;
            while let Some(now) = high_water(&path) {
                peak = now;
                std::thread::sleep(Duration::from_millis(20));
            }
            peak
        }))
    }

    pub(crate) fn peak(self) -> u64 {
        self.0.join().expect("the watch")
    }
}

/// Returns `VmHWM` in MB; `None`: the process has ended.
fn high_water(path: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(path).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kilobytes| kilobytes / 1000)
}
