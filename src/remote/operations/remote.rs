//! The remote as operations use it: the bucket, the names of its objects, the keys it trusts, and a limit for parallel
//! packing.
//!
//! Commands and the agent connect one; the hit path never does. Does not hold a runtime: callers already run in one.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::config::{self, Env};
use crate::remote::format::names::ObjectNames;
use crate::remote::format::signature::{KeyError, SigningKey, Trust};
use crate::remote::objects::{ObjectStore, S3Objects};
use crate::remote::s3::bucket::Bucket;
use crate::remote::s3::error::RemoteError;

/// A remote that is ready for use.
#[derive(Debug)]
pub struct Remote {
    /// Where its objects are.
    pub objects: ObjectStore,
    /// Builds and parses the names of its objects.
    pub names: ObjectNames,
    /// Whose manifests to trust.
    pub trust: Trust,
    /// Key that signs manifests; `None` leaves them unsigned.
    pub signer: Option<SigningKey>,
    /// Settings that the remote was connected with.
    pub settings: config::RemoteSettings,
    /// One permit for each pack that is being written or unpacked; there are as many permits as cores.
    pub cores: Arc<Semaphore>,
}

/// Why the remote cannot be used with these settings.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The settings are not usable, or there are no credentials.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A signing key or a trusted key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Remote {
    /// Reads the keys and creates the client. Does not contact the bucket yet.
    pub async fn connect(settings: &config::RemoteSettings, vars: &Env) -> Result<Self, ConnectError> {
        let signer = settings.signing_key.as_ref().map(|key| SigningKey::parse(key.expose())).transpose()?;
        let trust = Trust::of(&settings.trusted_keys, signer.as_ref())?;
        let bucket = Bucket::connect(settings, vars).await?;
        let objects = ObjectStore::S3(S3Objects::new(bucket, &settings.prefix));
        let names = ObjectNames::new("");
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self { objects, names, trust, signer, settings: settings.clone(), cores: Arc::new(Semaphore::new(cores)) })
    }
}
