//! `artifact` notices: the JSON lines on stderr with which rustc reports that an output is complete
//! (`--json=artifacts`).
//!
//! Cargo starts dependents when it reads one. So a replayed notice must name the file of this checkout, and must be
//! printed once, after the file is restored.

use serde::Deserialize;

use crate::model::EmitKind;

/// One `artifact` notice: an output is complete, so its dependents may start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Path of the output, as rustc composed it from `--out-dir`.
    pub path: String,
    /// The kind of output; `None` for a kind that this version does not support.
    pub emit: Option<EmitKind>,
}

/// The fields of the JSON line.
#[derive(Deserialize)]
struct NoticeJson {
    artifact: String,
    emit: String,
}

/// The beginning of every notice: rustc writes the message type first (`rustc_errors::json`).
const PREFIX: &str = "{\"$message_type\":\"artifact\"";

/// Parses a line of stderr. `None` if it is not a notice.
pub fn parse(line: &str) -> Option<Notice> {
    if !line.starts_with(PREFIX) {
        return None;
    }
    let notice: NoticeJson = serde_json::from_str(line).ok()?;
    Some(Notice { path: notice.artifact, emit: EmitKind::parse(&notice.emit) })
}

/// Returns `text` as it appears between the quotes of a JSON string.
pub fn json_escaped(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_notices_are_told_from_diagnostics() {
        let line = r#"{"$message_type":"artifact","artifact":"/w/a \"b\"/liba.rmeta","emit":"metadata"}"#;
        let notice = Notice { path: "/w/a \"b\"/liba.rmeta".into(), emit: Some(EmitKind::Metadata) };
        assert!(line.contains(&json_escaped(&notice.path)));
        assert_eq!(parse(line), Some(notice));
        assert_eq!(parse(r#"{"$message_type":"diagnostic","message":"artifact"}"#), None);
        assert_eq!(parse("artifact"), None);
    }
}
