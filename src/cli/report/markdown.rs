//! The report as GitHub Markdown.
//!
//! Cells hold text from logs, so it is escaped: a name can neither end a cell nor act as markup.

use std::fmt::Write;

use super::figures::BuildReport;
use crate::cli::units;

pub(super) fn of(report: &BuildReport) -> String {
    let mut text = String::new();
    let about = match report.period {
        Some(period) => format!("kache, the last {}", humantime::format_duration(period)),
        None => "kache".to_owned(),
    };
    let rate = report.rate().map_or_else(|| "no hits or misses".to_owned(), |rate| format!("{rate} % hits"));
    line(&mut text, &format!("### {about}: {rate}\n"));
    if report.ended.is_some() {
        overview(&mut text, report);
    }
    remote(&mut text, report);
    problems(&mut text, report);
    misses(&mut text, report);
    bypasses(&mut text, report);
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn row(text: &mut String, cells: &[&str]) {
    for cell in cells {
        let _ = write!(text, "| {} ", escaped(cell));
    }
    text.push_str("|\n");
}

fn overview(text: &mut String, report: &BuildReport) {
    let events = &report.events;
    let from_remote = match report.remote_hits {
        0 => String::new(),
        hits => format!(", {hits} of them fetched from the remote"),
    };
    line(text, "| | |\n|---|---|");
    row(text, &["Hits", &format!("{}{from_remote}", events.hits)]);
    let misses = match events.misses {
        0 => "0".to_owned(),
        misses => format!("{misses}, {} of compile time", units::millis(report.compiled_ms)),
    };
    row(text, &["Misses", &misses]);
    row(text, &["Bypasses", &events.bypasses.to_string()]);
    row(text, &["Time saved", &format!("{} of compile time", units::millis(events.saved_ms))]);
    if !events.miss_answers.is_empty() {
        let answers = events.miss_answers.iter().map(|(answer, number)| format!("{number} {}", answer.id()));
        row(text, &["Misses, by the answer of the remote", &answers.collect::<Vec<_>>().join(", ")]);
    }
    if events.waited_ms > 0.0 {
        row(text, &["Waited for the remote", &units::millis(events.waited_ms)]);
    }
    if !report.since {
        row(text, &["Build time", &units::millis(report.wall_ms())]);
    }
    text.push('\n');
}

fn remote(text: &mut String, report: &BuildReport) {
    let remote = &report.remote;
    if remote.is_empty() {
        return;
    }
    line(text, "| Remote | Entries | Details |\n|---|---:|---|");
    let (fetched, sent) = (units::bytes(remote.fetched_bytes), units::bytes(remote.sent_bytes));
    row(text, &["Fetched", &remote.fetched.to_string(), &fetched]);
    row(text, &["Uploaded", &remote.sent.to_string(), &sent]);
    if remote.refusals() > 0 {
        row(text, &["Refused", &remote.refusals().to_string(), &remote.refusals_by_reason()]);
    }
    if remote.failed > 0 {
        row(text, &["Failed", &remote.failed.to_string(), remote.last_failure.as_deref().unwrap_or_default()]);
    }
    text.push('\n');
}

fn problems(text: &mut String, report: &BuildReport) {
    for problem in &report.remote_problems {
        line(text, &format!("**Problem of the remote:** {}\n", escaped(problem)));
    }
}

fn misses(text: &mut String, report: &BuildReport) {
    if report.slowest.is_empty() {
        return;
    }
    folded(text, "Slowest misses", |text| {
        line(text, "| Unit | Time | Reason |\n|---|---:|---|");
        for miss in &report.slowest {
            row(text, &[&miss.label(), &units::millis(miss.ms), &miss.reason]);
        }
    });
}

fn bypasses(text: &mut String, report: &BuildReport) {
    let bypasses = report.bypasses();
    if bypasses.is_empty() {
        return;
    }
    folded(text, "Bypasses, by reason", |text| {
        line(text, "| Bypasses | Reason | Meaning |\n|---:|---|---|");
        for (times, id, sentence) in bypasses {
            row(text, &[&times.to_string(), id, sentence]);
        }
    });
}

/// Writes a folded section. GitHub needs empty lines between its HTML and Markdown.
fn folded(text: &mut String, title: &str, body: impl FnOnce(&mut String)) {
    line(text, &format!("<details><summary>{title}</summary>\n"));
    body(text);
    line(text, "\n</details>\n");
}

fn escaped(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for c in cell.chars() {
        match c {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '#' | '!' | '@' => text.extend(['\\', c]),
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::report::{Format, gather};
    use crate::events::{Ending, Event, Transfer, WholeBuilds, transfer};

    fn event(outcome: &str, name: &str, ms: f64) -> Event {
        Event { outcome: outcome.into(), crate_name: name.into(), ms, at: 10_000, ..Event::default() }
    }

    fn fetched(key: &str) -> Transfer {
        Transfer {
            v: transfer::VERSION,
            at: 10_000,
            ending: Ending::Fetched,
            crate_name: "a".into(),
            key: key.into(),
            bytes: 1024,
            ms: 1.0,
            reason: String::new(),
        }
    }

    #[test]
    fn all_that_happened_is_in_it_and_nothing_else() {
        let hit = Event { key: "one".into(), ..event("hit.remote", "a", 1.0) };
        let miss = Event { remote: Some("late".into()), waited_ms: 40.0, ..event("miss.no-manifest", "b", 900.0) };
        let transfers = [fetched("one"), fetched("two")];
        let mut report = gather(&[&hit, &miss], &transfers, WholeBuilds::default(), None);
        let fleet = &report.fleet;
        assert_eq!((fleet.units, fleet.hits_fetched, fleet.hits_local), (2, 1, 0));
        assert_eq!((&fleet.misses_by_answer["late"], &fleet.hits_by_answer["not-asked"]), (&1, &1));
        assert!(!of(&report).contains("Problem"));
        report.remote_problems.push("it is <slow>".into());
        let text = of(&report);
        assert!(text.contains("| Misses, by the answer of the remote | 1 late |"), "{text}");
        assert!(text.contains("| Waited for the remote | 40 ms |"), "{text}");
        assert!(text.contains("**Problem of the remote:** it is &lt;slow&gt;\n"), "{text}");
        for part in
            ["50.0 % hits", "| Hits | 1, 1 of them fetched from the remote", "| Misses | 1, 900 ms", "| b | 900 ms |"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains("| Fetched | 2 | 2.0 KiB |") && !text.contains("<summary>Bypasses"), "{text}");
        let nothing = of(&gather(&[], &[], WholeBuilds::default(), None));
        assert!(nothing.contains("no hits or misses") && !nothing.contains('|'), "{nothing}");
    }

    #[test]
    fn a_name_cannot_be_markup() {
        let evil = "a|b\n<img src=x> [l](u) `c`";
        let text = of(&gather(&[&event("miss.no-manifest", evil, 5.0)], &[], WholeBuilds::default(), None));
        let row = text.lines().find(|line| line.contains("img")).expect("its row");
        assert!(row.starts_with("| a\\|b &lt;img src=x&gt; \\[l\\](u) \\`c\\` | 5.0 ms |"), "{row}");
    }

    #[test]
    fn there_are_three_formats() {
        use clap::ValueEnum;
        let names = Format::value_variants().iter().map(|format| format.to_possible_value().expect("named"));
        assert_eq!(names.map(|name| name.get_name().to_owned()).collect::<Vec<_>>(), ["text", "json", "markdown"]);
    }
}
