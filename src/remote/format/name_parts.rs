//! The parts of object names: digests, whole and short, and texts that are changed to fit.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::Digest;

/// Characters of the digest in a part that was changed, and of short digests.
pub(super) const MARK_CHARS: usize = 8;
/// Hexadecimal digits of the `Cargo.lock` digest, and of the commit, in the name of a build record.
pub(super) const SHORT_HEX_DIGITS: usize = 12;

/// Eight characters of a digest.
pub(super) fn short_digest(bytes: &[u8]) -> String {
    let mut spelled = encode_digest(Digest::of(bytes));
    spelled.truncate(MARK_CHARS);
    spelled
}

/// Whether this is a short digest as [`short_digest`] spells it.
pub(super) fn is_short_digest(text: &str) -> bool {
    is_base64(text, MARK_CHARS)
}

pub(super) fn is_base64(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

pub(super) fn is_hex(text: &str) -> bool {
    text.len() == SHORT_HEX_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn encode_digest(digest: Digest) -> String {
    URL_SAFE_NO_PAD.encode(digest.as_bytes())
}

/// Parses a digest. Each digest has one spelling: the spare bits of the last character must be zero.
pub(super) fn decode_digest(text: &str) -> Option<Digest> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Digest::from_bytes)
}

/// How a part of a name is spelled: without dots, which separate parts.
pub(super) struct PartSpelling {
    pub(super) max_bytes: usize,
}

impl PartSpelling {
    fn is_plain(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
    }

    pub(super) fn spell(&self, text: &str) -> String {
        if (1..=self.max_bytes).contains(&text.len()) && text.bytes().all(Self::is_plain) {
            return text.to_owned();
        }
        let plain = |c: char| u8::try_from(c).is_ok_and(Self::is_plain);
        let start = text.chars().take(self.max_bytes - MARK_CHARS - 1).map(|c| if plain(c) { c } else { '_' });
        let mark = encode_digest(Digest::of(text.as_bytes()));
        start.chain(['~']).chain(mark.chars().take(MARK_CHARS)).collect()
    }

    pub(super) fn is_valid(&self, part: &str) -> bool {
        let (text, mark) = part.split_once('~').map_or((part, None), |(text, mark)| (text, Some(mark)));
        let fits = part.len() <= self.max_bytes && (mark.is_some() || !text.is_empty());
        fits && mark.is_none_or(is_short_digest) && text.bytes().all(Self::is_plain)
    }
}
