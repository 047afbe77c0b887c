//! The remote: reports its settings without connecting, and on request tries each operation that kache performs there.

use std::time::{Duration, Instant};

use super::Finding;
use crate::cli::{CommandContext, transfer, units};
use crate::config::{self, Config};
use crate::events::{Journal, Traffic};
use crate::fsx::clock;
use crate::remote::{Open, RemoteError, SigningKey, Trust};

/// Time limit of one step.
const PATIENCE: Duration = Duration::from_secs(10);
/// Limit in bytes for the read; more than a probe object holds.
const LIMIT: u64 = 4096;

/// Reports the settings, whose signatures are trusted, and the refusals so far. Does not connect.
pub(super) fn settings(cx: &CommandContext, config: &Config) -> Vec<Finding> {
    let remote = match config::Remote::load(&cx.env, config) {
        Ok(Some(remote)) => remote,
        Ok(None) => return vec![Finding::ok("remote", "none")],
        Err(error) => return vec![Finding::fail("remote", format!("{error}; builds go on without it"))],
    };
    let mut findings = vec![Finding::ok("remote", remote.place()), credentials(&remote), mode(&remote)];
    findings.extend(trust(&remote));
    findings.extend(refusals(config));
    findings
}

fn credentials(remote: &config::Remote) -> Finding {
    let text = match (&remote.keys, &remote.profile) {
        (Some((id, _)), _) => format!("KACHE_S3_ACCESS_KEY ({id}) and KACHE_S3_SECRET_KEY"),
        (None, Some(profile)) => format!("profile {profile} of the AWS configuration"),
        (None, None) => "whatever the AWS SDK finds: AWS_* variables, then the AWS configuration".to_owned(),
    };
    Finding::ok("credentials", text)
}

fn mode(remote: &config::Remote) -> Finding {
    match remote.read_only {
        true => Finding::ok("writing", "never: the remote is set read-only"),
        false => Finding::ok("writing", "yes: what is compiled here is sent"),
    }
}

/// Reports whose entries are trusted here, and whether uploads are signed with a key that is trusted here.
fn trust(remote: &config::Remote) -> Vec<Finding> {
    let trust = Trust::of(&remote.trusted_keys);
    let signer = remote.signing_key.as_ref().map(|key| SigningKey::parse(key.expose())).transpose();
    let mut findings = vec![match &trust {
        Ok(Trust::Anyone) => Finding::ok("trusted", "whoever can write to the bucket: no trusted_keys are set"),
        Ok(Trust::Keys(keys)) => {
            let number = units::count(keys.len(), "key", "keys");
            Finding::ok("trusted", format!("signatures of {number}; what bears none of them does not exist"))
        }
        Err(error) => Finding::fail("trusted", format!("{error}; the remote is not used")),
    }];
    findings.push(match (&signer, &trust) {
        (Err(error), _) => Finding::fail("signing", format!("{error}; the remote is not used")),
        (Ok(Some(signer)), Ok(Trust::Keys(keys))) if !keys.contains(&signer.public()) => {
            let key = signer.public();
            Finding::warn("signing", format!("as {key}, which is not among the trusted keys: not believed here"))
        }
        (Ok(Some(signer)), _) => Finding::ok("signing", format!("as {}", signer.public())),
        (Ok(None), Ok(Trust::Keys(_))) if !remote.read_only => {
            Finding::warn("signing", "no KACHE_SIGNING_KEY: what is sent from here is not believed here")
        }
        (Ok(None), _) => Finding::ok("signing", "no"),
    });
    findings
}

fn refusals(config: &Config) -> Option<Finding> {
    let transfers = Journal::of(&config.cache_dir.value).read(i64::MIN).ok()?;
    let traffic = Traffic::of(&transfers);
    (traffic.refusals() > 0).then(|| {
        let reasons = traffic.refusals_by_reason();
        Finding::warn("refused so far", format!("{reasons}; each counted as absent, `kache stats` has the rest"))
    })
}

/// Tries to list the manifests, and to write, read and remove an object below `v1/probe/`.
pub(super) fn trial(cx: &CommandContext, config: &Config) -> Vec<Finding> {
    let settings = match transfer::settings(cx, config) {
        Ok(settings) => settings,
        Err(error) => return vec![Finding::fail("remote", format!("{error:#}"))],
    };
    let mut findings = Vec::new();
    let ended = transfer::run(async |_| {
        match Open::connect(&settings, &cx.env).await {
            Ok(remote) => findings = steps(&remote).await,
            Err(error) => findings.push(Finding::fail("connect", error.to_string())),
        }
        Ok(crate::cli::Exit::Ok)
    });
    findings.extend(ended.err().map(|error| Finding::fail("connect", format!("{error:#}"))));
    findings
}

async fn steps(remote: &Open) -> Vec<Finding> {
    let bucket = &remote.bucket;
    let name = remote.names.probe(&format!("{}-{}", std::process::id(), clock::precise().as_nanos()));
    let said = format!("kache doctor\n{name}\n").into_bytes();
    let mut listing = bucket.list(&remote.names.all_manifests());
    let listed = timed("list", Box::pin(listing.next_page())).await;
    let is_silent = matches!(listed.result, Err(None | Some(RemoteError::Unreachable { .. })));
    let mut findings = vec![listed.told(|page| {
        let entries = page.as_ref().map_or(0, Vec::len);
        format!("{} on the first page", units::count(entries, "entry", "entries"))
    })];
    if is_silent {
        findings.push(Finding::warn("put, get, delete", "not tried: there is no answer"));
        return findings;
    }
    if remote.settings.read_only {
        // The object was never written, so the expected answer is that it is absent.
        let got = timed("get", Box::pin(bucket.get(&name, LIMIT))).await;
        findings.push(got.told(|_| "answered".to_owned()));
        findings.push(Finding::ok("put, delete", "not tried: the remote is set read-only"));
        return findings;
    }
    let put = timed("put", Box::pin(bucket.put(&name, said.clone()))).await;
    let is_put = put.result.is_ok();
    findings.push(put.told(|()| name.clone()));
    if !is_put {
        findings.push(Finding::warn("get, delete", "not tried: there is nothing to read or remove"));
        return findings;
    }
    let got = timed("get", Box::pin(bucket.get(&name, LIMIT))).await;
    let is_other = matches!(&got.result, Ok(bytes) if bytes.as_deref() != Some(&said[..]));
    findings.push(match is_other {
        true => Finding::fail("get", "answered, but not with what was written: another server, or one that forgets"),
        false => got.told(|_| "as written".to_owned()),
    });
    findings.push(timed("delete", Box::pin(bucket.delete(&name))).await.told(|()| "removed".to_owned()));
    findings
}

/// A step of the trial that has ended.
struct Step<T> {
    what: &'static str,
    took: Duration,
    /// `Err(None)`: it did not end in time.
    result: Result<T, Option<RemoteError>>,
}

async fn timed<T>(what: &'static str, work: impl Future<Output = Result<T, RemoteError>>) -> Step<T> {
    let began = Instant::now();
    let result = match tokio::time::timeout(PATIENCE, work).await {
        Ok(ended) => ended.map_err(Some),
        Err(_) => Err(None),
    };
    Step { what, took: began.elapsed(), result }
}

impl<T> Step<T> {
    fn told(&self, fine: impl FnOnce(&T) -> String) -> Finding {
        let took = units::millis(self.took.as_secs_f64() * 1000.0);
        match &self.result {
            Ok(value) => Finding::ok(self.what, format!("{}; {took}", fine(value))),
            Err(None) => Finding::fail(self.what, format!("no answer within {took}")),
            Err(Some(error)) => {
                let error_text = error.to_string();
                let advice = transfer::advice(error).map_or_else(String::new, |advice| format!(". {advice}"));
                Finding::fail(self.what, format!("after {took}: {}{advice}", error_text.trim_end_matches('.')))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(vars: &[(&str, &str)]) -> config::Remote {
        let bucket = (config::env::KACHE_S3_BUCKET, "b");
        let all = vars.iter().copied().chain([bucket, ("HOME", "/nowhere")]);
        let vars = config::Env::of(all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>());
        config::Remote::load(&vars, &Config::load(&vars).unwrap()).unwrap().unwrap()
    }

    fn said(findings: &[Finding]) -> String {
        let line = |finding: &Finding| format!("{:?} {}: {}", finding.status, finding.what, finding.text);
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn secrets_are_never_shown() {
        let keys = [(config::env::KACHE_S3_ACCESS_KEY, "the-id"), (config::env::KACHE_S3_SECRET_KEY, "hunter2")];
        let text = credentials(&remote(&keys)).text;
        assert!(text.contains("the-id") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn without_trusted_keys_everybody_is_believed_and_it_says_so() {
        let text = said(&trust(&remote(&[])));
        assert!(text.contains("whoever can write") && text.contains("Ok signing: no"), "{text}");
        let bad = said(&trust(&remote(&[(config::env::KACHE_TRUSTED_KEYS, "nonsense")])));
        assert!(bad.contains("Fail trusted"), "{bad}");
    }
}
