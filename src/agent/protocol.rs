//! The protocol between wrapper, command line and agent: one JSON object per line over a unix socket.
//!
//! Format version: 1. Every message contains the version. An agent answers another version with
//! [`Decline::OtherVersion`] and closes the connection; a client treats an answer of another version as none.

use serde::{Deserialize, Serialize};

use crate::model::{LookupKey, RemoteAnswer};

/// The protocol version of this program.
pub const VERSION: u32 = 1;

/// The longest line that is read, in bytes.
pub const MAX_LINE: u64 = 64 * 1024;

/// A message to the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Version of the protocol.
    pub v: u32,
    /// The command. Its field is called `ask` on the wire.
    #[serde(rename = "ask")]
    pub command: Command,
}

/// A command for the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Requests an entry under a lookup key.
    #[serde(rename = "want")]
    Fetch(FetchRequest),
    /// Reports that the entry was not a hit, on the same connection after [`Answer::InStore`]. Closing the connection
    /// without it means that it was.
    Unused,
    /// Requests the [`AgentStatus`], for `kache agent status`.
    Status,
    /// Ends the agent now.
    Stop,
}

/// A miss that requests an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// The remote of the client (`config::RemoteSettings::identity`).
    pub remote: String,
    /// The workspace: the directory with the lock file, if one was found.
    pub workspace: Option<String>,
    /// Target and profile: `<triple or host>/<profile's directory>`.
    pub shape: String,
    /// Identifies the build: the same during a build, different from other builds.
    pub build: u64,
    /// Crate name of the unit. The objects of its entries are listed below this name.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// The lookup key of the miss.
    pub lookup: LookupKey,
}

/// A message from the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Version of the protocol.
    pub v: u32,
    /// The answer. Other answers follow only after [`Answer::Wait`].
    pub answer: Answer,
}

/// An answer of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The entry is not coming, or not worth the wait: compile.
    #[serde(rename = "no")]
    Decline(Decline),
    /// The entry may come: wait for another answer, at most this many milliseconds. Each repetition restarts the time.
    Wait(u64),
    /// An entry under the lookup key is in the store now: look again.
    #[serde(rename = "here")]
    InStore,
    /// The status of the agent.
    Status(Box<AgentStatus>),
    /// The agent received [`Command::Stop`] and ends now.
    #[serde(rename = "bye")]
    Stopping,
}

/// Why the agent declines a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decline {
    /// The remote is not known to have it, or what it has was fetched before and is no hit.
    Unknown,
    /// A request to the remote about it failed. Older clients treat this, and `Useless`, as no answer.
    Failed,
    /// The remote is not used for now: it cannot be reached, or answers nonsense.
    Unusable,
    /// The budget is spent.
    Spent,
    /// None of the entries that were fetched for the build was a hit.
    Useless,
    /// The client uses another remote than the agent.
    OtherRemote,
    /// The client uses another version of the protocol.
    OtherVersion,
}

impl From<Decline> for RemoteAnswer {
    fn from(decline: Decline) -> Self {
        match decline {
            Decline::Unknown => Self::Unknown,
            Decline::Failed => Self::Failed,
            Decline::Unusable => Self::Unusable,
            Decline::Spent => Self::Late,
            Decline::Useless => Self::Useless,
            Decline::OtherRemote => Self::OtherRemote,
            Decline::OtherVersion => Self::OtherVersion,
        }
    }
}

/// The status of the agent, for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentStatus {
    /// Process id of the agent.
    pub pid: u32,
    /// Seconds since the agent started.
    pub up_s: u64,
    /// The remote, without credentials.
    pub remote: String,
    /// `usable`, or `paused` with the last error.
    pub health: String,
    /// Number of fetched entries.
    pub fetched: u64,
    /// Bytes of the fetched packs.
    pub fetched_bytes: u64,
    /// Bytes by which the store has grown.
    pub grown_bytes: u64,
    /// Number of lookup keys that are being fetched or are still to be fetched.
    pub fetching: u64,
    /// Number of uploaded entries.
    pub sent: u64,
    /// Number of entries in the upload queue.
    pub queued: u64,
    /// Why uploads wait; empty if they do not.
    pub uploads: String,
}

impl Request {
    /// Creates a request of this version.
    pub const fn new(command: Command) -> Self {
        Self { v: VERSION, command }
    }
}

impl Response {
    /// Creates a response of this version.
    pub const fn new(answer: Answer) -> Self {
        Self { v: VERSION, answer }
    }
}

/// The message as a line of JSON.
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
        let fetch = FetchRequest {
            remote: "r".into(),
            workspace: None,
            shape: "host/debug".into(),
            build: 1,
            crate_name: "a".into(),
            lookup: LookupKey(Digest::of(b"l")),
        };
        for command in [Command::Fetch(fetch), Command::Unused, Command::Status, Command::Stop] {
            let request = Request::new(command);
            assert_eq!(serde_json::from_slice::<Request>(&line(&request)).unwrap(), request);
        }
        for answer in [
            Answer::Decline(Decline::Spent),
            Answer::Wait(5),
            Answer::InStore,
            Answer::Status(Box::default()),
            Answer::Stopping,
        ] {
            let response = Response::new(answer);
            assert_eq!(serde_json::from_slice::<Response>(&line(&response)).unwrap(), response);
        }
    }

    #[test]
    fn the_bytes_of_version_1_stay() {
        let key = LookupKey(Digest::of(b"l"));
        let fetch = FetchRequest {
            remote: "r".into(),
            workspace: Some("/w".into()),
            shape: "host/debug".into(),
            build: 1,
            crate_name: "a".into(),
            lookup: key,
        };
        let text = |message: Vec<u8>| String::from_utf8(message).unwrap();
        let expected = format!(
            "{{\"v\":1,\"ask\":{{\"want\":{{\"remote\":\"r\",\"workspace\":\"/w\",\"shape\":\"host/debug\",\"build\":1,\
             \"crate\":\"a\",\"lookup\":\"{}\"}}}}}}\n",
            key.0.hex()
        );
        assert_eq!(text(line(&Request::new(Command::Fetch(fetch)))), expected);
        for (command, name) in [(Command::Unused, "unused"), (Command::Status, "status"), (Command::Stop, "stop")] {
            assert_eq!(text(line(&Request::new(command))), format!("{{\"v\":1,\"ask\":\"{name}\"}}\n"));
        }
        for (answer, name) in [
            (Answer::Decline(Decline::OtherVersion), "{\"no\":\"other-version\"}"),
            (Answer::Wait(5), "{\"wait\":5}"),
            (Answer::InStore, "\"here\""),
            (Answer::Stopping, "\"bye\""),
        ] {
            assert_eq!(text(line(&Response::new(answer))), format!("{{\"v\":1,\"answer\":{name}}}\n"));
        }
    }
}
