//! Tests of lists of layers, and of the other types of places.

use super::place::{LayerSettings, PlaceSettings, S3Settings};
use super::tests::load;
use super::*;
use crate::config::env;

const LIST: &str = "
[[cache.remote]]
bucket = \"main\"
endpoint = \"https://one\"
read_only = true
level = 5
trusted_keys = [\"m\"]
[[cache.remote]]
bucket = \"pull-requests\"
endpoint = \"https://one\"
prefix = \"7\"
[[cache.remote]]
bucket = \"other\"
endpoint = \"https://two\"
[[cache.remote]]
type = \"http\"
url = \"https://mirror.example/kache/\"
[[cache.remote]]
type = \"dir\"
path = \"/mnt/kache\"
";

fn list(vars: &[(&str, &str)], toml: &str) -> RemoteSettings {
    load(vars, toml).unwrap().unwrap()
}

fn buckets(remote: &RemoteSettings) -> Vec<&S3Settings> {
    let bucket = |layer: &'_ LayerSettings| match &layer.place {
        PlaceSettings::S3(_) => true,
        PlaceSettings::Http(_) | PlaceSettings::Dir(_) | PlaceSettings::Github(_) => false,
    };
    let layers = remote.layers.iter().filter(|layer| bucket(layer));
    layers.map(|layer| if let PlaceSettings::S3(s3) = &layer.place { s3 } else { unreachable!() }).collect()
}

fn error(vars: &[(&str, &str)], toml: &str) -> String {
    load(vars, toml).unwrap_err().to_string()
}

#[test]
fn a_list_is_read_in_its_order_and_kache_writes_to_the_first_layer_that_it_may() {
    let remote = list(&[], LIST);
    let place = "s3://main at https://one, then s3://pull-requests/7 at https://one, then s3://other at https://two, \
                 then https://mirror.example/kache, then directory /mnt/kache";
    assert_eq!((remote.place().as_str(), remote.level), (place, 5));
    assert_eq!(remote.writer().map(|layer| layer.place.name()).unwrap(), "s3://pull-requests/7 at https://one");
    assert!(remote.layers[3].read_only, "a web server is only read");
    let read_only = list(&[(env::KACHE_REMOTE_READONLY, "1")], LIST);
    assert!(read_only.writer().is_none());
    // Entries wait for the layer that is written, whatever is read before it.
    let one = list(&[], "[cache.remote]\nbucket = \"pull-requests\"\nprefix = \"7\"\nendpoint = \"https://one\"\n");
    assert_eq!(remote.destination(), one.destination());
    assert_ne!(remote.destination(), read_only.destination());
    let none = Env::of([("", ""); 0]);
    assert_ne!(remote.identity(&none), one.identity(&none));
    assert_ne!(remote.identity(&none), read_only.identity(&none));
}

#[test]
fn a_table_is_a_list_of_one() {
    let table = list(&[], "[cache.remote]\nbucket = \"b\"\n");
    assert_eq!(list(&[], "[[cache.remote]]\nbucket = \"b\"\n"), table);
    assert_eq!(list(&[(env::KACHE_S3_BUCKET, "b")], ""), table);
    assert_eq!(load(&[], "[cache]\nremote = []\n").unwrap(), None);
}

#[test]
fn variables_describe_the_first_bucket() {
    let vars = [(env::KACHE_S3_BUCKET, "v"), (env::KACHE_S3_PREFIX, "p"), (env::KACHE_S3_ENDPOINT, "https://two")];
    let mirror = "[[cache.remote]]\ntype = \"http\"\nurl = \"http://mirror\"\n";
    let remote = list(&vars, &format!("{mirror}{}", LIST.replace("level = 5", "")));
    let named: Vec<_> = buckets(&remote).iter().map(|s3| (s3.bucket.as_str(), s3.prefix.as_str())).collect();
    assert_eq!(named, [("v", "p"), ("pull-requests", "7"), ("other", "")]);
    let keys = [(env::KACHE_S3_ACCESS_KEY, "id"), (env::KACHE_S3_SECRET_KEY, "hunter2")];
    let with_keys = |remote: &RemoteSettings| buckets(remote).iter().map(|s3| s3.keys.is_some()).collect::<Vec<_>>();
    let remote = list(&keys, LIST);
    assert_eq!(with_keys(&remote), [true, true, false], "keys go to one server");
    assert!(!format!("{remote:?}").contains("hunter2"));
    let profile = LIST.replace("prefix = \"7\"", "profile = \"x\"");
    assert_eq!(with_keys(&list(&keys, &profile)), [true, false, false], "a profile has its own keys");
    // Without a bucket in the list, they have no effect.
    assert!(buckets(&list(&vars, mirror)).is_empty());
}

#[test]
fn r08_a_variable_with_trusted_keys_replaces_those_of_every_layer() {
    let keys = |vars: &[(&str, &str)]| {
        list(vars, LIST).layers.iter().map(|layer| layer.trusted_keys.join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(keys(&[]), ["m", "", "", "", ""]);
    assert_eq!(keys(&[(env::KACHE_TRUSTED_KEYS, "a,b")]), ["a b"; 5]);
    assert!(error(&[(env::KACHE_TRUSTED_KEYS, " ")], LIST).contains("names no key"));
}

#[test]
fn a_variable_makes_the_only_layer_writable_and_no_layer_of_a_list() {
    let writable = (env::KACHE_REMOTE_READONLY, "0");
    let table = "[cache.remote]\nbucket = \"b\"\nread_only = true\n";
    assert!(list(&[], table).writer().is_none());
    assert!(list(&[writable], table).writer().is_some());
    assert!(list(&[writable], LIST).layers[0].read_only);
}

#[test]
fn mistakes_are_named() {
    let of_type = |kind: &str| format!("[[cache.remote]]\nbucket = \"b\"\n[[cache.remote]]\ntype = \"{kind}\"\n");
    let gcs = error(&[], &of_type("gcs"));
    assert!(gcs.contains("cache.remote.type of remote 2") && gcs.contains("\"http\", \"dir\" or \"github\""), "{gcs}");
    assert!(error(&[], &of_type("s3")).contains("cache.remote 2 names no bucket"));
    assert!(error(&[], &of_type("http")).contains("`url`") && error(&[], &of_type("dir")).contains("`path`"));
    for (key, kind) in [("bucket", "dir"), ("prefix", "http"), ("url", "s3"), ("path", "s3")] {
        let text = error(&[], &format!("[cache.remote]\ntype = \"{kind}\"\n{key} = \"b\"\n"));
        assert!(text.contains(&format!("cache.remote.{key}")) && text.contains("does not belong"), "{text}");
    }
    assert!(error(&[], "[cache.remote]\ntype = \"dir\"\npath = \"mnt\"\n").contains("an absolute path"));
    let two = "[[cache.remote]]\nbucket = \"b\"\n[[cache.remote]]\nbucket = \"c\"\nlevel = 3\n";
    assert!(error(&[], two).contains("cache.remote 2 has `level`"));
    for url in ["https://me:hunter2@host/x", "host", "ftp://host", "https://host/?x", "https://host/#x"] {
        let text = error(&[], &format!("[cache.remote]\ntype = \"http\"\nurl = \"{url}\"\n"));
        assert!(text.contains("cache.remote.url") && !text.contains("hunter2"), "{text}");
    }
    let unknown = load_config("[[cache.remote]]\nbucket = \"b\"\nbukket = \"c\"\n").unknown_keys;
    assert_eq!(unknown, ["cache.remote.0.bukket"]);
}

fn load_config(toml: &str) -> Config {
    super::tests::load_with(&[], toml).1
}

#[test]
fn r08_the_cache_of_github_actions_needs_the_variables_of_a_job() {
    let kind = (env::KACHE_REMOTE_TYPE, "github");
    let service = [(env::ACTIONS_RESULTS_URL, "https://results.example/"), (env::ACTIONS_RUNTIME_TOKEN, "hunter2")];
    let remote = list(&[kind, service[0], service[1]], "");
    assert_eq!(remote.place(), "GitHub Actions cache at https://results.example");
    assert!(!format!("{remote:?}").contains("hunter2"));
    let none = Env::of([("", ""); 0]);
    let other = list(&[kind, service[0], (env::ACTIONS_RUNTIME_TOKEN, "other")], "");
    assert_ne!(remote.identity(&none), other.identity(&none));
    assert_eq!(remote.destination(), other.destination());
    for lacking in [service[0], service[1]] {
        let text = error(&[kind, lacking], "");
        assert!(text.contains("ACTIONS_R") && text.contains("is not set"), "{text}");
    }
    assert_eq!(load(&service, "").unwrap(), None, "control: only the type makes it a remote");
    // The variable wins over a table, and has no effect on a list.
    let table = "[cache.remote]\nbucket = \"b\"\n";
    assert_eq!(list(&[kind, service[0], service[1]], table), remote);
    assert_eq!(list(&[kind], LIST), list(&[], LIST));
    assert!(error(&[(env::KACHE_REMOTE_TYPE, "gcs")], "").contains("KACHE_REMOTE_TYPE"));
}
