//! The remote: reports its settings without connecting, and on request tries each operation that kache performs there.

use std::time::{Duration, Instant};

use super::check::Check;
use crate::cli::context::{CommandContext, Exit};
use crate::cli::{transfer, units};
use crate::config::{self, Config};
use crate::events::{Journal, Traffic};
use crate::fsx::clock;
use crate::remote::{Remote, RemoteError, SigningKey, Trust, names};

/// Time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit in bytes for the read; more than a probe object holds.
const MAX_PROBE_BYTES: u64 = 4096;

/// Reports the settings, whose signatures are trusted, and the refusals so far. Does not connect.
pub(super) fn settings(cx: &CommandContext, config: &Config) -> Vec<Check> {
    let remote = match config::RemoteSettings::load(&cx.env, config) {
        Ok(Some(remote)) => remote,
        Ok(None) => return vec![Check::ok("remote", "none: results stay on this machine")],
        Err(error) => return vec![Check::fail("remote", format!("{error}; builds run without it"))],
    };
    let mut checks = vec![Check::ok("remote", remote.place()), credentials(&remote), mode(&remote), transfers(&remote)];
    checks.extend(trust(&remote));
    checks.extend(refusals(config));
    checks
}

/// Like [`settings`], but it is a problem if no remote is set.
pub(super) fn needed_settings(cx: &CommandContext, config: &Config) -> Vec<Check> {
    match config::RemoteSettings::load(&cx.env, config) {
        Ok(None) => vec![Check::fail("remote", transfer::no_remote(config))],
        _ => settings(cx, config),
    }
}

fn credentials(remote: &config::RemoteSettings) -> Check {
    let text = match (&remote.keys, &remote.profile) {
        (Some((id, _)), _) => format!("KACHE_S3_ACCESS_KEY ({id}) and KACHE_S3_SECRET_KEY"),
        (None, Some(profile)) => format!("profile {profile} of the AWS configuration"),
        (None, None) => "from AWS_* variables, then the AWS configuration files".to_owned(),
    };
    Check::ok("credentials", text)
}

fn mode(remote: &config::RemoteSettings) -> Check {
    match remote.read_only {
        true => Check::ok("writing", "no: the remote is read-only"),
        false => Check::ok("writing", "yes: builds upload their results"),
    }
}

fn transfers(remote: &config::RemoteSettings) -> Check {
    let connections = units::count(remote.connections, "request", "requests");
    Check::ok("transfers", format!("up to {connections} at once, in parts of {}", remote.part_size.display().iec()))
}

/// Reports whose entries are trusted here, and whether uploads are signed with a key that is trusted here.
fn trust(remote: &config::RemoteSettings) -> Vec<Check> {
    let signer = remote.signing_key.as_ref().map(|key| SigningKey::parse(key.expose())).transpose();
    let own = signer.as_ref().ok().and_then(Option::as_ref);
    let trust = Trust::of(&remote.trusted_keys, own);
    let names_keys = trust.is_ok() && !remote.trusted_keys.is_empty();
    let mut checks = vec![match &trust {
        Ok(Trust::Anyone) => Check::ok("trusted", "whoever can write to the bucket, because trusted_keys is empty"),
        Ok(Trust::Keys(_)) if remote.trusted_keys.is_empty() => {
            Check::ok("trusted", "only entries that this machine's key signed, because trusted_keys is empty")
        }
        Ok(Trust::Keys(keys)) => {
            let number = units::count(keys.len(), "key", "keys");
            Check::ok("trusted", format!("signatures of {number}; entries without one count as absent"))
        }
        Err(error) => Check::fail("trusted", format!("{error}; the remote is not used")),
    }];
    checks.push(match &signer {
        Err(error) => Check::fail("signing", format!("{error}; the remote is not used")),
        Ok(Some(signer)) if names_keys && !remote.trusted_keys.contains(&signer.public().to_string()) => {
            let key = signer.public();
            Check::warn("signing", format!("with {key}, which is not in trusted_keys: other machines may refuse it"))
        }
        Ok(Some(signer)) => Check::ok("signing", format!("with {}", signer.public())),
        Ok(None) if remote.read_only => Check::ok("signing", "no, because nothing is uploaded"),
        Ok(None) if names_keys => {
            Check::warn("signing", "KACHE_SIGNING_KEY is not set: this machine would refuse its own uploads")
        }
        Ok(None) => Check::ok("signing", "no, because KACHE_SIGNING_KEY is not set"),
    });
    checks
}

fn refusals(config: &Config) -> Option<Check> {
    let transfers = Journal::of(&config.cache_dir.value).read(i64::MIN).ok()?;
    let traffic = Traffic::of(&transfers);
    (traffic.refusals() > 0).then(|| {
        let reasons = traffic.refusals_by_reason();
        Check::warn("refused so far", format!("{reasons}; refused entries count as absent, `kache stats` shows more"))
    })
}

/// Tries to list the manifests, and to write, read and remove an object below `v2/probe/`.
pub(super) fn trial(cx: &CommandContext, config: &Config) -> Vec<Check> {
    let settings = match transfer::settings(cx, config) {
        Ok(settings) => settings,
        Err(error) => return vec![Check::fail("remote", format!("{error:#}"))],
    };
    let mut checks = Vec::new();
    let ended = transfer::run(async |_| {
        match Remote::connect(&settings, &cx.env).await {
            Ok(remote) => checks = requests(&remote).await,
            Err(error) => checks.push(Check::fail("connect", error.to_string())),
        }
        Ok(Exit::Ok)
    });
    checks.extend(ended.err().map(|error| Check::fail("connect", format!("{error:#}"))));
    checks
}

async fn requests(remote: &Remote) -> Vec<Check> {
    let bucket = &remote.layers[0].objects;
    let name = names::probe(&format!("{}-{}", std::process::id(), clock::precise().as_nanos()));
    let content = format!("kache doctor\n{name}\n").into_bytes();
    let mut listing = bucket.list(&names::all_manifests());
    let listed = timed("list", Box::pin(listing.next_page())).await;
    let is_silent = matches!(listed.result, Err(None | Some(RemoteError::Unreachable { .. })));
    let mut checks = vec![listed.to_check(|page| {
        let entries = page.as_ref().map_or(0, Vec::len);
        format!("{} on the first page", units::count(entries, "entry", "entries"))
    })];
    if is_silent {
        checks.push(Check::warn("put, get, delete", "skipped: the server does not answer"));
        return checks;
    }
    if remote.settings.read_only {
        // The object was never written, so the expected answer is that it is absent.
        let got = timed("get", Box::pin(bucket.get(&name, MAX_PROBE_BYTES))).await;
        checks.push(got.to_check(|_| "the server answers".to_owned()));
        checks.push(Check::ok("put, delete", "skipped: the remote is read-only"));
        return checks;
    }
    let put = timed("put", Box::pin(bucket.put(&name, content.clone()))).await;
    let is_put = put.result.is_ok();
    checks.push(put.to_check(|()| format!("written: {name}")));
    if !is_put {
        checks.push(Check::warn("get, delete", "skipped: there is no object to read or delete"));
        return checks;
    }
    let got = timed("get", Box::pin(bucket.get(&name, MAX_PROBE_BYTES))).await;
    let is_other = matches!(&got.result, Ok(bytes) if bytes.as_deref() != Some(&content[..]));
    checks.push(match is_other {
        true => Check::fail("get", "the server returned other bytes than were written"),
        false => got.to_check(|_| "read as it was written".to_owned()),
    });
    checks.push(timed("delete", Box::pin(bucket.delete(&name))).await.to_check(|()| "deleted".to_owned()));
    checks
}

/// A request of the trial that has ended.
struct TimedRequest<T> {
    what: &'static str,
    took: Duration,
    /// `Err(None)`: it did not end in time.
    result: Result<T, Option<RemoteError>>,
}

async fn timed<T>(what: &'static str, work: impl Future<Output = Result<T, RemoteError>>) -> TimedRequest<T> {
    let began = Instant::now();
    let result = match tokio::time::timeout(REQUEST_TIMEOUT, work).await {
        Ok(ended) => ended.map_err(Some),
        Err(_) => Err(None),
    };
    TimedRequest { what, took: began.elapsed(), result }
}

impl<T> TimedRequest<T> {
    fn to_check(&self, fine: impl FnOnce(&T) -> String) -> Check {
        let took = units::millis(self.took.as_secs_f64() * 1000.0);
        match &self.result {
            Ok(value) => Check::ok(self.what, format!("{}; took {took}", fine(value))),
            Err(None) => Check::fail(self.what, format!("no answer within {took}")),
            Err(Some(error)) => {
                let error_text = error.to_string();
                let advice = transfer::advice(error).map_or_else(String::new, |advice| format!(". {advice}"));
                Check::fail(self.what, format!("after {took}: {}{advice}", error_text.trim_end_matches('.')))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(vars: &[(&str, &str)]) -> config::RemoteSettings {
        let bucket = (config::env::KACHE_S3_BUCKET, "b");
        let all = vars.iter().copied().chain([bucket, ("HOME", "/nowhere")]);
        let vars = config::Env::of(all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>());
        config::RemoteSettings::load(&vars, &Config::load(&vars).unwrap()).unwrap().unwrap()
    }

    fn text_of(checks: &[Check]) -> String {
        let line = |check: &Check| format!("{:?} {}: {}", check.severity, check.what, check.text);
        checks.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn secrets_are_never_shown() {
        let keys = [(config::env::KACHE_S3_ACCESS_KEY, "the-id"), (config::env::KACHE_S3_SECRET_KEY, "hunter2")];
        let text = credentials(&remote(&keys)).text;
        assert!(text.contains("the-id") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn without_trusted_keys_everybody_is_believed_and_it_says_so() {
        let text = text_of(&trust(&remote(&[])));
        assert!(text.contains("whoever can write") && text.contains("Ok signing: no, because"), "{text}");
        let bad = text_of(&trust(&remote(&[(config::env::KACHE_TRUSTED_KEYS, "nonsense")])));
        assert!(bad.contains("Fail trusted"), "{bad}");
    }
}
