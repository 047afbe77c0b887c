//! Snapshots: the whole output of commands, compared with a file in `tests/it/snapshots`.
//!
//! docs/writing-a-test.md says how to accept a change.
//!
//! What depends on the machine or on the time gets a name in brackets, in [`FILTERS`] and nowhere else. A pattern
//! includes the words around the value, so that all other numbers are compared. [`Project::with_fixed_figures`] makes
//! the figures of builds equal on all machines, so that tables are compared with their columns.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{KACHE, Project};

/// Patterns, and the names that replace their matches. Applied in this order, after the paths.
const FILTERS: &[(&str, &str)] = &[
    // The tables of entries: the widths of these columns depend on the values.
    (r" +SIZE +COMPILE TIME +LAST USED  KEY(?m:$)", "  SIZE  COMPILE TIME  LAST USED  KEY"),
    (r" +[\d.]+ [KM]iB +[\d.]+ m?s +\d+s ago  [0-9a-f]{12}(?m:$)", "  [SIZE]  [TIME]  [AGE]  [KEY]"),
    (r" +DOWNLOAD +SIZE  KEY(?m:$)", "  DOWNLOAD  SIZE  KEY"),
    (r" +[\d.]+ [KM]iB +[\d.]+ [KM]iB  [0-9a-f]{12}(?m:$)", "  [SIZE]  [SIZE]  [KEY]"),
    (r" +SIZE  KEY(?m:$)", "  SIZE  KEY"),
    (r" +[\d.]+ [KM]iB  [0-9a-f]{12}(?m:$)", "  [SIZE]  [KEY]"),
    // The store.
    (r"(  size +)[\d.]+ [KM]iB of ", "$1[SIZE] of "),
    (r"[\d.]+ [KM]iB before, [\d.]+ [KM]iB now", "[SIZE] before, [SIZE] now"),
    (r"(blobs?, )[\d.]+ [KM]iB", "$1[SIZE]"),
    (r#""bytes": [1-9]\d*"#, r#""bytes": "[SIZE]""#),
    // Transfers.
    (r"((?:pushed|pulled|would push|would pull) \d+ \w+, )[\d.]+ [KM]iB", "$1[SIZE]"),
    (r"(, in )[\d.]+ m?s", "$1[TIME]"),
    (r"(127\.0\.0\.1:)\d{4,5}", "$1[PORT]"),
    (r"(v2/probe/)\d+-\d+", "$1[NUMBER]"),
    (r"(v2/builds/[^/\s]+/)[^\s:]+", "$1[NAME]"),
    // `kache doctor`.
    (r"(; took )[\d.]+ m?s(?m:$)", "$1[TIME]"),
    (r"(fail +\w+ +after )[\d.]+ m?s:", "$1[TIME]:"),
    (r"(rlibs|other files) by (reflink|hard link|copy)", "$1 by [METHOD]"),
    // Keys, and digests of what rustc wrote. Digests of sources are the same everywhere.
    (r"\b[0-9a-f]{64}\b", "[KEY]"),
    // Redacted values: the digest contains the id of the boot.
    (r"\bsecret [0-9a-f]{12}\b", "secret [DIGEST]"),
    (r"(  dependency +\w+ +)[0-9a-f]{12} -> [0-9a-f]{12}", "$1[DIGEST] -> [DIGEST]"),
    (r"kache-([ps])k1:[A-Za-z0-9_-]{43}\b", "kache-${1}k1:[KEY]"),
    (r#"("(?:began|ended)": )\d{13}"#, r#"$1"[TIME]""#),
];

impl Project {
    /// Runs `kache` once per line of arguments, and compares all output and the exit codes with the snapshot `name`.
    #[track_caller]
    pub(crate) fn shows(&self, name: &str, commands: &[&str]) -> &Self {
        let transcript: Vec<String> = commands.iter().map(|command| self.transcript(command)).collect();
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path("../snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let dir = self.sandbox_dir();
        for (path, of) in [(KACHE, "[KACHE]"), (dir.to_str().expect("UTF-8"), "[DIR]")] {
            settings.add_filter(&escaped(path), of);
        }
        for (pattern, of) in FILTERS {
            settings.add_filter(pattern, *of);
        }
        settings.bind(|| insta::assert_snapshot!(name, transcript.join("\n")));
        self
    }

    /// A command with its output, as a person sees it.
    fn transcript(&self, command: &str) -> String {
        let args: Vec<&str> = command.split_whitespace().collect();
        let run = self.kache(&args);
        let mut text = format!("{}\n{}", format!("$ kache {command}").trim_end(), run.stdout);
        if !run.stderr.is_empty() {
            text += "[stderr]\n";
            text += &run.stderr;
        }
        let is_ragged = |line: &str| line.ends_with(' ') && !line.trim().is_empty();
        assert!(!text.lines().any(is_ragged), "a line ends with a space: {text:?}");
        if run.code != 0 {
            let _ = writeln!(text, "[exit code {}]", run.code);
        }
        text
    }

    /// Replaces the times and sizes in the event log. Each event ended about two and a half hours ago, one second after
    /// the event before it. The place of its crate in `crates` decides its time, and its order in a build: cargo builds
    /// several units at once.
    pub(crate) fn with_fixed_figures(&self, crates: &[&str]) -> &Self {
        let mut events = self.events();
        let builds: Vec<Value> = events.iter().map(|event| event["build"].clone()).collect();
        let place = |event: &Value| crates.iter().position(|name| event["crate"] == *name).expect("a known crate");
        events.sort_by_key(|event| (builds.iter().position(|build| *build == event["build"]), place(event)));
        let now = UNIX_EPOCH.elapsed().expect("after 1970");
        let began = now.checked_sub(Duration::from_mins(150)).expect("after 1970");
        let mut lines = String::new();
        for (second, mut event) in (1..).zip(events) {
            let is_hit = event["outcome"].as_str().expect("an outcome").starts_with("hit.");
            event["at"] = json!(u64::try_from((began + Duration::from_secs(second)).as_millis()).expect("a time"));
            event["ms"] = json!(if is_hit { 4 } else { 250 * (place(&event) + 1) });
            event["waited_ms"] = json!(0.0);
            if event["saved_ms"] != 0.0 {
                event["saved_ms"] = json!(800.0);
            }
            let restored = ["reflink_bytes", "hardlink_bytes", "copy_bytes"].map(|name| (name, event[name] != 0));
            if restored.iter().any(|(_, is_used)| *is_used) {
                for ((name, _), bytes) in restored.into_iter().zip([0, 40_960, 512]) {
                    event[name] = json!(bytes);
                }
            }
            if event["stored"] == "stored" {
                event["stored_bytes"] = json!(12_288);
            }
            let _ = writeln!(lines, "{event}");
        }
        fs::write(self.cache_dir().join("events/events.jsonl"), lines).expect("write the event log");
        self
    }
}

/// The path as a pattern that matches only it.
fn escaped(path: &str) -> String {
    let escape = |c: char| if c.is_alphanumeric() || c == '/' { vec![c] } else { vec!['\\', c] };
    path.chars().flat_map(escape).collect()
}
