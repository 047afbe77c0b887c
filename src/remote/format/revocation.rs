//! Lists of revoked keys: what a signer says about keys that must not be trusted any more.
//!
//! Version 1: a signed object whose body lists public keys, in the place that its signer's id names. A reader takes
//! only lists of signers that it trusts. A list only takes trust away, so a stolen key can at worst disable the others.

use serde::{Deserialize, Serialize};

use super::refused::Refused;
use super::signature::{PublicKey, SigningKey, Trust};
use super::signed::SignedFormat;

/// Largest list that is read, in bytes.
pub const MAX_LIST_BYTES: u64 = 256 << 10;
const NAME_IN_REFUSALS: &str = "the list of revoked keys";
const OBJECT: SignedFormat =
    SignedFormat { purpose: "revoked keys v1", version: 1, name_in_refusals: NAME_IN_REFUSALS };

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    keys: Vec<String>,
}

/// Encodes a list of revoked keys, signed.
pub fn encode(keys: &[PublicKey], signer: &SigningKey) -> Vec<u8> {
    OBJECT.encode(&Body { keys: keys.iter().map(ToString::to_string).collect() }, Some(signer))
}

/// Decodes a list, if a trusted key signed it.
pub fn decode(bytes: &[u8], trust: &Trust) -> Result<Vec<PublicKey>, Refused> {
    let body: Body = OBJECT.decode(bytes, trust)?;
    let parse = |key: &String| key.parse().map_err(|_| Refused::Malformed(NAME_IN_REFUSALS));
    body.keys.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_signer_revokes() {
        let (ours, _) = SigningKey::generate().unwrap();
        let (theirs, _) = SigningKey::generate().unwrap();
        let trust = Trust::of_keys([ours.public()]);
        let keys = [theirs.public()];
        assert_eq!(decode(&encode(&keys, &ours), &trust), Ok(keys.to_vec()));
        assert_eq!(decode(&encode(&keys, &theirs), &trust), Err(Refused::Untrusted));
    }
}
