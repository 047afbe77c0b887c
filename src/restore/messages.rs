//! Splits the messages of rustc for the store, and joins them again for the current checkout.
//!
//! A replay is the same byte for byte, except for the paths in `artifact` notices, which name the current output
//! directory.

use std::path::Path;

use crate::rustc::notices::{self, Notice};
use crate::store::Message;
use crate::store::entries::is_file_name;

/// Splits a stream into messages. `None` if it is not UTF-8, or if a notice names a file that is not directly in
/// `out_dir`.
pub fn record(stream: &[u8], out_dir: &Path) -> Option<Vec<Message>> {
    let text = std::str::from_utf8(stream).ok()?;
    let mut messages = Vec::new();
    let mut raw = String::new();
    for line in text.split_inclusive('\n') {
        let Some(notice) = notices::parse(line.trim_end_matches('\n')) else {
            raw.push_str(line);
            continue;
        };
        let name = output_name(&notice, out_dir)?;
        let (before, after) = line.split_once(&notices::json_escaped(&notice.path))?;
        raw.push_str(before);
        messages.push(Message::Raw(std::mem::take(&mut raw)));
        messages.push(Message::Artifact(name.to_owned()));
        raw.push_str(after);
    }
    if !raw.is_empty() {
        messages.push(Message::Raw(raw));
    }
    Some(messages)
}

/// Returns the name of the output in a notice, if the output is directly in `out_dir`.
pub fn output_name<'a>(notice: &'a Notice, out_dir: &Path) -> Option<&'a str> {
    let name = notice.path.strip_prefix(out_dir.to_str()?)?.strip_prefix('/')?;
    is_file_name(name).then_some(name)
}

/// Joins messages into a stream whose notices name files in `out_dir`.
pub fn replay(messages: &[Message], out_dir: &Path) -> Vec<u8> {
    let mut stream = String::new();
    for message in messages {
        match message {
            Message::Raw(text) => stream.push_str(text),
            // Only runs have such messages; `super::run` replays them.
            Message::Text(_) => {}
            Message::Artifact(name) => {
                stream.push_str(&notices::json_escaped(&out_dir.join(name).to_string_lossy()));
            }
        }
    }
    stream.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_notices_are_retargeted_and_the_rest_is_kept() {
        let stream = "{\"message\":\"/a/t/liba.rmeta\"}\n{\"$message_type\":\"artifact\",\"artifact\":\"/a/t/liba.rmeta\",\"emit\":\"metadata\"}\nplain text";
        let messages = record(stream.as_bytes(), Path::new("/a/t")).unwrap();
        assert_eq!(messages[1], Message::Artifact("liba.rmeta".into()));
        assert_eq!(replay(&messages, Path::new("/a/t")), stream.as_bytes());
        let there = String::from_utf8(replay(&messages, Path::new("/b \"q\""))).unwrap();
        assert!(there.contains("\"artifact\":\"/b \\\"q\\\"/liba.rmeta\",\"emit\""));
        assert!(there.starts_with("{\"message\":\"/a/t/liba.rmeta\"}\n") && there.ends_with("plain text"));
    }

    #[test]
    fn f10_a_notice_about_a_file_elsewhere_is_refused() {
        let line =
            |path: &str| format!("{{\"$message_type\":\"artifact\",\"artifact\":\"{path}\",\"emit\":\"link\"}}\n");
        assert!(record(line("/a/t/x").as_bytes(), Path::new("/a/t")).is_some());
        for path in ["/b/x", "/a/t/../x", "/a/t/d/x", "/a/tx", "x"] {
            assert!(record(line(path).as_bytes(), Path::new("/a/t")).is_none(), "{path}");
        }
        assert!(record(b"\xff", Path::new("/a/t")).is_none());
    }
}
