//! What somebody with write access to a bucket, but without a trusted key, writes there by hand: objects under names
//! that nobody uses yet, and that look like those of trusted signers.

use fastrand::Rng;
use kache::model::{Digest, EntryKey};
use kache::remote::format::revocation;
use kache::remote::{ManifestName, PackManifest, PublicKey, RecordName, SigningKey, Trust, WorkspaceObject, names};
use kache::store::build_snapshots::SnapshotName;

use super::s3_server::S3Server;

/// A pair of keys, and the secret one as a text.
pub(crate) struct Keys {
    pub(crate) key: SigningKey,
    pub(crate) secret: String,
}

impl Keys {
    /// Makes new ones.
    pub(crate) fn new() -> Self {
        let (key, secret) = SigningKey::generate().expect("a key");
        Self { key, secret }
    }

    /// The public key.
    pub(crate) fn public(&self) -> PublicKey {
        self.key.public()
    }
}

/// Forges objects at random, and replaces none. Returns their names.
pub(crate) fn forge(
    server: &S3Server,
    signers: &[Keys; 2],
    outsider: &Keys,
    workspace: &str,
    rng: &mut Rng,
) -> Vec<String> {
    let mut forged = manifests(server, signers, outsider, rng);
    forged.extend(records(server, signers, workspace, rng));
    forged.extend(others(signers, outsider, workspace, rng));
    forged.retain(|(name, _)| server.read(name).is_none());
    for (name, bytes) in &forged {
        server.write(name, bytes);
    }
    forged.into_iter().map(|(name, _)| name).collect()
}

/// Manifests under the other trusted signer's name, and under keys that nobody has.
fn manifests(server: &S3Server, signers: &[Keys; 2], outsider: &Keys, rng: &mut Rng) -> Vec<(String, Vec<u8>)> {
    let mut names: Vec<ManifestName> =
        server.objects_with("v2/manifests/").iter().filter_map(|object| ManifestName::parse(object)).collect();
    rng.shuffle(&mut names);
    let mut forged = Vec::new();
    for name in names.iter().take(12) {
        let Some(bytes) = server.read(&name.object()) else { continue };
        for victim in signers {
            let at = ManifestName { signer: victim.key.id(), ..name.clone() };
            forged.push((at.object(), manifest(&bytes, name, victim, outsider, rng)));
        }
        if rng.u8(..4) == 0 {
            let victim = &rng.choice(signers).expect("one").key;
            let of_key = |key| ManifestName { key, signer: victim.id(), ..name.clone() };
            forged.extend((0..10).map(|_| (of_key(EntryKey(digest(rng))).object(), b"garbage".to_vec())));
        }
    }
    forged
}

/// The bytes of a manifest that is not what its name says.
fn manifest(bytes: &[u8], name: &ManifestName, victim: &Keys, outsider: &Keys, rng: &mut Rng) -> Vec<u8> {
    let Ok(manifest) = PackManifest::decode(bytes, name, &Trust::Anyone) else { return b"garbage".to_vec() };
    let signed = manifest.encode(Some(&outsider.key));
    match rng.u8(..4) {
        0 => b"garbage".to_vec(),
        1 => manifest.encode(None),
        2 => signed,
        // Claims to be of the victim.
        _ => {
            let text = String::from_utf8(signed).expect("JSON");
            text.replace(&outsider.public().to_string(), &victim.public().to_string()).into_bytes()
        }
    }
}

/// Records that would fit better than the true ones.
fn records(server: &S3Server, signers: &[Keys; 2], workspace: &str, rng: &mut Rng) -> Vec<(String, Vec<u8>)> {
    let mut forged = Vec::new();
    for object in server.objects_with(".record.zst") {
        let Some(WorkspaceObject::Record(name)) = WorkspaceObject::parse(workspace, &object) else { continue };
        if !signers.iter().any(|keys| keys.key.id() == name.signer) || rng.bool() {
            continue;
        }
        let bytes = server.read(&object).unwrap_or_default();
        for at in 0..4 {
            let digest = names::bundle(digest(rng)).split(['/', '.']).nth(2).expect("a digest")[..16].to_owned();
            let bytes = if at == 0 { bytes.clone() } else { b"garbage".to_vec() };
            forged.push((RecordName { digest, ..name.clone() }.object(workspace), bytes));
        }
    }
    // Later pushes of the outsider forge more.
    rng.shuffle(&mut forged);
    forged.truncate(12);
    forged
}

/// Bundles, packs, snapshots and lists of revoked keys.
fn others(signers: &[Keys; 2], outsider: &Keys, workspace: &str, rng: &mut Rng) -> Vec<(String, Vec<u8>)> {
    let revoked = revocation::encode(&signers.each_ref().map(Keys::public), &outsider.key);
    let victim = rng.choice(signers).expect("one").key.id();
    let large = vec![b' '; 300 << 10];
    vec![
        (names::revocation(outsider.key.id()), revoked.clone()),
        (names::revocation(victim), if rng.bool() { revoked } else { large.clone() }),
        (format!("{}{}.json", names::revocations(), rng.u32(10_000_000..99_999_999)), large),
        (names::snapshot(workspace, SnapshotName(digest(rng)), victim), b"garbage".to_vec()),
        (names::bundle(digest(rng)), b"garbage".to_vec()),
        (names::pack("c1", EntryKey(digest(rng)), digest(rng)), b"garbage".to_vec()),
        (format!("v2/{}/{}", rng.alphabetic(), rng.u64(..)), b"garbage".to_vec()),
    ]
}

fn digest(rng: &mut Rng) -> Digest {
    Digest::of(&rng.u64(..).to_le_bytes())
}
