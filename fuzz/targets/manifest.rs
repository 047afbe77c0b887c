//! Manifests, build records and object names from a bucket that anybody can write to: kache accepts or refuses them,
//! but never panics. The first byte selects the format of the rest: `m` a manifest, `b` the body of one, `r` a build
//! record, `n` an object name.
#![no_main]

use std::sync::LazyLock;

use kache::remote::{
    BuildRecord, ManifestName, PackManifest, RecordName, SignerId, SigningKey, Trust, WorkspaceObject, names,
};
use libfuzzer_sys::fuzz_target;

static TRUSTED: LazyLock<Trust> = LazyLock::new(|| Trust::of_keys([SigningKey::generate().unwrap().0.public()]));

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind {
        b'm' => manifest(rest),
        // The fuzzer makes the body only, so that it has less to guess.
        b'b' => manifest(&[br#"{"v":2,"body":"#, rest, br#","signatures":[]}"#].concat()),
        b'r' => record(rest),
        b'n' => names(&String::from_utf8_lossy(rest)),
        _ => {}
    }
});

/// Returns the place that the manifest claims, so that it is not refused for its place alone.
fn name_of(bytes: &[u8]) -> Option<ManifestName> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let text = |field: &str| value["body"][field].as_str();
    let digest = |field: &str| text(field)?.parse().ok();
    let (lookup, key) = (kache::model::LookupKey(digest("lookup")?), kache::model::EntryKey(digest("key")?));
    Some(ManifestName::new(text("crate_name")?, lookup, key, SignerId::NONE))
}

fn manifest(bytes: &[u8]) {
    let here = kache::model::Digest::of(b"");
    let (lookup, key) = (kache::model::LookupKey(here), kache::model::EntryKey(here));
    let name = name_of(bytes).unwrap_or_else(|| ManifestName::new("a", lookup, key, SignerId::NONE));
    assert!(PackManifest::decode(bytes, &name, &TRUSTED).is_err(), "nobody has signed it");
    if let Ok(manifest) = PackManifest::decode(bytes, &name, &Trust::Anyone) {
        let again = PackManifest::decode(&manifest.encode(None), &name, &Trust::Anyone);
        assert_eq!(again.as_ref(), Ok(&manifest));
    }
}

/// The fuzzer makes the JSON, which is compressed here. The name is the one that the record would have, if it is one.
fn record(bytes: &[u8]) {
    let name = || -> Option<RecordName> {
        let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        Some(serde_json::from_value::<BuildRecord>(value["body"].clone()).ok()?.name(SignerId::NONE))
    };
    let Some(name) = name() else { return };
    let object = zstd::encode_all(bytes, 1).unwrap();
    if let Ok(record) = BuildRecord::decode(&object, &name, &Trust::Anyone) {
        assert_eq!(BuildRecord::decode(&record.encode(None), &name, &Trust::Anyone).as_ref(), Ok(&record));
        let spelled = name.object(&record.workspace);
        let parsed = WorkspaceObject::parse(&record.workspace, &spelled);
        assert_eq!(parsed, Some(WorkspaceObject::Record(name)), "{spelled}");
    }
}

fn names(text: &str) {
    if let Some(name) = ManifestName::parse(text) {
        assert_eq!(name.object(), text);
    }
    if let Some((part, WorkspaceObject::Record(name))) = WorkspaceObject::parse_any(text) {
        assert!(text.starts_with(&format!("v2/builds/{part}/")) && text.ends_with(&format!("{}.record.zst", name.digest)));
    }
    let spelled = names::manifests_of(text);
    assert!(spelled.len() < 40 && !spelled.contains("..") && spelled.matches('/').count() == 3, "{spelled}");
}
