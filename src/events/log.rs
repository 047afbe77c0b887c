//! The event log: appended with one `write` per event, so that lines of many processes never mix.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::event::{Event, VERSION};
use crate::fsx;

/// Size from which the log is put aside (one older log is kept).
const ROTATE_AT: u64 = 32 * 1024 * 1024;

/// The event log of a cache directory.
#[derive(Clone, Debug)]
pub struct EventLog {
    path: PathBuf,
}

impl EventLog {
    /// The log below `cache_dir`.
    pub fn of(cache_dir: &Path) -> Self {
        Self { path: cache_dir.join("events").join("events.jsonl") }
    }

    /// Appends one line. The directory is created when it is absent.
    pub fn append(&self, event: &Event) -> fsx::Result<()> {
        let mut line = serde_json::to_vec(event).unwrap_or_default();
        line.push(b'\n');
        let mut file = match fsx::open_append(&self.path) {
            Err(error) if error.is_absent() => {
                fsx::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
                fsx::open_append(&self.path)?
            }
            opened => opened?,
        };
        file.write_all(&line).map_err(|error| fsx::Error::new("append to", &self.path, error))
    }

    /// All events at or after `since` (milliseconds since 1970), oldest first. Lines that are not events of this version
    /// are skipped: a torn last line, or another version's.
    pub fn read(&self, since: i64) -> fsx::Result<Vec<Event>> {
        let mut events = Vec::new();
        for path in [self.older(), self.path.clone()] {
            let Some(file) = fsx::optional(fsx::open(&path))? else { continue };
            let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
            let parsed = lines.filter_map(|line| serde_json::from_slice::<Event>(&line).ok());
            events.extend(parsed.filter(|event| event.v == VERSION && event.at >= since));
        }
        Ok(events)
    }

    /// Puts the log aside once it is large.
    pub fn rotate(&self) -> fsx::Result<()> {
        match fsx::optional(fsx::metadata(&self.path))? {
            Some(metadata) if metadata.len() > ROTATE_AT => fsx::rename(&self.path, &self.older()),
            _ => Ok(()),
        }
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("old.jsonl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_round_trip_and_garbage_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let log = EventLog::of(dir.path());
        let event = |at| Event { v: VERSION, at, outcome: "hit.local".into(), ..Event::default() };
        log.append(&event(5)).unwrap();
        fsx::open_append(&log.path).unwrap().write_all(b"{torn\n").unwrap();
        log.append(&event(9)).unwrap();
        log.append(&Event { v: VERSION + 1, ..event(10) }).unwrap();
        assert_eq!(log.read(0).unwrap(), [event(5), event(9)]);
        assert_eq!(log.read(6).unwrap(), [event(9)]);
    }
}
