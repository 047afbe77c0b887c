//! Manifests, build records and object names from a bucket that anybody can write to: kache accepts or refuses them,
//! but never panics. The first byte selects the format of the rest: `m` a manifest, `b` the body of one, `r` a build
//! record, `n` an object name.
#![no_main]

use std::sync::LazyLock;

use kache::remote::{BuildRecord, ManifestName, ObjectNames, PackManifest, SigningKey, Trust};
use libfuzzer_sys::fuzz_target;

static TRUSTED: LazyLock<Trust> = LazyLock::new(|| Trust::Keys(vec![SigningKey::generate().unwrap().0.public()]));

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind {
        b'm' => manifest(rest),
        // The fuzzer makes the body only, so that it has less to guess.
        b'b' => manifest(&[br#"{"v":1,"body":"#, rest, br#","signatures":[]}"#].concat()),
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
    Some(ManifestName::new(
        text("crate_name")?,
        kache::model::LookupKey(digest("lookup")?),
        kache::model::EntryKey(digest("key")?),
    ))
}

fn manifest(bytes: &[u8]) {
    let here = kache::model::Digest::of(b"");
    let name = name_of(bytes)
        .unwrap_or_else(|| ManifestName::new("a", kache::model::LookupKey(here), kache::model::EntryKey(here)));
    assert!(PackManifest::decode(bytes, &name, &TRUSTED).is_err(), "nobody has signed it");
    if let Ok(manifest) = PackManifest::decode(bytes, &name, &Trust::Anyone) {
        let again = PackManifest::decode(&manifest.encode(None), &name, &Trust::Anyone);
        assert_eq!(again.as_ref(), Ok(&manifest));
    }
}

fn record(bytes: &[u8]) {
    if let Ok(record) = BuildRecord::decode(bytes) {
        assert_eq!(BuildRecord::decode(&record.encode()).as_ref(), Ok(&record));
        let names = ObjectNames::new("p");
        let name = names.build(&record.workspace, &record.name());
        assert_eq!(names.parse_build(&record.workspace, &name), Some(record.name()), "{name}");
    }
}

fn names(text: &str) {
    let names = ObjectNames::new("");
    if let Some(name) = names.parse_manifest(text) {
        assert_eq!(names.manifest_named(&name), text);
    }
    if let Some(build) = names.parse_build("w", text) {
        assert_eq!(names.build("w", &build), text);
    }
    let spelled = names.manifests_of(text);
    assert!(spelled.len() < 40 && !spelled.contains("..") && spelled.matches('/').count() == 3, "{spelled}");
}
