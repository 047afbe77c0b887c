//! Reads the cache directory: events, blobs, entries, manifests.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::Project;
use super::files::files_under;

impl Project {
    /// Returns the event log, oldest first.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.cache_dir().join("events/events.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("event {line}: {e}"))).collect()
    }

    /// Returns `(outcome, stored)` of every event of one crate, oldest first.
    pub(crate) fn outcomes(&self, krate: &str) -> Vec<(String, String)> {
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let events = self.events();
        let of_crate = events.iter().filter(|e| e["crate"] == krate);
        of_crate.map(|e| (text(e, "outcome"), text(e, "stored"))).collect()
    }

    /// Returns `(outcome, stored)` of the newest event of one crate.
    #[track_caller]
    pub(crate) fn last_outcome(&self, krate: &str) -> (String, String) {
        self.outcomes(krate).pop().unwrap_or_else(|| panic!("the log lacks `{krate}`: {:?}", self.events()))
    }

    /// Returns the files of all blobs.
    pub(crate) fn blobs(&self) -> Vec<PathBuf> {
        files_under(&self.cache_dir().join("v1/blobs"))
    }

    /// Returns the files of all entries.
    pub(crate) fn entries(&self) -> Vec<PathBuf> {
        files_under(&self.cache_dir().join("v1/entries"))
    }

    /// Returns the files of all manifests.
    pub(crate) fn manifests(&self) -> Vec<PathBuf> {
        files_under(&self.cache_dir().join("v1/manifests"))
    }
}
