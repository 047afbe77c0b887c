//! Seals: a record is stored with the digest of its name and its bytes, so that a damaged or misplaced record reads as
//! absent.
//!
//! Version 1: 64 hexadecimal digits, a space, the record.

use crate::model::Digest;

/// Returns the record with its seal in front. `name` is the digest under which the record is filed.
pub fn seal(name: Digest, record: &[u8]) -> Vec<u8> {
    let mut sealed = digest(name, record).hex().into_bytes();
    sealed.push(b' ');
    sealed.extend(record);
    sealed
}

/// Returns the record. `None` if its seal does not match `name` and its content.
pub fn open(name: Digest, sealed: &[u8]) -> Option<&[u8]> {
    let (seal, rest) = sealed.split_at_checked(64)?;
    let record = rest.strip_prefix(b" ")?;
    let seal: Digest = std::str::from_utf8(seal).ok()?.parse().ok()?;
    (seal == digest(name, record)).then_some(record)
}

fn digest(name: Digest, record: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes()).update(record);
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i07_any_damage_breaks_the_seal() {
        let (name, other) = (Digest::of(b"a"), Digest::of(b"b"));
        let sealed = seal(name, b"record");
        assert_eq!(open(name, &sealed), Some(&b"record"[..]));
        assert_eq!(open(other, &sealed), None, "filed under another name");
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(open(name, &damaged), None, "byte {at}");
            assert_eq!(open(name, &sealed[..at]), None, "cut at {at}");
        }
    }
}
