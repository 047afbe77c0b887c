//! Finds credentials for the bucket: the pair that is set for kache, else those that AWS's tools would use. Reads
//! variables through [`Env`] only.
//!
//! Queries EC2's metadata service only if no other source is configured and no endpoint is set: elsewhere the query
//! takes seconds, or another service answers it. Does not print secrets; errors name places, not values.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::config::{Region, SharedHttpClient};

use super::error::{RemoteError, Result, root_cause};
use crate::config::{Env, S3Settings, env};
use crate::fsx;

/// How long finding credentials may take: a credential process or a login in the browser may be slow.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(30);

/// How long EC2's metadata service may take: it is one hop away, or absent.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// Region for requests to servers other than AWS if none is configured.
const DEFAULT_REGION: &str = "us-east-1";

#[expect(deprecated, reason = "the new names are in a crate of the SDK's own")]
type ProfileFiles = aws_config::profile::profile_file::ProfileFiles;
#[expect(deprecated, reason = "the new names are in a crate of the SDK's own")]
type FileKind = aws_config::profile::profile_file::ProfileFileKind;

/// Region and credentials for signing requests.
pub(super) struct RequestCredentials {
    pub(super) region: Region,
    pub(super) credentials: SharedCredentialsProvider,
}

/// Finds region and credentials. `https` is the client for services that issue credentials.
pub(super) async fn find(settings: &S3Settings, env: &Env, https: &SharedHttpClient) -> Result<RequestCredentials> {
    let region = region(settings, env).await?;
    let credentials = if let Some((id, key)) = &settings.keys {
        SharedCredentialsProvider::new(Credentials::new(id, key.expose(), None, None, "kache"))
    } else {
        let config = ProviderConfig::without_region().with_region(Some(region.clone()));
        request_once(chain(settings, env, &config.with_http_client(https.clone()))?).await?
    };
    Ok(RequestCredentials { region, credentials })
}

/// `KACHE_S3_REGION`, else AWS's variables, else the region of the profile. Never queries a metadata service.
async fn region(settings: &S3Settings, env: &Env) -> Result<Region> {
    let named = settings.region.clone().or_else(|| first_set(env, &env::AWS_REGIONS));
    if let Some(region) = named {
        return Ok(Region::new(region));
    }
    if let Some(files) = profile_files(env) {
        let mut provider =
            ProfileFileRegionProvider::builder().configure(&ProviderConfig::without_region()).profile_files(files);
        if let Some((profile, _)) = profile(settings, env) {
            provider = provider.profile_name(profile);
        }
        if let Some(region) = provider.build().region().await {
            return Ok(region);
        }
    }
    match settings.endpoint {
        Some(_) => Ok(Region::new(DEFAULT_REGION)),
        None => Err(RemoteError::Setting("the bucket's region is not known: set KACHE_S3_REGION".to_owned())),
    }
}

fn set(env: &Env, name: &str) -> Option<String> {
    env.text(name).filter(|value| !value.trim().is_empty())
}

pub(super) fn first_set(env: &Env, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| set(env, name))
}

/// The profile that the user named, and whether it was named for kache alone.
fn profile(settings: &S3Settings, env: &Env) -> Option<(String, bool)> {
    let own = settings.profile.clone().map(|profile| (profile, true));
    own.or_else(|| set(env, env::AWS_PROFILE).map(|profile| (profile, false)))
}

/// AWS's configuration files that exist, if any: the SDK treats a missing file as an error if it is named.
fn profile_files(env: &Env) -> Option<ProfileFiles> {
    let kinds = [
        (FileKind::Config, env::AWS_CONFIG_FILE, ".aws/config"),
        (FileKind::Credentials, env::AWS_SHARED_CREDENTIALS_FILE, ".aws/credentials"),
    ];
    let mut files = ProfileFiles::builder();
    let mut any = false;
    for (kind, variable, below_home) in kinds {
        let path = env.path(variable).or_else(|| env.home().map(|home| home.join(below_home)));
        if let Some(path) = path.filter(|path| fsx::exists(path)) {
            files = files.with_file(kind, path);
            any = true;
        }
    }
    any.then(|| files.build())
}

/// Builds the chain of sources, in the order of AWS's tools. A profile that was named for kache alone is the only
/// source.
fn chain(settings: &S3Settings, env: &Env, config: &ProviderConfig) -> Result<ProviderChain> {
    let mut chain = ProviderChain::default();
    let named = profile(settings, env);
    if !named.as_ref().is_some_and(|(_, own)| *own)
        && let Some(keys) = keys(env)?
    {
        chain.add("environment", keys);
        return Ok(chain);
    }
    if let Some(files) = profile_files(env) {
        let mut provider = ProfileFileCredentialsProvider::builder().configure(config).profile_files(files);
        if let Some((profile, _)) = &named {
            provider = provider.profile_name(profile);
        }
        chain.add("profile", provider.build());
    }
    if let Some((profile, _)) = named {
        return match chain.providers.is_empty() {
            true => Err(RemoteError::Credentials(format!(
                "profile {profile} was asked for, but there is no AWS configuration"
            ))),
            false => Ok(chain),
        };
    }
    if let (Some(file), Some(role_arn)) = (env.path(env::AWS_WEB_IDENTITY_TOKEN_FILE), set(env, env::AWS_ROLE_ARN)) {
        let session_name = set(env, env::AWS_ROLE_SESSION_NAME).unwrap_or_else(|| "kache".to_owned());
        let source = StaticConfiguration { web_identity_token_file: file, role_arn, session_name };
        let provider = WebIdentityTokenCredentialsProvider::builder().configure(config).static_configuration(source);
        chain.add("web identity", provider.build());
        return Ok(chain);
    }
    if first_set(env, &env::AWS_CONTAINER_CREDENTIALS).is_some() {
        chain.add("container", EcsCredentialsProvider::builder().configure(config).build());
        return Ok(chain);
    }
    if settings.endpoint.is_none()
        && !set(env, env::AWS_EC2_METADATA_DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    {
        chain.add("EC2 metadata", metadata(env, config)?);
    }
    Ok(chain)
}

/// Reads the key pair from the environment. One key without the other is an error.
fn keys(env: &Env) -> Result<Option<Credentials>> {
    let incomplete = |have, lack| Err(RemoteError::Credentials(format!("{have} is set, but {lack} is not")));
    match (set(env, env::AWS_ACCESS_KEY_ID), set(env, env::AWS_SECRET_ACCESS_KEY)) {
        (Some(id), Some(key)) => {
            Ok(Some(Credentials::new(id, key, set(env, env::AWS_SESSION_TOKEN), None, "environment")))
        }
        (None, None) => Ok(None),
        (Some(_), None) => incomplete(env::AWS_ACCESS_KEY_ID, env::AWS_SECRET_ACCESS_KEY),
        (None, Some(_)) => incomplete(env::AWS_SECRET_ACCESS_KEY, env::AWS_ACCESS_KEY_ID),
    }
}

fn metadata(env: &Env, config: &ProviderConfig) -> Result<imds::credentials::ImdsCredentialsProvider> {
    let mut client = imds::Client::builder()
        .configure(config)
        .connect_timeout(METADATA_TIMEOUT)
        .read_timeout(METADATA_TIMEOUT)
        .max_attempts(1);
    if let Some(endpoint) = set(env, env::AWS_EC2_METADATA_SERVICE_ENDPOINT) {
        client = client
            .endpoint(endpoint)
            .map_err(|error| RemoteError::Setting(format!("{}: {error}", env::AWS_EC2_METADATA_SERVICE_ENDPOINT)))?;
    }
    Ok(imds::credentials::ImdsCredentialsProvider::builder().configure(config).imds_client(client.build()).build())
}

/// Providers and their names, which the error lists.
#[derive(Default)]
struct ProviderChain {
    names: Vec<&'static str>,
    providers: Vec<SharedCredentialsProvider>,
}

impl ProviderChain {
    fn add(&mut self, name: &'static str, provider: impl ProvideCredentials + 'static) {
        self.names.push(name);
        self.providers.push(SharedCredentialsProvider::new(provider));
    }
}

/// Requests credentials once, so that a failure is reported now, with the names of the sources.
async fn request_once(chain: ProviderChain) -> Result<SharedCredentialsProvider> {
    let names = chain.names.join(", ");
    let mut providers = chain.names.into_iter().zip(chain.providers);
    let Some((name, provider)) = providers.next() else {
        return Err(RemoteError::Credentials(
            "none are configured: set KACHE_S3_ACCESS_KEY and KACHE_S3_SECRET_KEY, or what AWS's tools use".to_owned(),
        ));
    };
    let chain = providers.fold(CredentialsProviderChain::first_try(name, provider), |chain, (name, provider)| {
        chain.or_else(name, provider)
    });
    let failed = |why: String| RemoteError::Credentials(format!("{why} (looked in: {names})"));
    match tokio::time::timeout(CREDENTIALS_TIMEOUT, chain.provide_credentials()).await {
        Err(_) => Err(failed("it took too long".to_owned())),
        Ok(Err(error)) => Err(failed(root_cause(&error))),
        Ok(Ok(first)) => Ok(SharedCredentialsProvider::new(RequestedChain {
            first: Mutex::new(Some(first)),
            chain: Arc::new(chain),
        })),
    }
}

/// A chain whose first credentials were already requested. The SDK caches credentials until shortly before they expire.
#[derive(Debug)]
struct RequestedChain {
    first: Mutex<Option<Credentials>>,
    chain: Arc<CredentialsProviderChain>,
}

impl RequestedChain {
    async fn next(&self) -> provider::Result {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        match first {
            Some(first) => Ok(first),
            None => self.chain.provide_credentials().await,
        }
    }
}

impl ProvideCredentials for RequestedChain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.next())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.chain.fallback_on_interrupt()
    }
}
