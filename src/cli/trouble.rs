//! What is wrong with the remote, as builds have noticed it, and what to do: from the event log and from what the agent
//! kept of its failures. Does not use the network; `kache doctor --remote` does.

use std::collections::BTreeMap;

use super::context::CommandContext;
use super::printer::{Table, plain};
use super::{transfer, units};
use crate::agent::failure::{LastFailure, Work};
use crate::agent::paths::AgentPaths;
use crate::config::{Config, RemoteSettings};
use crate::fsx::clock::{self, Time};
use crate::model::RemoteAnswer;
use crate::store::Store;

/// The problems of the remote, each with what to do: failures that no success has followed, then what most of the
/// misses with these answers met. Empty if all is well.
pub(super) fn of_remote(cx: &CommandContext, config: &Config, answers: &BTreeMap<RemoteAnswer, u64>) -> Vec<String> {
    let place = RemoteSettings::load(&cx.env, config).ok().flatten().map(|remote| remote.place());
    let mut failures = LastFailure::read_all(&AgentPaths::of(Store::open(&config.cache_dir.value).layout()));
    failures.retain(|failure| Some(&failure.remote) == place.as_ref());
    let told = failures.iter().map(|failure| failure_text(failure, clock::now()));
    told.chain(of_answers(&unexplained(answers, &failures))).collect()
}

/// The answers, without those that the failures explain: misses wait in vain for a remote that does not answer.
fn unexplained(answers: &BTreeMap<RemoteAnswer, u64>, failures: &[LastFailure]) -> BTreeMap<RemoteAnswer, u64> {
    let is_explained = failures.iter().any(|failure| failure.work != Work::Upload);
    let rest = answers.iter().filter(|(answer, _)| !(is_explained && **answer == RemoteAnswer::Late));
    rest.map(|(answer, number)| (answer.clone(), *number)).collect()
}

/// A table with one problem in each row.
pub(super) fn table(problems: &[String]) -> Table {
    let mut table = Table::new(&[]).indented().wrapping();
    for problem in problems {
        table.row([plain(problem)]);
    }
    table
}

fn failure_text(failure: &LastFailure, now: Time) -> String {
    let age = units::age(Time { secs: failure.at / 1000, nanos: 0 }, now);
    let what = match failure.work {
        Work::Query => "query of the remote",
        Work::Fetch => "fetch from the remote",
        Work::Upload => "upload to the remote",
    };
    let message = failure.message.trim_end_matches('.');
    let pause = if failure.is_paused { " The agent then paused the remote." } else { "" };
    let advice = transfer::advice_on(&failure.cause).unwrap_or("`kache doctor --remote` tests the remote.");
    format!("the last {what} failed {age} ago: {message}. {advice}{pause}")
}

/// What most misses met. A few of them meet it in every build: the time to wait is short, and a new agent takes a
/// moment to start.
fn of_answers(answers: &BTreeMap<RemoteAnswer, u64>) -> Vec<String> {
    use RemoteAnswer::{Late, NoAgent, OtherRemote, OtherVersion};
    let total: u64 = answers.values().sum();
    let of = |some: &[RemoteAnswer]| some.iter().filter_map(|answer| answers.get(answer)).sum::<u64>();
    let cases: [(&[RemoteAnswer], &str); 3] = [
        (
            &[Late],
            "stopped waiting for the remote: it is slow, or far away. `kache doctor --remote` measures its answers, and \
             `kache pull` before a build fetches without hurry.",
        ),
        (&[NoAgent], "got no answer from the agent. `kache agent logs` shows what it does."),
        (
            &[OtherRemote, OtherVersion],
            "met an agent of another remote or version. `kache agent stop` ends it, and the next miss starts another.",
        ),
    ];
    let is_common = |number: u64| number * 2 > total;
    let common = cases.into_iter().map(|(some, text)| (of(some), text)).filter(|(number, _)| is_common(*number));
    common.map(|(number, text)| format!("{number} of {total} misses that asked {text}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::failure::{Cause, VERSION};

    fn failure(cause: Cause, message: &str) -> LastFailure {
        LastFailure {
            v: VERSION,
            at: 1_000_000,
            work: Work::Query,
            remote: "s3://b".into(),
            is_paused: true,
            cause,
            message: message.into(),
        }
    }

    #[test]
    fn a_remote_that_does_not_answer_is_not_called_slow() {
        let answers = BTreeMap::from([(RemoteAnswer::Late, 9)]);
        let away = failure(Cause::Unreachable, "x");
        let upload = LastFailure { work: Work::Upload, ..away.clone() };
        assert!(of_answers(&unexplained(&answers, &[away])).is_empty());
        assert_eq!(of_answers(&unexplained(&answers, &[upload])).len(), 1);
    }

    #[test]
    fn a_failure_is_told_with_its_age_and_what_to_do() {
        let now = Time { secs: 1_120, nanos: 0 };
        assert_eq!(
            failure_text(&failure(Cause::Unreachable, "list x: cannot reach the server: refused."), now),
            "the last query of the remote failed 2m ago: list x: cannot reach the server: refused. Check the endpoint, \
             and that this machine may reach it. The agent then paused the remote."
        );
        let other = failure_text(&LastFailure { is_paused: false, ..failure(Cause::Other, "nonsense") }, now);
        assert!(other.ends_with("nonsense. `kache doctor --remote` tests the remote."), "{other}");
    }

    #[test]
    fn what_most_misses_met_is_a_problem_and_what_a_few_met_is_not() {
        let answers = |late, unknown, no_agent| {
            let all = [(RemoteAnswer::Late, late), (RemoteAnswer::Unknown, unknown), (RemoteAnswer::NoAgent, no_agent)];
            of_answers(&BTreeMap::from(all))
        };
        assert!(of_answers(&BTreeMap::new()).is_empty());
        assert!(answers(2, 3, 1).is_empty() && answers(3, 3, 0).is_empty());
        let slow = answers(4, 3, 0);
        assert!(slow.len() == 1 && slow[0].starts_with("4 of 7 misses") && slow[0].contains("slow"), "{slow:?}");
        assert!(answers(0, 1, 2)[0].contains("kache agent logs"));
    }
}
