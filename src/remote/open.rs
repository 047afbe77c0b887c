//! An opened remote: the bucket, how things are called there, whose signatures count, and what this machine can do at once.
//!
//! Made by commands and by the agent, never on the hit path. Holds no runtime: whoever opens one is in one.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::bucket::Bucket;
use super::error::RemoteError;
use super::names::Names;
use super::sign::{KeyError, SigningKey, Trust};
use crate::config::{self, Env};

/// An opened remote.
#[derive(Debug)]
pub struct Open {
    /// The bucket.
    pub bucket: Bucket,
    /// How its objects are called.
    pub names: Names,
    /// Whose manifests are believed.
    pub trust: Trust,
    /// What manifests are signed with; `None`: they are not.
    pub signer: Option<SigningKey>,
    /// The settings.
    pub settings: config::Remote,
    /// One permit for each pack that may be written or unpacked at once: as many as there are cores.
    pub cores: Arc<Semaphore>,
}

/// The remote cannot be used as it is set.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The bucket cannot be reached, or there are no credentials for it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A signing key or a trusted key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Open {
    /// Reads the keys and makes the client. Asks the server for nothing yet.
    pub async fn connect(settings: &config::Remote, vars: &Env) -> Result<Self, OpenError> {
        let trust = Trust::of(&settings.trusted_keys)?;
        let signer = settings.signing_key.as_ref().map(|key| SigningKey::parse(key.expose())).transpose()?;
        let bucket = Bucket::connect(settings, vars).await?;
        let names = Names::new(&settings.prefix);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self { bucket, names, trust, signer, settings: settings.clone(), cores: Arc::new(Semaphore::new(cores)) })
    }
}
