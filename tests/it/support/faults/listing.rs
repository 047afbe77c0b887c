//! Falsified listings: edits the XML of a page.

use super::Lie;

/// The continuation token of a listing that never ends.
const TOKEN: &str = "the-same-token";

pub(super) fn changed(page: &[u8], lie: &Lie) -> Vec<u8> {
    let xml = String::from_utf8_lossy(page).into_owned();
    match lie {
        Lie::TruncatedWithoutToken => truncated(&xml, ""),
        Lie::RepeatedToken => truncated(&xml, &format!("<NextContinuationToken>{TOKEN}</NextContinuationToken>")),
        Lie::MoreKeys(keys) => before_end(&xml, &keys.iter().map(|key| contents(key)).collect::<String>()),
        Lie::CutXml => xml[..xml.len() * 2 / 3].to_owned(),
        Lie::NoXml => "{\"keys\": \"what keys?\"}".to_owned(),
    }
    .into_bytes()
}

fn truncated(xml: &str, token: &str) -> String {
    let without = without(&without(xml, "IsTruncated"), "NextContinuationToken");
    before_end(&without, &format!("<IsTruncated>true</IsTruncated>{token}"))
}

fn without(xml: &str, element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    match (xml.find(&open), xml.find(&close)) {
        (Some(start), Some(end)) => format!("{}{}", &xml[..start], &xml[end + close.len()..]),
        _ => xml.to_owned(),
    }
}

fn before_end(xml: &str, more: &str) -> String {
    const END: &str = "</ListBucketResult>";
    assert!(xml.contains(END), "a rule about listings met something else: {xml}");
    xml.replace(END, &format!("{more}{END}"))
}

fn contents(key: &str) -> String {
    let key = key.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
         <ETag>\"0123456789abcdef0123456789abcdef\"</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )
}
