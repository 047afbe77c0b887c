//! What a server holds: manifests, and the packs that they describe.

use kache::model::EntryKey;
use kache::remote::{ManifestName, PackManifest, Trust, names};

use super::s3_server::S3Server;

/// Returns all manifests on the server with their object names. Panics at one that cannot be read.
pub(crate) fn manifests(server: &S3Server) -> Vec<(String, PackManifest)> {
    let decode = |object: String| {
        let name = ManifestName::parse(&object).unwrap_or_else(|| panic!("{object}"));
        let bytes = server.read(&object).expect("a manifest");
        let manifest = PackManifest::decode(&bytes, &name, &Trust::Anyone);
        let manifest = manifest.unwrap_or_else(|error| panic!("{object}: {error}"));
        (object, manifest)
    };
    server.objects_with("v2/manifests/").into_iter().map(decode).collect()
}

/// Returns the manifest of an entry, which must be there.
pub(crate) fn manifest_of(server: &S3Server, key: EntryKey) -> PackManifest {
    let found = manifests(server).into_iter().find(|(_, manifest)| manifest.key == key);
    found.expect("a manifest").1
}

/// The object that holds the pack of a manifest: a bundle, or an object of its own.
pub(crate) fn pack_object(manifest: &PackManifest) -> String {
    match manifest.bundle {
        Some(bundle) => names::bundle(bundle.digest),
        None => names::pack(&manifest.crate_name, manifest.key, manifest.pack.digest),
    }
}

/// Returns the bytes of the pack of a manifest. `None`: its object is not there, or too short.
pub(crate) fn pack_of(server: &S3Server, manifest: &PackManifest) -> Option<Vec<u8>> {
    let object = server.read(&pack_object(manifest))?;
    let first = usize::try_from(manifest.bundle.map_or(0, |bundle| bundle.offset)).ok()?;
    let size = usize::try_from(manifest.pack.size).ok()?;
    let is_alone = manifest.bundle.is_none();
    if is_alone { Some(object) } else { object.get(first..first + size).map(<[u8]>::to_vec) }
}
