//! What wrapper, command line and agent say to each other: one JSON object per line over a unix socket.
//!
//! Version 1: first. Every message carries the version; who hears another one than his own says so and hangs up.

use serde::{Deserialize, Serialize};

use crate::model::LookupKey;

/// The version that this program speaks.
pub const VERSION: u32 = 1;

/// The longest line that is read.
pub const MAX_LINE: u64 = 64 * 1024;

/// A message to the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Version of the protocol.
    pub v: u32,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Is this lookup key coming?
    Want(Want),
    /// What came was no hit: said on the same connection after [`Answer::Here`]. Hanging up without it means that it was.
    Unused,
    /// How is it?
    Status,
    /// End, now.
    Stop,
}

/// A miss that looks for help.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Want {
    /// The remote that the asker means (`config::Remote::identity`).
    pub remote: String,
    /// The workspace that is built: the directory with its lock file, if one was found.
    pub workspace: Option<String>,
    /// `<triple or host>/<profile's directory>`.
    pub shape: String,
    /// The build: what stays the same while it lasts, and differs from others.
    pub build: u64,
    /// Crate name.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// The lookup key.
    pub lookup: LookupKey,
}

/// A message of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Version of the protocol.
    pub v: u32,
    /// The answer.
    pub answer: Answer,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Not coming, or not worth the wait: compile.
    No(No),
    /// Perhaps: wait for another answer, at most so many milliseconds. May be said again, which begins that time anew.
    Wait(u64),
    /// An entry under the lookup key has come: look again.
    Here,
    /// How the agent is.
    Status(Box<Status>),
    /// Done.
    Bye,
}

/// Why nothing is coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum No {
    /// The remote does not have it.
    Unknown,
    /// The remote cannot be reached, or answers nonsense.
    Unusable,
    /// Waiting has cost more than it brought.
    Spent,
    /// The asker means another remote than this agent serves.
    OtherRemote,
    /// The asker speaks another version.
    OtherVersion,
}

/// How the agent is, for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Process id.
    pub pid: u32,
    /// Seconds since it began.
    pub up_s: u64,
    /// Where it pulls from, without credentials.
    pub remote: String,
    /// `usable`, or what is wrong.
    pub health: String,
    /// Entries that came.
    pub fetched: u64,
    /// Bytes of their packs.
    pub fetched_bytes: u64,
    /// Bytes that the store has grown by.
    pub grown_bytes: u64,
    /// Entries that are to come.
    pub fetching: u64,
    /// Entries that went.
    pub sent: u64,
    /// Entries that are to go.
    pub queued: u64,
    /// Why uploads wait, if they do.
    pub uploads: String,
}

impl Request {
    /// A request of this version.
    pub const fn new(ask: Ask) -> Self {
        Self { v: VERSION, ask }
    }
}

impl Reply {
    /// A reply of this version.
    pub const fn new(answer: Answer) -> Self {
        Self { v: VERSION, answer }
    }
}

/// The message as a line.
pub fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    #[test]
    fn messages_round_trip() {
        let want = Want {
            remote: "r".into(),
            workspace: None,
            shape: "host/debug".into(),
            build: 1,
            crate_name: "a".into(),
            lookup: LookupKey(Digest::of(b"l")),
        };
        for ask in [Ask::Want(want), Ask::Unused, Ask::Status, Ask::Stop] {
            let request = Request::new(ask);
            assert_eq!(serde_json::from_slice::<Request>(&line(&request)).unwrap(), request);
        }
        for answer in
            [Answer::No(No::Spent), Answer::Wait(5), Answer::Here, Answer::Status(Box::default()), Answer::Bye]
        {
            let reply = Reply::new(answer);
            assert_eq!(serde_json::from_slice::<Reply>(&line(&reply)).unwrap(), reply);
        }
    }
}
