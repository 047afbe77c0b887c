//! What `kache remote gc` keeps of the builds: a policy without engine. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::remote::format::names::{self, RecordName, WorkspaceObject};
use crate::remote::s3::listing::ListedObject;

/// What to keep.
#[derive(Clone, Debug)]
pub struct CollectionOptions {
    /// What is younger stays.
    pub older_than: Duration,
    /// Branches whose newest records stay, however old they are.
    pub keep_branches: Vec<String>,
    /// Whether nothing is deleted.
    pub is_dry: bool,
}

/// A build object in a listing, and the workspace that it is of.
#[derive(Clone, Debug)]
pub(super) struct ListedBuild {
    /// The workspace.
    pub(super) workspace: String,
    /// What its name says.
    pub(super) parsed: WorkspaceObject,
    /// The object.
    pub(super) object: ListedObject,
}

pub(super) fn is_record(build: &ListedBuild) -> bool {
    matches!(build.parsed, WorkspaceObject::Record(_))
}

/// Whether each of these stays: what is young, and the newest record of each command, target, profile and signer on the
/// branches to keep. Pure.
pub(super) fn kept(builds: &[ListedBuild], options: &CollectionOptions, now: SystemTime) -> Vec<bool> {
    let branches: Vec<String> = options.keep_branches.iter().map(|branch| names::branch_part(branch)).collect();
    let subject = |build: &ListedBuild| match &build.parsed {
        WorkspaceObject::Record(name) if branches.contains(&name.branch) => {
            let RecordName { branch, shape, command, signer, .. } = name.clone();
            Some((build.workspace.clone(), branch, shape, command, signer))
        }
        _ => None,
    };
    let mut newest: BTreeMap<_, Option<SystemTime>> = BTreeMap::new();
    for build in builds {
        if let Some(subject) = subject(build) {
            let known = newest.entry(subject).or_default();
            *known = (*known).max(build.object.modified);
        }
    }
    let is_newest =
        |build: &ListedBuild| subject(build).is_some_and(|of| newest.get(&of) == Some(&build.object.modified));
    builds.iter().map(|build| !is_old(&build.object, options.older_than, now) || is_newest(build)).collect()
}

/// Whether an object is older than `age`. One whose age is unknown is young.
pub(super) fn is_old(object: &ListedObject, age: Duration, now: SystemTime) -> bool {
    object.modified.is_some_and(|modified| now.duration_since(modified).is_ok_and(|since| since > age))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::format::signer_id::SignerId;

    fn build(branch: &str, command: &str, days: u64, now: SystemTime) -> ListedBuild {
        let name = RecordName {
            branch: names::branch_part(branch),
            shape: names::shape_part("host", "debug"),
            command: names::command_part(command),
            lock: "0".repeat(12),
            commit: "none".into(),
            signer: SignerId::NONE,
            digest: "d".repeat(16),
        };
        let modified = Some(now - Duration::from_hours(24 * days));
        let object = ListedObject { name: name.object("w"), size: 1, modified };
        ListedBuild { workspace: "w".into(), parsed: WorkspaceObject::Record(name), object }
    }

    #[test]
    fn what_is_young_or_the_newest_of_a_kept_branch_stays() {
        let now = SystemTime::now();
        let options = CollectionOptions {
            older_than: Duration::from_hours(30 * 24),
            keep_branches: vec!["main".into()],
            is_dry: false,
        };
        let builds = [
            build("main", "build", 90, now),
            build("main", "build", 60, now),
            build("main", "check", 80, now),
            build("x", "build", 60, now),
            build("x", "build", 29, now),
        ];
        assert_eq!(kept(&builds, &options, now), [false, true, true, false, true]);
        let none = CollectionOptions { keep_branches: Vec::new(), ..options };
        assert_eq!(kept(&builds, &none, now), [false, false, false, false, true]);
        let mut unknown = build("x", "build", 60, now);
        unknown.object.modified = None;
        assert_eq!(kept(&[unknown], &none, now), [true], "its age is unknown");
    }
}
