//! What the counting rustc wrote down.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// One line of the log.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// "start", or "end" where an `after` hook ran.
    pub(crate) event: String,
    /// Unix milliseconds.
    pub(crate) at: u64,
    /// The crate compiled; none for probes.
    pub(crate) krate: Option<String>,
    /// What it was given.
    pub(crate) args: Vec<String>,
}

impl Call {
    /// Is this argument (or `flag value` / `flag=value` part) there?
    pub(crate) fn has(&self, text: &str) -> bool {
        self.args.iter().any(|a| a.contains(text))
    }
}

/// How many lines the log has.
pub(crate) fn lines(log: &Path) -> usize {
    fs::read(log).map_or(0, |bytes| bytes.split(|b| *b == b'\n').count() - 1)
}

/// The lines after the first `skip`.
pub(crate) fn read(log: &Path, skip: usize) -> Vec<Call> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().skip(skip).map(parse).collect()
}

fn parse(line: &str) -> Call {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("counting rustc wrote {line}: {e}"));
    let text = |v: &Value| v.as_str().map(str::to_owned);
    Call {
        event: text(&value["event"]).expect("event"),
        at: value["at"].as_u64().expect("at"),
        krate: text(&value["crate"]),
        args: value["args"].as_array().expect("args").iter().filter_map(text).collect(),
    }
}
