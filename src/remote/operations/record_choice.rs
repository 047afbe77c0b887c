//! Which build records to use, and which to keep. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::env::consts;
use std::time::SystemTime;

use super::checkout::Checkout;
use crate::remote::format::names::{self, RecordName};
use crate::remote::format::signer_id::SignerId;

/// Records of one branch, command, target and profile that are kept, on branches that others start from.
const MAX_ON_DEFAULT: usize = 8;
/// The same, on other branches.
const MAX_ON_BRANCH: usize = 2;
/// Branches of which records are kept, the recent ones, besides those that others start from.
const MAX_BRANCHES: usize = 64;

/// A record in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRecord {
    /// The layer that has it.
    pub layer: usize,
    /// The name tells all that is known without reading it.
    pub name: RecordName,
    /// When it was written, by the server's clock.
    pub modified: Option<SystemTime>,
}

/// What a record is wanted for.
#[derive(Clone, Debug, Default)]
pub struct Purpose {
    /// The target and profile, as [`names::shape_part`] spells them. `None`: any.
    pub shape: Option<String>,
    /// The command, as [`names::command_part`] spells it. `None`: any.
    pub command: Option<String>,
}

impl Purpose {
    /// A purpose: what was built for (`<triple or host>/<directory of the profile>`).
    pub fn of_shape(shape: &str) -> Self {
        let shape = record_shape(shape).map(|(triple, profile)| names::shape_part(&triple, profile));
        Self { shape, command: None }
    }
}

/// The target triple and profile that the record of a build names. The host becomes its architecture and system: jobs
/// of one branch on several systems need records of their own, because their entries fit no other system.
pub fn record_shape(shape: &str) -> Option<(String, &str)> {
    let (triple, profile) = shape.split_once('/')?;
    match triple {
        "host" => Some((format!("host-{}-{}", consts::ARCH, consts::OS), profile)),
        triple => Some((triple.to_owned(), profile)),
    }
}

/// What commits and locks say of a record: greater is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kinship {
    /// Neither the lock file nor a commit is the same.
    None,
    /// It is of a commit in the history of the checkout, at this distance.
    Ancestor(Reverse<usize>),
    /// It is of the same lock file, and of a commit at this distance, if it is in the history.
    SameLock(Reverse<usize>),
}

/// Compares records for one checkout.
struct Ranking<'a> {
    distances: HashMap<String, usize>,
    lock: Option<String>,
    branch: String,
    defaults: Vec<String>,
    purpose: &'a Purpose,
}

impl<'a> Ranking<'a> {
    fn new(checkout: &Checkout, purpose: &'a Purpose) -> Self {
        let mut distances = HashMap::new();
        for (distance, commit) in checkout.commits.iter().enumerate() {
            if let Some(short) = names::short_commit(commit) {
                distances.entry(short).or_insert(distance);
            }
        }
        Self {
            distances,
            lock: checkout.lock.map(names::short_lock),
            branch: names::branch_part(&checkout.branch),
            defaults: checkout.defaults.iter().map(|branch| names::branch_part(branch)).collect(),
            purpose,
        }
    }

    fn kinship(&self, name: &RecordName) -> Kinship {
        let distance = self.distances.get(&name.commit).copied();
        match distance {
            _ if self.lock.as_ref() == Some(&name.lock) => Kinship::SameLock(Reverse(distance.unwrap_or(usize::MAX))),
            Some(distance) => Kinship::Ancestor(Reverse(distance)),
            None => Kinship::None,
        }
    }

    /// The rank of a record; greater is better. `None`: it is of no use.
    fn rank<'r>(&self, record: &'r ListedRecord) -> Option<impl Ord + use<'r>> {
        let name = &record.name;
        let kinship = self.kinship(name);
        let has_shape = self.purpose.shape.as_ref().is_none_or(|shape| *shape == name.shape);
        let has_command = self.purpose.command.as_ref().is_none_or(|command| *command == name.command);
        let branch = match () {
            () if self.branch == name.branch => 2,
            () if self.defaults.contains(&name.branch) => 1,
            () => 0,
        };
        // A record of another shape helps only if the versions of the packages are the same ones.
        let is_useful = kinship != Kinship::None || has_shape;
        let is_same_lock = matches!(kinship, Kinship::SameLock(_));
        let shape_first = is_same_lock && has_shape;
        is_useful.then_some((is_same_lock, shape_first, kinship, has_shape, has_command, branch, record.modified, name))
    }
}

/// Chooses the record to use and returns its index.
///
/// A record with the same `Cargo.lock` is best, then one of the nearest commit in the history of the checkout, then one
/// for the same target and profile. Among these: the wanted target and profile, the nearest commit, the wanted command,
/// the same branch, a branch that others start from, and the newest.
pub fn choose(records: &[ListedRecord], checkout: &Checkout, purpose: &Purpose) -> Option<usize> {
    let ranking = Ranking::new(checkout, purpose);
    let ranked = records.iter().enumerate().filter_map(|(at, record)| Some((ranking.rank(record)?, Reverse(at))));
    ranked.max().map(|(_, Reverse(at))| at)
}

/// Chooses all records to use for a checkout, the best first: of each command, target and profile the best one, if it
/// is of the lock file or of the commit of the best of all. Then the others of the lock file and the commit of the best
/// of all: two writers at the same time each leave out what the other built.
pub fn choose_all(records: &[ListedRecord], checkout: &Checkout, purpose: &Purpose) -> Vec<usize> {
    let Some(best) = choose(records, checkout, purpose) else { return Vec::new() };
    let ranking = Ranking::new(checkout, purpose);
    let is_related = |name: &RecordName| {
        name.lock == records[best].name.lock || name.commit != "none" && name.commit == records[best].name.commit
    };
    let mut by_subject: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (at, record) in records.iter().enumerate().filter(|(_, record)| is_related(&record.name)) {
        by_subject.entry((&record.name.shape, &record.name.command)).or_default().push(at);
    }
    let best_of = |of_subject: &Vec<usize>| {
        let ranked = of_subject.iter().filter_map(|at| Some((ranking.rank(&records[*at])?, Reverse(*at))));
        ranked.max().map(|(_, Reverse(at))| at)
    };
    let mut chosen: Vec<usize> = by_subject.values().filter_map(best_of).collect();
    chosen.sort_by_key(|at| (*at != best, Reverse(records[*at].modified), *at));
    let of = |at: usize| (&records[at].name.lock, &records[at].name.commit);
    let is_more = |at: &usize| of(*at) == of(best) && !chosen.contains(at);
    let mut more: Vec<usize> = (0..records.len()).filter(is_more).collect();
    more.sort_by_key(|at| (Reverse(records[*at].modified), *at));
    chosen.extend(more);
    chosen
}

/// The records of the same signer, branch, command, target, profile and lock file, newest first: the units of the first
/// one that can be read are kept when a build of fewer is recorded.
pub fn previous<'a>(records: &'a [ListedRecord], written: &RecordName, layer: usize) -> Vec<&'a ListedRecord> {
    let is_it = |record: &&ListedRecord| {
        record.layer == layer && subject(&record.name) == subject(written) && record.name.lock == written.lock
    };
    let mut previous: Vec<_> = records.iter().rev().filter(is_it).collect();
    previous.sort_by_key(|record| Reverse(record.modified));
    previous
}

fn subject(name: &RecordName) -> (SignerId, &str, &str, &str) {
    (name.signer, &name.branch, &name.shape, &name.command)
}

/// The records of `signer` that may be deleted: beyond the newest of each branch, command, target and profile, and of
/// branches beyond the recent ones. Those of other signers are theirs to delete.
pub fn surplus<'a>(records: &'a [ListedRecord], signer: SignerId, checkout: &Checkout) -> Vec<&'a ListedRecord> {
    let defaults: BTreeSet<String> = checkout.defaults.iter().map(|branch| names::branch_part(branch)).collect();
    let mut own: Vec<&ListedRecord> = records.iter().filter(|record| record.name.signer == signer).collect();
    own.sort_by_key(|record| (Reverse(record.modified), &record.name));
    let mut recent: BTreeSet<&str> = BTreeSet::new();
    let mut kept: HashMap<(SignerId, &str, &str, &str), usize> = HashMap::new();
    let mut surplus = Vec::new();
    for record in own {
        let is_default = defaults.contains(&record.name.branch);
        let has_branch = is_default || recent.contains(record.name.branch.as_str()) || recent.len() < MAX_BRANCHES;
        if has_branch && !is_default {
            recent.insert(&record.name.branch);
        }
        let count = kept.entry(subject(&record.name)).or_default();
        *count += 1;
        if !has_branch || *count > if is_default { MAX_ON_DEFAULT } else { MAX_ON_BRANCH } {
            surplus.push(record);
        }
    }
    surplus
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Digest;

    fn listed(branch: &str, shape: &str, command: &str, lock: &[u8], commit: &str, at: u64) -> ListedRecord {
        let name = RecordName {
            branch: names::branch_part(branch),
            shape: names::shape_part("host", shape),
            command: names::command_part(command),
            lock: names::short_lock(Digest::of(lock)),
            commit: names::commit_part(Some(commit)),
            signer: SignerId::NONE,
            digest: format!("{at:016}"),
        };
        ListedRecord { layer: 0, name, modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(at)) }
    }

    fn purpose(shape: &str, command: &str) -> Purpose {
        let part = |text: &str, part: String| (!text.is_empty()).then_some(part);
        Purpose {
            shape: part(shape, names::shape_part("host", shape)),
            command: part(command, names::command_part(command)),
        }
    }

    fn checkout(branch: &str, lock: &[u8], commits: &[&str]) -> Checkout {
        Checkout {
            workspace: "w".into(),
            branch: branch.into(),
            defaults: vec!["main".into()],
            lock: Some(Digest::of(lock)),
            commits: commits.iter().map(|commit| (*commit).to_owned()).collect(),
        }
    }

    #[test]
    fn systems_do_not_share_records() {
        let (triple, profile) = record_shape("host/debug").unwrap();
        assert!(triple.contains(consts::OS) && triple.contains(consts::ARCH) && profile == "debug", "{triple}");
        assert_eq!(record_shape("x86_64-unknown-none/release"), Some(("x86_64-unknown-none".to_owned(), "release")));
        let here = names::shape_part(&triple, profile);
        assert_eq!(Purpose::of_shape("host/debug").shape, Some(here.clone()));
        assert_ne!(names::shape_part("host-other-system", profile), here, "control");
        assert_eq!(Purpose::of_shape("").shape, None);
    }

    #[test]
    fn the_same_lock_wins_then_the_nearest_commit_then_the_shape() {
        let (near, far, gone) = ("1".repeat(40), "2".repeat(40), "3".repeat(40));
        let records = [
            listed("main", "debug", "build", b"other", "", 9),
            listed("main", "release", "build", b"other", &far, 8),
            listed("main", "release", "build", b"other", &near, 1),
            listed("x", "debug", "build", b"lock", &gone, 2),
            listed("x", "debug", "build", b"lock", &gone, 3),
            listed("x", "release", "build", b"lock", &gone, 4),
        ];
        let best = |records: &[ListedRecord], shape: &str, commits: &[&str]| {
            choose(records, &checkout("main", b"lock", commits), &purpose(shape, ""))
        };
        let commits = [near.as_str(), far.as_str()];
        assert_eq!(best(&records, "debug", &commits), Some(4), "the newest of the shape");
        assert_eq!(best(&records, "bench", &commits), Some(5), "another shape of the same lock file");
        assert_eq!(best(&records[..3], "debug", &commits), Some(2), "the nearest commit");
        assert_eq!(best(&records[..3], "debug", &[]), Some(0), "the shape");
        assert_eq!(best(&records[..3], "bench", &[]), None);
        assert_eq!(best(&[], "debug", &commits), None);
    }

    #[test]
    fn with_the_same_lock_the_commit_the_command_and_the_branch_decide() {
        let (here, before) = ("1".repeat(40), "2".repeat(40));
        let of = |branch: &str, command: &str, commit: &str, at| listed(branch, "debug", command, b"l", commit, at);
        let commits = [here.as_str(), before.as_str()];
        let best = |records: &[ListedRecord], command: &str| {
            choose(records, &checkout("x", b"l", &commits), &purpose("debug", command))
        };
        assert_eq!(best(&[of("main", "build", &here, 1), of("x", "build", &before, 9)], ""), Some(0));
        assert_eq!(best(&[of("main", "build", &here, 9), of("x", "test", &here, 1)], "test"), Some(1));
        assert_eq!(best(&[of("main", "build", &here, 9), of("x", "build", &here, 1)], ""), Some(1));
        assert_eq!(best(&[of("y", "build", &here, 9), of("main", "build", &here, 1)], ""), Some(1));
    }

    #[test]
    fn all_commands_and_shapes_of_the_chosen_commit_are_pulled_together() {
        let (here, other) = ("1".repeat(40), "2".repeat(40));
        let records = [
            listed("main", "debug", "check", b"l", &here, 1),
            listed("main", "debug", "build", b"l", &here, 2),
            listed("main", "debug", "build", b"l", &here, 3),
            listed("main", "release", "build", b"l2", &here, 4),
            listed("main", "release", "build", b"l3", &other, 5),
        ];
        let all = choose_all(&records, &checkout("main", b"l", &[&here]), &Purpose::default());
        assert_eq!(all, [2, 3, 0, 1], "the older one of the same command comes last");
        assert_eq!(choose_all(&records[4..], &checkout("x", b"l", &[]), &purpose("debug", "")), [0; 0]);
    }

    #[test]
    fn branches_do_not_push_each_other_out() {
        let mut records: Vec<_> = (0..9).map(|at| listed("main", "debug", "build", b"l", "", at)).collect();
        records.extend((100..200).map(|at| listed(&format!("b{at}"), "debug", "build", b"l", "", at)));
        records.extend((300..305).map(|at| listed("b199", "debug", "build", b"l", "", at)));
        let foreign = ListedRecord {
            name: RecordName { signer: "someone_".parse().unwrap(), ..records[0].name.clone() },
            ..records[0].clone()
        };
        records.extend(vec![foreign; 20]);
        let surplus = surplus(&records, SignerId::NONE, &checkout("b199", b"l", &[]));
        let gone = |branch: &str| surplus.iter().filter(|record| record.name.branch == branch).count();
        assert_eq!((gone("main"), gone("b199"), gone("b100"), gone("b150")), (1, 4, 1, 0));
        assert_eq!(surplus.len(), 1 + 4 + 36, "of 100 branches 64 are kept");
        assert!(surplus.iter().all(|record| record.name.signer == SignerId::NONE));
    }

    #[test]
    fn the_previous_record_is_of_the_same_subject_and_lock() {
        let records = [
            listed("main", "debug", "build", b"l", "", 1),
            listed("main", "debug", "build", b"l", "", 2),
            listed("main", "debug", "check", b"l", "", 3),
            listed("main", "debug", "build", b"other", "", 4),
            listed("x", "debug", "build", b"l", "", 5),
        ];
        let written = listed("main", "debug", "build", b"l", "", 9).name;
        assert_eq!(previous(&records, &written, 0).first(), Some(&&records[1]));
        assert!(previous(&records, &written, 1).is_empty());
    }
}
