//! The text output of `kache why`.

use std::collections::BTreeMap;
use std::io;

use super::causes::{self, Group};
use super::totals::BuildTotals;
use crate::cli::context::CommandContext;
use crate::cli::printer::{Table, plain};
use crate::cli::units;
use crate::events::restore::DEPENDS_ON_ANOTHER;
use crate::events::{Event, WholeBuild};
use crate::fsx::clock::{self, Time};
use crate::model::{Compared, Difference, DifferenceKind as Kind, MissReason, Outcome, RemoteAnswer, Stored};

/// How many differences of one group the summary shows.
const MAX_DIFFERENCES: usize = 6;
/// How many units a line names.
const MAX_NAMED_UNITS: usize = 8;

/// Prints which build it is, and its totals.
pub(super) fn print_heading(cx: &CommandContext, build: &BuildTotals<'_>) -> io::Result<()> {
    let ended = Time { secs: build.ended / 1000, nanos: 0 };
    let number = |number: u64, one: &str, many: &str| units::count(usize::try_from(number).unwrap_or(0), one, many);
    cx.out.data(format_args!(
        "Last build: {} ago, {}, {}, {}",
        units::age(ended, clock::now()),
        number(build.hits, "hit", "hits"),
        number(build.misses, "miss", "misses"),
        number(build.bypasses, "bypass", "bypasses"),
    ))?;
    if !build.target.is_empty() {
        cx.out.data(format_args!("Target directory: {}", build.target))?;
    }
    Ok(())
}

/// Prints which units were left to cargo when the whole build was restored, and why.
pub(super) fn print_left_out(cx: &CommandContext, whole: &WholeBuild) -> io::Result<()> {
    if whole.left == 0 {
        return Ok(());
    }
    cx.out.data(format_args!(
        "\nRestored {} before cargo asked, and left {} to cargo:",
        units::count(usize::try_from(whole.restored).unwrap_or(usize::MAX), "unit", "units"),
        whole.left
    ))?;
    // The units that depend on another one follow from that.
    let causes: Vec<_> = whole.left_out.iter().filter(|left| left.reason != DEPENDS_ON_ANOTHER).collect();
    for left in causes.iter().take(MAX_NAMED_UNITS) {
        cx.out.data(format_args!("  {}: {}", plain(&left.unit), plain(&left.reason)))?;
    }
    let others = whole.left.saturating_sub(causes.len().min(MAX_NAMED_UNITS) as u64);
    if others > 0 {
        cx.out.data(format_args!("  and {others} more, most of which depend on these"))?;
    }
    Ok(())
}

/// Prints one reason, the units with that reason, and the units compiled because of them.
pub(super) fn print_group(cx: &CommandContext, group: &Group<'_>) -> io::Result<()> {
    let event = group.first();
    cx.out.data(format_args!("\n{}: {}", names(&group.units), verdict(event)))?;
    print_reason(cx, event)?;
    let main = causes::main_differences(event);
    let shown: Vec<&Difference> = main.iter().copied().take(MAX_DIFFERENCES).collect();
    let hidden = main.len() - shown.len();
    print_differences(cx, &shown, hidden)?;
    print_answers(cx, group.all())?;
    if !group.followers.is_empty() {
        cx.out.data(format_args!("  compiled because of this: {}", names(&group.followers)))?;
    }
    Ok(())
}

/// Prints all that is known about one unit.
pub(super) fn print_unit(cx: &CommandContext, event: &Event, compiled: &[&Event]) -> io::Result<()> {
    cx.out.data(format_args!("\n{}: {}", label(event), verdict(event)))?;
    print_reason(cx, event)?;
    let all: Vec<&Difference> = event.differs.iter().collect();
    print_differences(cx, &all, event.differing.saturating_sub(all.len()))?;
    print_answers(cx, [event])?;
    let causes = causes::because_of(event, compiled);
    if !causes.is_empty() {
        cx.out.data(format_args!("  compiled because of: {}", names(&causes)))?;
    }
    let mut table = Table::new(&[]).indented();
    table.row(["outcome".into(), event.outcome.id().to_owned()]);
    let stored = event.stored.as_ref().map_or("", Stored::id);
    let remote = event.remote.as_ref().map_or("", RemoteAnswer::id);
    let keys = [("lookup key", event.lookup.as_str()), ("entry key", &event.key)];
    for (name, value) in [("stored", stored), ("remote", remote)].into_iter().chain(keys) {
        if !value.is_empty() {
            table.row([name.into(), value.to_owned()]);
        }
    }
    table.row(["took".into(), units::millis(event.ms)]);
    cx.out.table(&table)
}

/// Prints what the remote answered these units, once for each answer.
fn print_answers<'a>(cx: &CommandContext, events: impl IntoIterator<Item = &'a Event>) -> io::Result<()> {
    let mut answers: BTreeMap<&RemoteAnswer, usize> = BTreeMap::new();
    for answer in events.into_iter().filter_map(|event| event.remote.as_ref()) {
        *answers.entry(answer).or_default() += 1;
    }
    for (answer, number) in &answers {
        let of = match answers.len() {
            1 => String::new(),
            _ => format!(" ({})", units::count(*number, "unit", "units")),
        };
        cx.out.data(format_args!("  {}{of}", answer.sentence()))?;
    }
    Ok(())
}

/// The verdict in words: `miss, stored`, `miss, not stored`, `bypass` or `hit`.
fn verdict(event: &Event) -> String {
    let class = event.outcome.class().name();
    match &event.stored {
        None => class.to_owned(),
        Some(Stored::Yes) => format!("{class}, stored"),
        Some(_) => format!("{class}, not stored"),
    }
}

/// Prints why the unit was not restored and, if its result was not stored, why not; each with its detail.
fn print_reason(cx: &CommandContext, event: &Event) -> io::Result<()> {
    let (of_miss, of_fate) = details(event);
    let reason = match &event.compared {
        Some(compared @ (Compared::FirstSeen | Compared::Removed)) => compared.sentence(),
        _ => event.outcome.sentence(),
    };
    let tail = match (&event.compared, of_miss) {
        (Some(compared), _) if event.differing > 0 => format!("; {}:", compared.sentence()),
        (_, "") => String::new(),
        (_, detail) => format!(": {}", plain(detail)),
    };
    let fate = if of_fate.is_empty() { String::new() } else { format!(": {}", plain(of_fate)) };
    if let Some(stored) = event.stored.as_ref().filter(|stored| **stored != Stored::Yes) {
        cx.out.data(format_args!("  not stored: {}{fate}", stored.sentence()))?;
    }
    cx.out.data(format_args!("  {reason}{tail}"))
}

/// Splits the detail of an event: the part about the miss or bypass, and the part about the fate of the result. The
/// event joins them with `; `.
fn details(event: &Event) -> (&str, &str) {
    let detail = event.detail.as_str();
    if event.outcome == Outcome::Miss(MissReason::NoManifest) {
        return ("", detail);
    }
    if event.stored.is_none() || event.is_stored() {
        return (detail, "");
    }
    detail.split_once("; ").unwrap_or((detail, ""))
}

fn print_differences(cx: &CommandContext, shown: &[&Difference], hidden: usize) -> io::Result<()> {
    let mut table = Table::new(&[]).indented_by(4);
    for one in shown {
        let change = format!("{} -> {}", value(one, one.old.as_ref()), value(one, one.new.as_ref()));
        let change = if one.old.is_none() && one.new.is_none() { String::new() } else { change };
        table.row([one.kind.replace('-', " "), plain(&one.name), change]);
    }
    cx.out.table(&table)?;
    if hidden > 0 {
        cx.out.data(format_args!("    and {hidden} more"))?;
    }
    Ok(())
}

/// The value, or a word for its absence.
fn value(difference: &Difference, value: Option<&String>) -> String {
    match value {
        Some(value) if value.is_empty() || value.trim() != value => format!("{value:?}"),
        Some(value) => plain(value),
        None if difference.is(Kind::Variable) => "(unset)".to_owned(),
        None if difference.is(Kind::Flag) || difference.is(Kind::Derived) => "(not given)".to_owned(),
        None => "(absent)".to_owned(),
    }
}

/// The unit as text, such as `dep 0.1.0 (lib)` or `build_script_build of dep 0.1.0 (bin)`.
fn label(event: &Event) -> String {
    let (name, version) = event.package.split_once(' ').unwrap_or((&event.package, ""));
    let package = if name.replace('-', "_") == event.crate_name {
        format!("{name} {version}")
    } else if event.package.is_empty() {
        event.crate_name.clone()
    } else {
        format!("{} of {}", event.crate_name, event.package)
    };
    let emit = if event.emit == "metadata" { ", metadata" } else { "" };
    let kind = if event.kind.is_empty() { "crate" } else { &event.kind };
    format!("{} ({kind}{emit})", package.trim())
}

/// The labels of the first units, and how many more there are.
fn names(events: &[&Event]) -> String {
    let labels: Vec<String> = events.iter().take(MAX_NAMED_UNITS).map(|event| label(event)).collect();
    let more = events.len() - labels.len();
    let list = labels.join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_details_of_miss_and_fate_are_separated() {
        let event = |outcome: &str, stored: &str, detail: &str| {
            let stored = (!stored.is_empty()).then(|| stored.into());
            let (outcome, detail) = (outcome.into(), detail.into());
            Event { outcome, stored, detail, ..Event::default() }
        };
        assert_eq!(details(&event("bypass.x", "", "a; b")), ("a; b", ""));
        assert_eq!(details(&event("miss.no-manifest", "rustc-failed", "exit")), ("", "exit"));
        assert_eq!(details(&event("miss.input-changed", "rustc-failed", "file a; exit")), ("file a", "exit"));
        assert_eq!(details(&event("miss.input-changed", "private-incremental", "file a")), ("file a", ""));
    }

    #[test]
    fn what_is_absent_has_a_word() {
        let one = |kind| Difference::new(kind, "A", None, Some(String::new()));
        assert_eq!(value(&one(Kind::Variable), None), "(unset)");
        assert_eq!(value(&one(Kind::File), None), "(absent)");
        assert_eq!(value(&one(Kind::Variable), one(Kind::Variable).new.as_ref()), "\"\"");
    }

    #[test]
    fn labels_name_crate_and_package() {
        let event = |krate: &str, package: &str| {
            let (crate_name, package, kind) = (krate.into(), package.into(), "lib".into());
            Event { crate_name, package, kind, ..Event::default() }
        };
        assert_eq!(label(&event("a_b", "a-b 1.0.0")), "a-b 1.0.0 (lib)");
        assert_eq!(label(&event("build_script_build", "a 1.0.0")), "build_script_build of a 1.0.0 (lib)");
        assert_eq!(label(&event("a", "")), "a (lib)");
    }
}
