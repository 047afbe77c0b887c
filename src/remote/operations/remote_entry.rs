//! Entries on the remote, and where their manifests are.

use std::sync::Arc;

use super::remote::Remote;
use crate::model::EntryId;
use crate::remote::format::build_record::BuildUnit;
use crate::remote::format::manifest::PackManifest;
use crate::remote::format::names::ManifestName;
use crate::remote::format::refused::Refused;
use crate::remote::format::signer_id::SignerId;

/// An entry on the remote, and where its manifest is.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteEntry {
    /// Which entry it is.
    pub id: EntryId,
    /// The layer that has it.
    pub layer: usize,
    /// Where its manifest is.
    pub manifest: ManifestPlace,
}

/// Where the manifest of an entry is.
#[derive(Clone, Debug, PartialEq)]
pub enum ManifestPlace {
    /// Here: a build record contained it.
    Here(Arc<LocatedManifest>),
    /// In this object.
    Object(ManifestName),
    /// It is refused: a build record contained it, or its name says that its signer is not trusted.
    Refused(Refused),
}

/// A manifest, its bytes, and the layer that it came from.
#[derive(Debug, PartialEq)]
pub struct LocatedManifest {
    /// The manifest, checked.
    pub manifest: PackManifest,
    /// The bytes of the manifest object.
    pub object: Vec<u8>,
    /// The layer that it came from.
    pub layer: usize,
}

impl RemoteEntry {
    /// The entry of a unit in a build record that `signer` wrote into this layer.
    pub fn of_unit(remote: &Remote, layer: usize, unit: &BuildUnit, signer: SignerId) -> Self {
        let id = unit.id();
        let manifest = match (unit.decode_manifest(&remote.layers[layer].trust), &unit.manifest) {
            (Some(Ok(manifest)), Some(embedded)) => {
                let object = embedded.as_bytes().to_vec();
                ManifestPlace::Here(Arc::new(LocatedManifest { manifest, object, layer }))
            }
            (Some(Err(refused)), _) => ManifestPlace::Refused(refused),
            _ => ManifestPlace::Object(ManifestName::new(&id.crate_name, id.lookup, id.key, signer)),
        };
        Self { id, layer, manifest }
    }

    /// The entry of a manifest object whose signer is not trusted in this layer.
    pub fn refused(layer: usize, name: ManifestName) -> Self {
        let reason = if name.signer == SignerId::NONE { Refused::Unsigned } else { Refused::Untrusted };
        Self { manifest: ManifestPlace::Refused(reason), ..Self::of_object(layer, name) }
    }

    /// The entry of a manifest object in this layer.
    pub fn of_object(layer: usize, name: ManifestName) -> Self {
        let id = EntryId { crate_name: name.crate_part.clone(), lookup: name.lookup, key: name.key };
        Self { id, layer, manifest: ManifestPlace::Object(name) }
    }
}
