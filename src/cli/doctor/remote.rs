//! The remote: reports its settings without connecting, and on request tries each operation that kache performs there.

use std::time::{Duration, Instant};

use super::check::Check;
use crate::cli::context::{CommandContext, Exit};
use crate::cli::{transfer, trouble, units};
use crate::config::{self, Config, LayerSettings, PlaceSettings};
use crate::events::{EventLog, Journal, Summary, Traffic};
use crate::fsx::clock;
use crate::remote::objects::ObjectStore;
use crate::remote::{KeyError, Layer, Remote, RemoteError, SigningKey, Trust, names};

/// Time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit in bytes for the read; more than a probe object holds.
const MAX_PROBE_BYTES: u64 = 4096;

/// How long ago builds count that had problems with the remote.
const RECENT_BUILDS: Duration = Duration::from_hours(24);

/// Reports the settings, whose signatures are trusted, and the refusals and problems so far. Does not connect.
pub(super) fn settings(cx: &CommandContext, config: &Config) -> Vec<Check> {
    let remote = match config::RemoteSettings::load(&cx.env, config) {
        Ok(Some(remote)) => remote,
        Ok(None) => return vec![Check::ok("remote", "none: results stay on this machine")],
        Err(error) => return vec![Check::fail("remote", format!("{error}; builds run without it"))],
    };
    let mut checks = Vec::new();
    for layer in &remote.layers {
        checks.push(Check::ok("remote", layer.place.name()));
        checks.extend(credentials(&layer.place));
        checks.extend([mode(&remote, layer), trust(&remote, layer)]);
    }
    checks.extend([signing(&remote), transfers(&remote)]);
    checks.extend(refusals(config));
    checks.extend(problems(cx, config));
    checks
}

/// Like [`settings`], but it is a problem if no remote is set.
pub(super) fn needed_settings(cx: &CommandContext, config: &Config) -> Vec<Check> {
    match config::RemoteSettings::load(&cx.env, config) {
        Ok(None) => vec![Check::fail("remote", transfer::no_remote(config))],
        _ => settings(cx, config),
    }
}

fn credentials(place: &PlaceSettings) -> Option<Check> {
    let text = match place {
        PlaceSettings::S3(s3) => match (&s3.keys, &s3.profile) {
            (Some((id, _)), _) => format!("KACHE_S3_ACCESS_KEY ({id}) and KACHE_S3_SECRET_KEY"),
            (None, Some(profile)) => format!("profile {profile} of the AWS configuration"),
            (None, None) => "from AWS_* variables, then the AWS configuration files".to_owned(),
        },
        PlaceSettings::Github(_) => "ACTIONS_RUNTIME_TOKEN, the token of the job".to_owned(),
        PlaceSettings::Http(_) | PlaceSettings::Dir(_) => return None,
    };
    Some(Check::ok("credentials", text))
}

fn mode(remote: &config::RemoteSettings, layer: &LayerSettings) -> Check {
    let is_writer = remote.writer().is_some_and(|writer| std::ptr::eq(writer, layer));
    let text = match layer.read_only || remote.read_only {
        true => "no: the remote is read-only",
        false if is_writer => "yes: builds upload their results",
        false => "no: builds upload to the first remote that is not read-only",
    };
    Check::ok("writing", text)
}

fn transfers(remote: &config::RemoteSettings) -> Check {
    let connections = units::count(remote.connections, "request", "requests");
    Check::ok("transfers", format!("up to {connections} at once, in parts of {}", remote.part_size.display().iec()))
}

fn signer(remote: &config::RemoteSettings) -> Result<Option<SigningKey>, KeyError> {
    remote.signing_key.as_ref().map(|key| SigningKey::parse(key.expose())).transpose()
}

/// Reports whose entries in this layer are trusted here.
fn trust(remote: &config::RemoteSettings, layer: &LayerSettings) -> Check {
    let place = match &layer.place {
        PlaceSettings::S3(_) => "the bucket",
        PlaceSettings::Http(_) => "the web server",
        PlaceSettings::Dir(_) => "the directory",
        PlaceSettings::Github(_) => "the cache of the repository",
    };
    match &Trust::of(&layer.trusted_keys, signer(remote).ok().flatten().as_ref()) {
        Ok(Trust::Anyone) => {
            Check::ok("trusted", format!("whoever can write to {place}, because trusted_keys is empty"))
        }
        Ok(Trust::Keys(_)) if layer.trusted_keys.is_empty() => {
            Check::ok("trusted", "only entries that this machine's key signed, because trusted_keys is empty")
        }
        Ok(Trust::Keys(keys)) => {
            let number = units::count(keys.len(), "key", "keys");
            Check::ok("trusted", format!("signatures of {number}; entries without one count as absent"))
        }
        Err(error) => Check::fail("trusted", format!("{error}; the remote is not used")),
    }
}

/// Reports whether uploads are signed, and with a key that is trusted here.
fn signing(remote: &config::RemoteSettings) -> Check {
    let written = remote.writer().or(remote.layers.first()).map_or(&[][..], |layer| &layer.trusted_keys);
    let signer = signer(remote);
    let own = signer.as_ref().ok().and_then(Option::as_ref);
    let names_keys = !written.is_empty() && Trust::of(written, own).is_ok();
    match &signer {
        Err(error) => Check::fail("signing", format!("{error}; the remote is not used")),
        Ok(Some(signer)) if names_keys && !written.contains(&signer.public().to_string()) => {
            let key = signer.public();
            Check::warn("signing", format!("with {key}, which is not in trusted_keys: other machines may refuse it"))
        }
        Ok(Some(signer)) => Check::ok("signing", format!("with {}", signer.public())),
        Ok(None) if remote.writer().is_none() => Check::ok("signing", "no, because nothing is uploaded"),
        Ok(None) if names_keys => {
            Check::warn("signing", "KACHE_SIGNING_KEY is not set: this machine would refuse its own uploads")
        }
        Ok(None) => Check::ok("signing", "no, because KACHE_SIGNING_KEY is not set"),
    }
}

fn refusals(config: &Config) -> Option<Check> {
    let transfers = Journal::of(&config.cache_dir.value).read(i64::MIN).ok()?;
    let traffic = Traffic::of(&transfers);
    (traffic.refusals() > 0).then(|| {
        let reasons = traffic.refusals_by_reason();
        Check::warn("refused so far", format!("{reasons}; refused entries count as absent, `kache stats` shows more"))
    })
}

/// What recent builds met.
fn problems(cx: &CommandContext, config: &Config) -> Vec<Check> {
    let since = clock::now().as_millis() - i64::try_from(RECENT_BUILDS.as_millis()).unwrap_or(0);
    let events = EventLog::of(&config.cache_dir.value).read(since).unwrap_or_default();
    let found = trouble::of_remote(cx, config, &Summary::of(&events).miss_answers);
    found.into_iter().map(|problem| Check::warn("builds", problem)).collect()
}

/// Tries to list the manifests, and to write, read and remove an object below `v1/probe/`.
pub(super) fn trial(cx: &CommandContext, config: &Config) -> Vec<Check> {
    let settings = match transfer::settings(cx, config) {
        Ok(settings) => settings,
        Err(error) => return vec![Check::fail("remote", format!("{error:#}"))],
    };
    let mut checks = Vec::new();
    let ended = transfer::run(async |_| {
        match Remote::connect(&settings, &cx.env).await {
            Ok(remote) => {
                for layer in &remote.layers {
                    if remote.layers.len() > 1 {
                        checks.push(Check::ok("remote", layer.place.clone()));
                    }
                    checks.extend(requests(&remote, layer).await);
                }
            }
            Err(error) => checks.push(Check::fail("connect", error.to_string())),
        }
        Ok(Exit::Ok)
    });
    checks.extend(ended.err().map(|error| Check::fail("connect", format!("{error:#}"))));
    checks
}

/// Tries what kache does with this layer.
async fn requests(remote: &Remote, layer: &Layer) -> Vec<Check> {
    let store = &layer.objects;
    // An object that cannot be deleted must not become one more with each trial.
    let id = match store.is_mutable() {
        true => format!("{}-{}", std::process::id(), clock::precise().as_nanos()),
        false => "doctor".to_owned(),
    };
    let name = names::probe(&id);
    let mut listing = store.list(&names::all_manifests());
    let listed = timed("list", Box::pin(listing.next_page())).await;
    let is_silent = matches!(listed.result, Err(None | Some(RemoteError::Unreachable { .. })));
    let mut checks = vec![listed.to_check(|page| {
        let entries = units::count(page.as_ref().map_or(0, Vec::len), "entry", "entries");
        let place = if store.needs_indexes() { "in the index" } else { "on the first page" };
        format!("{entries} {place}")
    })];
    let place = if matches!(store, ObjectStore::Dir(_)) { "the directory" } else { "the server" };
    if is_silent {
        checks.push(Check::warn("put, get, delete", "skipped: the server does not answer"));
        return checks;
    }
    if !remote.writer().is_some_and(|writer| std::ptr::eq(writer, layer)) {
        // The object was never written, so the expected answer is that it is absent.
        let got = timed("get", Box::pin(store.get(&name, MAX_PROBE_BYTES))).await;
        checks.push(got.to_check(|_| format!("{place} answers")));
        let why = if layer.read_only || remote.settings.read_only {
            "the remote is read-only"
        } else {
            "kache writes to another remote"
        };
        checks.push(Check::ok("put, delete", format!("skipped: {why}")));
        return checks;
    }
    checks.extend(writes(store, &name).await);
    checks
}

/// Tries to write an object, to read it and to delete it.
async fn writes(store: &ObjectStore, name: &str) -> Vec<Check> {
    let content = format!("kache doctor\n{name}\n").into_bytes();
    let put = timed("put", Box::pin(store.put(name, content.clone()))).await;
    let is_put = put.result.is_ok();
    let mut checks = vec![put.to_check(|()| format!("written: {name}"))];
    if !is_put {
        checks.push(Check::warn("get, delete", "skipped: there is no object to read or delete"));
        return checks;
    }
    let got = timed("get", Box::pin(store.get(name, MAX_PROBE_BYTES))).await;
    let is_other = matches!(&got.result, Ok(bytes) if bytes.as_deref() != Some(&content[..]));
    checks.push(match is_other {
        true => Check::fail("get", "the server returned other bytes than were written"),
        false => got.to_check(|_| "read as it was written".to_owned()),
    });
    checks.push(match store.is_mutable() {
        true => timed("delete", Box::pin(store.delete(name))).await.to_check(|()| "deleted".to_owned()),
        false => Check::ok("delete", "skipped: this remote deletes old objects itself"),
    });
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
        let text = credentials(&remote(&keys).layers[0].place).unwrap().text;
        assert!(text.contains("the-id") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn without_trusted_keys_everybody_is_believed_and_it_says_so() {
        let text_of = |vars: &[(&str, &str)]| {
            let remote = remote(vars);
            text_of(&[trust(&remote, &remote.layers[0]), signing(&remote)])
        };
        let text = text_of(&[]);
        assert!(text.contains("whoever can write") && text.contains("Ok signing: no, because"), "{text}");
        let bad = text_of(&[(config::env::KACHE_TRUSTED_KEYS, "nonsense")]);
        assert!(bad.contains("Fail trusted"), "{bad}");
    }
}
