//! Bundles: objects that hold several small packs in a row, so that one request brings all of them.
//!
//! A bundle is downloaded once for all its packs: whoever needs one of them while it is on its way waits for it, and
//! then takes a copy of the same bytes. The bundles that were used last stay in memory. Its digest is checked here, and
//! that of each pack by whoever unpacks it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::fsx;
use crate::model::Digest;
use crate::remote::format::limits::MAX_BUNDLE_BYTES;
use crate::remote::format::manifest::{BundleRef, PackRef};
use crate::remote::format::names;
use crate::remote::objects::ObjectStore;
use crate::remote::s3::error::{RemoteError, Result};

/// Bundles that stay in memory.
const MAX_BUNDLES: usize = 24;
/// Packs of up to this many bytes are put into bundles. With 256 KiB, a cold pull of 1,000 typical entries takes 319
/// requests instead of 218 (`benches/remote_cost.rs`).
pub const MAX_BUNDLED_PACK_BYTES: u64 = 512 << 10;
/// A bundle is uploaded once it has this many bytes.
pub const FULL_BUNDLE_BYTES: u64 = 4 << 20;
/// A bundle is uploaded once it has this many packs. The locks of their entries are held until then.
pub const FULL_BUNDLE_PACKS: usize = 64;

/// A bundle that is about to be uploaded.
#[derive(Debug)]
pub(super) struct Bundle {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// Its digest and size; the offset is 0.
    pub(super) reference: BundleRef,
    /// Where each pack begins.
    pub(super) offsets: Vec<u64>,
}

/// Puts packs into a bundle, in their order. A pack that is not the declared one is an error.
pub(super) fn assemble(packs: &[(PathBuf, PackRef)]) -> fsx::Result<Bundle> {
    let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
    for (path, declared) in packs {
        let pack = fsx::read(path)?;
        if (Digest::of(&pack), pack.len() as u64) != (declared.digest, declared.size) {
            let changed = std::io::Error::other("the pack has changed");
            return Err(fsx::Error::new("upload", path, changed));
        }
        offsets.push(bytes.len() as u64);
        bytes.extend(pack);
    }
    let reference = BundleRef { digest: Digest::of(&bytes), size: bytes.len() as u64, offset: 0 };
    Ok(Bundle { bytes, reference, offsets })
}

/// The content of a bundle. `None`: the layer does not have it.
type Content = Option<Bytes>;

/// A bundle in the cache.
#[derive(Debug)]
struct CachedBundle {
    layer: usize,
    digest: Digest,
    content: Arc<OnceCell<Content>>,
}

/// Downloaded bundles, by layer and digest.
#[derive(Debug, Default)]
pub struct BundleCache(Mutex<VecDeque<CachedBundle>>);

impl BundleCache {
    /// The bundle in a layer: from memory, or downloaded. `None`: the layer does not have it.
    pub async fn get(&self, layer: usize, objects: &ObjectStore, bundle: BundleRef) -> Result<Content> {
        let cell = self.cell(layer, bundle.digest);
        // If the caller that downloads it is cancelled, or fails, the next one that waits goes on.
        let content = cell.get_or_try_init(|| download(objects, bundle)).await?.clone();
        if content.is_none() {
            // Another layer, or a later upload, may have it.
            self.forget(layer, bundle.digest);
        }
        Ok(content)
    }

    fn cell(&self, layer: usize, digest: Digest) -> Arc<OnceCell<Content>> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |known: &CachedBundle| (known.layer, known.digest) == (layer, digest);
        if let Some(known) = cached.iter().position(is_it).and_then(|at| cached.remove(at)) {
            let content = Arc::clone(&known.content);
            cached.push_back(known);
            return content;
        }
        if cached.len() >= MAX_BUNDLES {
            cached.pop_front();
        }
        let content = Arc::default();
        cached.push_back(CachedBundle { layer, digest, content: Arc::clone(&content) });
        content
    }

    fn forget(&self, layer: usize, digest: Digest) {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.retain(|known| (known.layer, known.digest) != (layer, digest));
    }
}

async fn download(objects: &ObjectStore, bundle: BundleRef) -> Result<Content> {
    let name = names::bundle(bundle.digest);
    let Some(bytes) = objects.get(&name, bundle.size.min(MAX_BUNDLE_BYTES)).await? else { return Ok(None) };
    match Digest::of(&bytes) == bundle.digest {
        true => Ok(Some(Bytes::from(bytes))),
        false => Err(RemoteError::Digest { attempt: objects.attempt("get", &name) }),
    }
}
