//! The remote as operations use it: its layers, the key that signs, and a limit for parallel packing.
//!
//! Commands and the agent connect one; the hit path never does. Does not hold a runtime: callers already run in one.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::bundles::BundleCache;
use super::fetched::Fetched;
use super::joined::Joined;
use crate::config::{self, Env, PlaceSettings};
use crate::model::EntryId;
use crate::remote::format::names;
use crate::remote::format::names::ManifestName;
use crate::remote::format::revocation;
use crate::remote::format::signature::{KeyError, PublicKey, SigningKey, Trust};
use crate::remote::format::signer_id::SignerId;
use crate::remote::objects::{DirObjects, GithubObjects, HttpObjects, ObjectStore, S3Objects};
use crate::remote::s3::bucket::Bucket;
use crate::remote::s3::error::{RemoteError, Result};
use crate::remote::s3::tuning::Tuning;

/// A remote that is ready for use.
#[derive(Debug)]
pub struct Remote {
    /// Where its objects are, in the order in which they are read. Never empty.
    pub layers: Vec<Layer>,
    /// Key that signs manifests; `None` leaves them unsigned.
    pub signer: Option<SigningKey>,
    /// Settings that the remote was connected with.
    pub settings: config::RemoteSettings,
    /// One permit for each pack that is being written or unpacked; there are as many permits as cores.
    pub cores: Arc<Semaphore>,
    /// Bundles that were downloaded.
    pub bundles: BundleCache,
    /// The fetches of packs that are running.
    pub(super) fetches: Joined<Result<Fetched>>,
}

/// One of the places that a remote consists of.
#[derive(Debug)]
pub struct Layer {
    /// Its objects.
    pub objects: ObjectStore,
    /// Whose objects to trust there.
    pub trust: Trust,
    /// Whether kache never writes there.
    pub read_only: bool,
    /// Where it is, for people.
    pub place: String,
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
    /// Reads the keys and creates the clients. Does not contact a server yet.
    pub async fn connect(settings: &config::RemoteSettings, vars: &Env) -> std::result::Result<Self, ConnectError> {
        let signer = settings.signing_key.as_ref().map(|key| SigningKey::parse(key.expose())).transpose()?;
        let mut layers = Vec::new();
        for layer in &settings.layers {
            layers.push(Layer {
                trust: Trust::of(&layer.trusted_keys, signer.as_ref())?,
                objects: connect(&layer.place, Tuning::of(settings), vars).await?,
                read_only: layer.read_only || settings.read_only,
                place: layer.place.name(),
            });
        }
        if layers.is_empty() {
            return Err(RemoteError::Setting("the remote has no layers".to_owned()).into());
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (cores, bundles) = (Arc::new(Semaphore::new(cores)), BundleCache::default());
        Ok(Self { layers, signer, settings: settings.clone(), cores, bundles, fetches: Joined::default() })
    }

    /// The layer that kache writes to: the first that may be written. `None`: nothing is written.
    pub fn writer(&self) -> Option<&Layer> {
        self.layers.iter().find(|layer| !layer.read_only)
    }

    /// Who signs what is written.
    pub fn signer_id(&self) -> SignerId {
        self.signer.as_ref().map_or(SignerId::NONE, SigningKey::id)
    }

    /// The name of the manifest of an entry, as this machine writes it.
    pub fn own_manifest(&self, id: &EntryId) -> ManifestName {
        ManifestName::new(&id.crate_name, id.lookup, id.key, self.signer_id())
    }

    /// Reads the lists of revoked keys, and does not trust these keys any more. Without trusted keys there is nothing
    /// to revoke, and no request. Returns the revoked keys.
    pub async fn read_revocations(&mut self) -> Result<Vec<PublicKey>> {
        let mut revoked = Vec::new();
        for layer in self.layers.iter().filter(|layer| layer.trust != Trust::Anyone) {
            for listed in layer.objects.list(&names::revocations()).all().await? {
                // A list of a signer that is not trusted says nothing.
                let signer = names::parse_revocation(&listed.name);
                if !signer.is_some_and(|signer| layer.trust.may_trust(signer)) {
                    continue;
                }
                let bytes = match layer.objects.get(&listed.name, revocation::MAX_LIST_BYTES).await {
                    Ok(Some(bytes)) => bytes,
                    // Anybody may have written it, so it must not stop anything.
                    Ok(None) | Err(RemoteError::Size { .. }) => continue,
                    Err(error) => return Err(error),
                };
                revoked.extend(revocation::decode(&bytes, &layer.trust).unwrap_or_default());
            }
        }
        // A key that lost the trust of one place is not trusted elsewhere.
        self.layers.iter_mut().filter(|layer| layer.trust != Trust::Anyone).for_each(|layer| layer.revoke(&revoked));
        Ok(revoked)
    }
}

impl Layer {
    /// Does not trust these keys any more.
    pub fn revoke(&mut self, keys: &[PublicKey]) {
        self.trust = std::mem::replace(&mut self.trust, Trust::Anyone).without(keys);
    }
}

/// Creates the client for one place.
async fn connect(place: &PlaceSettings, tuning: Tuning, vars: &Env) -> Result<ObjectStore> {
    match place {
        PlaceSettings::S3(s3) => {
            let bucket = Bucket::connect_tuned(s3, vars, tuning).await?;
            Ok(ObjectStore::S3(S3Objects::new(bucket, &s3.prefix)))
        }
        PlaceSettings::Dir(dir) => Ok(ObjectStore::Dir(DirObjects::new(&dir.path))),
        PlaceSettings::Http(http) => Ok(ObjectStore::Http(HttpObjects::tuned(&http.url, vars, tuning)?)),
        PlaceSettings::Github(github) => Ok(ObjectStore::Github(GithubObjects::tuned(github, vars, tuning)?)),
    }
}
