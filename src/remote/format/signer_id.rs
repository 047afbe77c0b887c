//! Short names for signers, which object names contain.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::Digest;

/// Characters of an id.
const CHARS: usize = 8;

/// Who signed an object: 8 characters of the digest of the public key, or `unsigned`. Only says which key to check: the
/// signature decides.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignerId([u8; CHARS]);

impl SignerId {
    /// The id of objects that nobody signed.
    pub const NONE: Self = Self(*b"unsigned");

    /// The id of a public key.
    pub(super) fn of_key(public: &[u8]) -> Self {
        let spelled = URL_SAFE_NO_PAD.encode(Digest::of(public).as_bytes());
        Self(spelled.as_bytes()[..CHARS].try_into().unwrap_or(Self::NONE.0))
    }
}

/// A text that is no id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the id of a signer")]
pub struct NotASigner;

impl FromStr for SignerId {
    type Err = NotASigner;

    fn from_str(text: &str) -> Result<Self, NotASigner> {
        let bytes: [u8; CHARS] = text.as_bytes().try_into().map_err(|_| NotASigner)?;
        let is_valid = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if is_valid { Ok(Self(bytes)) } else { Err(NotASigner) }
    }
}

impl fmt::Display for SignerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for SignerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_spelled_in_one_way() {
        let id = SignerId::of_key(&[7; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(id, SignerId::of_key(&[8; 32]));
        assert_eq!("unsigned".parse(), Ok(SignerId::NONE));
        for bad in ["", "short", "too-long-", "a/bcdefg", "..12345.", "ü234567"] {
            assert_eq!(bad.parse::<SignerId>(), Err(NotASigner), "{bad}");
        }
    }
}
