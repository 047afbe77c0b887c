//! Reads the log of the counting rustc.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// A line of the log.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// "start", or "end" after an `after` hook has run.
    pub(crate) event: String,
    /// Time in milliseconds since 1970.
    pub(crate) at: u64,
    /// The crate that is compiled; `None` for probes.
    pub(crate) krate: Option<String>,
    /// The arguments, without the name of the program.
    pub(crate) args: Vec<String>,
}

impl Call {
    /// Whether an argument contains this text.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.args.iter().any(|a| a.contains(text))
    }
}

/// Returns the number of lines in the log; 0 if it does not exist.
pub(crate) fn lines(log: &Path) -> usize {
    fs::read(log).map_or(0, |bytes| bytes.split(|b| *b == b'\n').count() - 1)
}

/// Returns the whole lines after the first `skip`. A line without its end is left out: while a build of another thread
/// writes a long line, the kernel shows it page by page.
pub(crate) fn read(log: &Path, skip: usize) -> Vec<Call> {
    let bytes = fs::read(log).unwrap_or_default();
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let text = std::str::from_utf8(&bytes[..end]).expect("the log is UTF-8");
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

#[test]
fn a_line_that_is_being_written_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let line = r#"{"event":"start","at":1,"crate":"one","args":["-C","debuginfo=2"]}"#;
    fs::write(&log, format!("{line}\n{line}\n{}", &line[..40])).unwrap();
    assert_eq!((lines(&log), read(&log, 0).len(), read(&log, 1).len()), (2, 2, 1));
    assert!(read(&log, 1)[0].has("debuginfo"));
    assert!(read(&dir.path().join("absent"), 0).is_empty());
}
