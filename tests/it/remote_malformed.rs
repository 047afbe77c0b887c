//! Packs, manifests and build records as an adversary, a bad disk or another version would make them. kache refuses
//! each for its own reason and leaves the store unchanged. It accepts the sample from which all of them are made.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kache::model::{Digest, EntryKey, Input, LookupKey};
use kache::remote::format::pack::ImportError;
use kache::remote::{BuildRecord, BuildUnit, ManifestName, PackManifest, Refused, SignerId, SigningKey, Trust};
use kache::store::Message;
use tar::Header;

use super::support::packs::{self, Item, Parts, Place, compress};
use super::support::snapshot;

type Case<T> = (&'static str, &'static str, fn(&mut T));

fn set_name(header: &mut Header, name: &[u8]) {
    header.as_old_mut().name = [0; 100];
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
}

/// Changes the name of the second file.
fn rename(parts: &mut Parts, name: &[u8]) {
    parts.items[1] = parts.items[1].clone().with(|header| set_name(header, name));
}

/// Changes the type of the second file.
fn retype(parts: &mut Parts, letter: u8) {
    parts.items[1] = parts.items[1].clone().of_type(letter);
}

/// Changes the header of the second file.
fn edit(parts: &mut Parts, change: fn(&mut Header)) {
    parts.items[1] = parts.items[1].clone().with(change);
}

/// R02: archives with something other than the expected files.
const ARCHIVES: &[Case<Parts>] = &[
    ("a symbolic link", "link", |p| retype(p, b'2')),
    ("a hard link", "link", |p| retype(p, b'1')),
    ("a character device", "special", |p| retype(p, b'3')),
    ("a block device", "special", |p| retype(p, b'4')),
    ("a directory", "special", |p| retype(p, b'5')),
    ("a pipe", "special", |p| retype(p, b'6')),
    ("a contiguous file", "extension", |p| retype(p, b'7')),
    ("a long name as GNU tells it", "extension", |p| retype(p, b'L')),
    ("a long link as GNU tells it", "extension", |p| retype(p, b'K')),
    ("a sparse file", "extension", |p| retype(p, b'S')),
    ("attributes", "extension", |p| p.items.insert(1, Item::new("x", b"17 path=../x.rlib\n", false).of_type(b'x'))),
    ("attributes of all files", "extension", |p| retype(p, b'g')),
    ("a header of GNU", "extension", |p| {
        edit(p, |h| {
            let ustar = h.as_ustar_mut().unwrap();
            (ustar.magic, ustar.version) = (*b"ustar ", *b" \0");
        });
    }),
    ("a header without a format", "malformed", |p| edit(p, |h| h.as_ustar_mut().unwrap().magic = [0; 6])),
    ("an absolute name", "bad-name", |p| rename(p, b"/etc/cron.d/x")),
    ("a name that leads out", "bad-name", |p| rename(p, b"../x.rlib")),
    ("a name in a directory", "bad-name", |p| rename(p, b"deps/liba.rlib")),
    ("the directory above", "bad-name", |p| rename(p, b"..")),
    ("the directory itself", "bad-name", |p| rename(p, b".")),
    ("no name", "bad-name", |p| rename(p, b"")),
    ("a name with a line's end", "bad-name", |p| rename(p, b"a\nb")),
    ("a name of other systems", "bad-name", |p| rename(p, b"..\\x.rlib")),
    ("a name that is no text", "undeclared", |p| rename(p, b"\xff\xfe")),
    ("a name with a prefix", "bad-name", |p| edit(p, |h| h.as_ustar_mut().unwrap().prefix[0] = b'x')),
    ("bytes behind a name", "malformed", |p| edit(p, |h| h.as_old_mut().name[20] = b'x')),
    ("a file twice", "duplicate", |p| p.items.push(p.items[1].clone())),
    ("the entry twice", "duplicate", |p| p.items.push(p.items[0].clone())),
    ("a file that is not declared", "undeclared", |p| p.items.push(Item::new("extra", b"x", false))),
    ("a file before the entry", "undeclared", |p| p.items.swap(0, 1)),
    ("a file too few", "missing", |p| drop(p.items.remove(2))),
    ("nothing at all", "missing", |p| p.items.clear()),
    ("a longer file", "too-long", |p| p.items[1] = Item::new("liba.rlib", b"the rlib!", false)),
    ("a file of a gigabyte", "too-long", |p| edit(p, |h| h.set_size(1 << 30))),
    ("a shorter file", "too-short", |p| p.items[1] = Item::new("liba.rlib", b"the rli", false)),
    ("other bytes", "digest", |p| p.items[1].body[0] ^= 1),
    ("another entry's bytes", "digest", |p| p.items[0].body[9] ^= 1),
    ("a wrong sum", "malformed", |p| p.items[1].header.as_old_mut().cksum[0] ^= 1),
    ("a time", "malformed", |p| edit(p, |h| h.set_mtime(1))),
    ("a set-uid bit", "malformed", |p| edit(p, |h| h.set_mode(0o4755))),
    ("an executable that is none", "malformed", |p| edit(p, |h| h.set_mode(0o755))),
    ("an owner", "malformed", |p| edit(p, |h| h.set_uid(1000))),
    ("an owner's name", "malformed", |p| edit(p, |h| h.as_ustar_mut().unwrap().uname[0] = b'r')),
    ("a link's target on a file", "malformed", |p| edit(p, |h| h.as_old_mut().linkname[0] = b'/')),
    ("a size that is no number", "malformed", |p| edit(p, |h| h.as_old_mut().size = *b"zzzzzzzzzzzz")),
    ("a negative size", "too-long", |p| edit(p, |h| h.as_old_mut().size = [0xff; 12])),
    ("a size in another spelling", "malformed", |p| edit(p, |h| h.as_old_mut().size = *b"000000000010")),
    ("something in the padding", "malformed", |p| p.items[1].padding = 1),
    ("no end", "malformed", |p| p.end.clear()),
    ("half an end", "malformed", |p| p.end.truncate(512)),
    ("an end that is cut", "malformed", |p| p.end.truncate(700)),
    ("no second block of zeros", "trailing", |p| p.end[600] = 1),
    ("a block behind the end", "trailing", |p| p.end.resize(1536, 0)),
    ("ten megabytes behind the end", "trailing", |p| p.end.resize(10 << 20, 0)),
];

/// R03, R04: wrong compressed streams, and packs that were damaged on the way.
const STREAMS: &[Case<Parts>] = &[
    ("bytes behind the frame", "trailing", |p| p.compress = |a| [compress(a), b"x".to_vec()].concat()),
    ("a second frame", "trailing", |p| p.compress = |a| [compress(a), compress(b"x")].concat()),
    ("a frame to skip behind", "trailing", |p| {
        p.compress = |a| [compress(a), b"\x50\x2a\x4d\x18\x01\0\0\0x".to_vec()].concat();
    }),
    ("a frame to skip first", "compression", |p| {
        p.compress = |a| [b"\x50\x2a\x4d\x18\x01\0\0\0x".to_vec(), compress(a)].concat();
    }),
    ("no frame", "compression", |p| p.compress = <[u8]>::to_vec),
    ("nothing", "compression", |p| p.compress = |_| Vec::new()),
    ("three bytes", "compression", |p| p.compress = |a| compress(a)[..3].to_vec()),
    ("a frame that is cut", "compression", |p| {
        p.compress = |a| {
            let frame = compress(a);
            frame[..frame.len() - 5].to_vec()
        };
    }),
    ("a frame that is damaged", "compression", |p| {
        p.compress = |a| {
            let mut frame = compress(a);
            frame[9..].fill(0xff);
            frame
        };
    }),
    ("a window of 128 MiB", "window", |p| p.compress = |a| with_window(a, 27)),
    ("a pack that was cut on the way", "too-short", |p| p.damage = |pack| pack.truncate(pack.len() - 1)),
    ("a pack that was emptied on the way", "too-short", |p| p.damage = Vec::clear),
    ("a pack that grew on the way", "too-long", |p| p.damage = |pack| pack.push(0)),
    ("a bit that fell over in the head", "digest", |p| p.damage = |pack| pack[0] ^= 1),
    ("a bit that fell over", "digest", |p| p.damage = |pack| *pack.last_mut().unwrap() ^= 1),
    ("another pack of that size", "digest", |p| p.damage = |pack| pack.fill(b'x')),
];

fn with_window(archive: &[u8], log: u32) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(log)).unwrap();
    encoder.write_all(archive).unwrap();
    encoder.finish().unwrap()
}

/// R01, R02: wrong contents of `meta.json`, however well signed and sealed.
const ENTRIES: &[Case<Parts>] = &[
    ("no JSON", "malformed", |p| p.set_meta(b"{")),
    ("no entry", "malformed", |p| p.set_meta(b"{}")),
    ("JSON without end", "malformed", |p| p.set_meta("[".repeat(50_000).as_bytes())),
    ("another crate", "entry", |p| p.set_entry(|e| e.crate_name = "b".into())),
    ("another cost", "entry", |p| p.set_entry(|e| e.cost_ms = 12.5)),
    ("another time", "entry", |p| p.set_entry(|e| e.created = 1)),
    ("another blob", "entry", |p| p.set_entry(|e| e.outputs[0].blob.0 = Digest::of(b"other"))),
    ("another size", "entry", |p| p.set_entry(|e| e.outputs[0].size += 1)),
    ("another order", "entry", |p| p.set_entry(|e| e.outputs.swap(0, 1))),
    ("an output too few", "entry", |p| p.set_entry(|e| drop(e.outputs.pop()))),
    ("a name that leads out", "entry", |p| p.set_entry(|e| e.outputs[0].name = "../liba.rlib".into())),
    ("a dep-info that leads out", "entry", |p| p.set_entry(|e| e.dep_info_name = "../../.bashrc".into())),
    ("a dep-info in an output's place", "entry", |p| p.set_entry(|e| e.dep_info_name = "liba.rlib".into())),
    ("a message that leads out", "entry", |p| {
        p.set_entry(|e| e.stderr.push(Message::Artifact("../../x".into())));
    }),
    ("more than one output has a name", "duplicate", |p| {
        p.manifest.files[1] = p.manifest.files[0].clone();
    }),
];

/// Manifests whose content is wrong in itself.
const MANIFESTS: &[Case<PackManifest>] = &[
    ("another crate", "moved", |m| m.crate_name = "b".into()),
    ("another lookup key", "moved", |m| m.lookup = LookupKey(Digest::of(b"m"))),
    ("another key", "moved", |m| m.key = EntryKey(Digest::of(b"m"))),
    ("an input more", "inputs", |m| m.inputs.push(Input::Env("B".into(), None))),
    ("no inputs", "inputs", |m| m.inputs.clear()),
    ("a name that leads out", "bad-name", |m| m.files[0].name = "../liba.rlib".into()),
    ("an absolute name", "bad-name", |m| m.files[0].name = "/liba.rlib".into()),
    ("a name with a zero", "bad-name", |m| m.files[0].name = "a\0b".into()),
    ("a name of 101 bytes", "bad-name", |m| m.files[0].name = "x".repeat(101)),
    ("a file twice", "duplicate", |m| m.files.push(m.files[0].clone())),
    ("a file called like the entry", "duplicate", |m| m.files[0].name = "meta.json".into()),
    ("an entry called otherwise", "malformed", |m| m.meta.name = "entry.json".into()),
    ("an entry of nothing", "malformed", |m| m.meta.size = 0),
    ("an entry of 100 MiB", "too-large", |m| m.meta.size = 100 << 20),
    ("a file of an exabyte", "too-large", |m| m.files[0].size = 1 << 60),
    ("sizes beyond numbers", "too-large", |m| m.files.iter_mut().for_each(|file| file.size = u64::MAX)),
    ("a pack of an exabyte", "too-large", |m| m.pack.size = 1 << 60),
    ("9000 files", "too-large", |m| {
        let file = m.files[0].clone();
        m.files = (0..9000).map(|at| kache::remote::FileRef { name: format!("f{at}"), ..file.clone() }).collect();
    }),
    ("a negative cost", "malformed", |m| m.cost_ms = -1.0),
    ("a cost that is no number", "malformed", |m| m.cost_ms = f64::NAN),
    ("a time before all time", "malformed", |m| m.created = i64::MIN),
    ("a package with a line's end", "bad-name", |m| m.package = "a\nb".into()),
    ("five megabytes", "too-large", |m| m.inputs.push(Input::Env("x".repeat(5 << 20), None))),
];

/// A name, the expected refusal, and a change to the text of a manifest or a build record.
type Text = (&'static str, &'static str, fn(&str) -> Vec<u8>);
const TEXTS: &[Text] = &[
    ("nothing", "malformed", |_| Vec::new()),
    ("no object", "malformed", |_| b"[]".to_vec()),
    ("not UTF-8", "malformed", |t| [t.as_bytes(), b"\xff"].concat()),
    ("something behind", "malformed", |t| format!("{t}{t}").into_bytes()),
    ("half of it", "malformed", |t| t.as_bytes()[..t.len() / 2].to_vec()),
    ("no version", "malformed", |t| t.replace("\"v\":2,", "").into_bytes()),
    ("a later version", "version", |t| t.replace("\"v\":2", "\"v\":3,\"new\":0").into_bytes()),
    ("another field", "malformed", |t| t.replace("\"v\":2", "\"v\":2,\"new\":0").into_bytes()),
    ("another field of the body", "malformed", |t| t.replace("\"emit\"", "\"new\":0,\"emit\"").into_bytes()),
    ("a field twice", "malformed", |t| t.replace("\"emit\"", "\"emit\":\"x\",\"emit\"").into_bytes()),
    ("a field too few", "malformed", |t| t.replace("\"emit\":\"link\",", "").into_bytes()),
    ("a digest in capitals", "malformed", |t| {
        let digest = packs::lookup().0.hex();
        t.replace(&digest, &digest.to_uppercase()).into_bytes()
    }),
    ("a digest that leads out", "malformed", |t| t.replace(&packs::lookup().0.hex(), "../../x").into_bytes()),
    ("a negative size", "malformed", |t| t.replace("\"size\":8", "\"size\":-8").into_bytes()),
    ("a size with a fraction", "malformed", |t| t.replace("\"size\":8", "\"size\":8.5").into_bytes()),
    ("an unknown kind of input", "malformed", |t| t.replace("{\"env\":", "{\"moon-phase\":").into_bytes()),
    ("an unknown root", "malformed", |t| t.replace("src/lib.rs", "{moon}/lib.rs").into_bytes()),
    ("no body", "malformed", |_| b"{\"v\":2,\"body\":null,\"signatures\":[]}".to_vec()),
    ("a body without end", "malformed", |_| format!("{{\"v\":2,\"body\":{}", "[".repeat(100_000)).into_bytes()),
    ("17 signatures", "too-large", |t| {
        let signatures = vec!["{\"key\":\"\",\"signature\":\"\"}"; 17].join(",");
        t.replace("\"signatures\":[]", &format!("\"signatures\":[{signatures}]")).into_bytes()
    }),
];

/// R11: build records that kache must refuse.
const RECORDS: &[Text] = &[
    ("nothing", "malformed", |_| Vec::new()),
    ("half of it", "malformed", |t| t.as_bytes()[..t.len() / 2].to_vec()),
    ("a later version", "version", |t| t.replace("\"v\":2", "\"v\":9").into_bytes()),
    ("another field", "malformed", |t| t.replace("\"v\":2", "\"v\":2,\"run\":\"sh\"").into_bytes()),
    ("another field of a unit", "malformed", |t| t.replace("\"bytes\"", "\"path\":\"/\",\"bytes\"").into_bytes()),
    ("a crate that leads out", "bad-name", |t| t.replace("\"serde\"", "\"../../x\"").into_bytes()),
    ("a crate without a name", "bad-name", |t| t.replace("\"serde\"", "\"\"").into_bytes()),
    ("a workspace without a name", "bad-name", |t| t.replace("\"w\"", "\"\"").into_bytes()),
    ("a profile with a line's end", "bad-name", |t| t.replace("\"dev\"", "\"a\\nb\"").into_bytes()),
    ("a triple without end", "bad-name", |t| t.replace("\"host\"", &format!("{:?}", "x".repeat(300))).into_bytes()),
    ("a key that is none", "malformed", |t| t.replace(&packs::key().0.hex(), "../x").into_bytes()),
    ("a commit that is none", "malformed", |t| t.replace(&"ab".repeat(20), "HEAD").into_bytes()),
    ("negative bytes", "malformed", |t| t.replace("\"bytes\":10", "\"bytes\":-1").into_bytes()),
    ("a negative cost", "malformed", |t| t.replace("2.5", "-2.5").into_bytes()),
    ("a cost beyond numbers", "malformed", |t| t.replace("2.5", "1e999").into_bytes()),
    ("units without end", "malformed", |t| t.replace("\"units\":[", &"[".repeat(100_000)).into_bytes()),
    ("130 MB of space", "too-large", |t| [t.as_bytes(), &vec![b' '; 130 << 20]].concat()),
];

/// The id of the refusal; `taken` if `refuse` succeeds, `panic` if it panics.
fn id<T>(what: &str, refuse: impl FnOnce() -> Result<T, Refused>) -> &'static str {
    match catch_unwind(AssertUnwindSafe(refuse)) {
        Ok(Ok(_)) => "taken",
        Ok(Err(refused)) => {
            assert!(refused.to_string().len() < 200, "{what}: a line that can be printed");
            refused.id()
        }
        Err(_) => "panic",
    }
}

/// Imports into a store that is not empty, and asserts that a refusal leaves the store unchanged.
fn import(what: &str, parts: &Parts) -> &'static str {
    let place = Place::empty();
    kache::fsx::Publish::default().bytes(&place.cache().join("v1/entries/00/other.json"), b"mine").unwrap();
    let before = snapshot(&place.cache());
    let refused = id(what, || match parts.import(&place.store) {
        Err(ImportError::Refused(refused)) => Err(refused),
        other => Ok(other.unwrap()),
    });
    if refused != "taken" {
        assert_eq!(snapshot(&place.cache()), before, "{what}: nothing was published, no temp was left");
    }
    refused
}

fn check<T>(cases: &[(&'static str, &'static str, T)], mut try_it: impl FnMut(&str, &T) -> &'static str) {
    let mut failures = Vec::new();
    for (what, expected, case) in cases {
        let found = try_it(what, case);
        if found != *expected {
            failures.push(format!("{what}: expected {expected}, found {found}"));
        }
    }
    assert!(failures.is_empty(), "of {} cases:\n{}", cases.len(), failures.join("\n"));
}

#[test]
fn r01_r02_r03_r04_every_malformed_pack_is_refused_and_leaves_nothing() {
    assert_eq!(import("the sample", &Parts::new()), "taken", "the control");
    for cases in [ARCHIVES, STREAMS, ENTRIES] {
        check(cases, |what, change| {
            let mut parts = Parts::new();
            change(&mut parts);
            import(what, &parts)
        });
    }
    assert!(ARCHIVES.len() + STREAMS.len() + ENTRIES.len() >= 40);
}

fn name() -> ManifestName {
    ManifestName::new("a", packs::lookup(), packs::key(), SignerId::NONE)
}

#[test]
fn r01_r11_every_malformed_manifest_is_refused() {
    let (good, _) = Parts::new().build();
    let decode = |what: &str, bytes: &[u8]| id(what, || PackManifest::decode(bytes, &name(), &Trust::Anyone));
    assert_eq!(decode("the sample", &good.encode(None)), "taken", "the control");
    check(MANIFESTS, |what, change| {
        let mut manifest = good.clone();
        change(&mut manifest);
        // The import checks the manifest again, wherever it comes from, and refuses before it reads the pack.
        let (_, pack) = Parts::new().build();
        let store = Place::empty();
        let imported = kache::remote::format::pack::import(&store.store, &manifest, &mut pack.as_slice());
        assert!(imported.is_err() && snapshot(&store.cache()).is_empty(), "{what}");
        decode(what, &manifest.encode(None))
    });
    let text = String::from_utf8(good.encode(None)).unwrap();
    check(TEXTS, |what, change| {
        let changed = change(&text);
        assert_ne!(changed, text.as_bytes(), "{what}: the case changes something");
        decode(what, &changed)
    });
}

#[test]
fn r07_with_trusted_keys_only_their_own_word_counts() {
    let (good, _) = Parts::new().build();
    let ((ours, _), (theirs, _)) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let trust = Trust::of_keys([ours.public()]);
    let decode = |bytes: &[u8]| id("signed", || PackManifest::decode(bytes, &name(), &trust));
    let text = |key: Option<&SigningKey>| String::from_utf8(good.encode(key)).unwrap();
    assert_eq!(decode(text(Some(&ours)).as_bytes()), "taken", "the control");
    assert_eq!(decode(text(None).as_bytes()), "unsigned");
    assert_eq!(decode(text(Some(&theirs)).as_bytes()), "untrusted");
    let changed = text(Some(&ours)).replace("12.5", "12.6");
    assert_eq!(decode(changed.as_bytes()), "bad-signature");
    let spaced = text(Some(&ours)).replace("\"emit\":", "\"emit\": ");
    assert_eq!(decode(spaced.as_bytes()), "bad-signature", "the bytes are signed, not what they mean");
    let claimed = text(Some(&theirs)).replace(&theirs.public().to_string(), &ours.public().to_string());
    assert_eq!(decode(claimed.as_bytes()), "bad-signature");
    let elsewhere = ManifestName { key: EntryKey(Digest::of(b"other")), ..name() };
    let moved = PackManifest::decode(text(Some(&ours)).as_bytes(), &elsewhere, &trust);
    assert_eq!(moved, Err(Refused::Moved), "an old one of ours, filed under another key");
}

#[test]
fn r11_every_malformed_build_record_is_refused() {
    let unit = BuildUnit {
        crate_name: "serde".into(),
        lookup: packs::lookup(),
        key: packs::key(),
        bytes: 10,
        cost_ms: 2.5,
        manifest: None,
    };
    let record = BuildRecord {
        workspace: "w".into(),
        branch: "main".into(),
        command: "build".into(),
        triple: "host".into(),
        profile: "dev".into(),
        lock: Digest::of(b"lock"),
        commit: Some("ab".repeat(20)),
        created: 1,
        units: vec![unit],
    };
    let name = record.name(SignerId::NONE);
    let text = String::from_utf8(zstd::decode_all(record.encode(None).as_slice()).unwrap()).unwrap();
    let decode = |text: &[u8]| BuildRecord::decode(&zstd::encode_all(text, 1).unwrap(), &name, &Trust::Anyone);
    assert_eq!(decode(text.as_bytes()), Ok(record), "the control");
    check(RECORDS, |what, change| {
        let changed = change(&text);
        assert_ne!(changed, text.as_bytes(), "{what}: the case changes something");
        id(what, || decode(&changed))
    });
}
