//! Signed objects: `{"v":1,"body":{...},"signatures":[{"key":...,"signature":...}]}`. The signed bytes are those of
//! `body`, exactly as stored.

use std::io::Read;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::refused::{self, Refused};
use super::signature::{Signature, SigningKey, Trust};
use super::signer_id::SignerId;

/// Most signatures that an object may have.
const MAX_SIGNATURES: usize = 16;
/// Largest size of a compressed object without compression, in bytes.
const MAX_UNCOMPRESSED_BYTES: u64 = 128 << 20;
/// The zstd level: most of an object is digests, which do not compress.
const LEVEL: i32 = 3;

/// A kind of signed object.
pub(super) struct SignedFormat {
    /// Purpose of the signatures: one for another purpose is not valid.
    pub(super) purpose: &'static str,
    /// Version of the format. Others are refused.
    pub(super) version: u32,
    /// What a refusal calls the object.
    pub(super) name_in_refusals: &'static str,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedObject<'a> {
    v: u32,
    #[serde(borrow)]
    body: &'a RawValue,
    signatures: Vec<Signature>,
}

impl SignedFormat {
    /// Encodes the object, signed if there is a key.
    pub(super) fn encode(&self, body: &impl Serialize, signer: Option<&SigningKey>) -> Vec<u8> {
        let body = serde_json::value::to_raw_value(body).unwrap_or_else(|_| RawValue::NULL.to_owned());
        let signatures = signer.iter().map(|key| key.sign(self.purpose, body.get().as_bytes())).collect();
        serde_json::to_vec(&SignedObject { v: self.version, body: &body, signatures }).unwrap_or_default()
    }

    /// Encodes the object, signed if there is a key, and compresses it.
    pub(super) fn encode_compressed(&self, body: &impl Serialize, signer: Option<&SigningKey>) -> Vec<u8> {
        zstd::encode_all(self.encode(body, signer).as_slice(), LEVEL).unwrap_or_default()
    }

    /// Like [`Self::decode`], for a compressed object.
    pub(super) fn decode_compressed<T: DeserializeOwned>(&self, bytes: &[u8], trust: &Trust) -> Result<T, Refused> {
        let malformed = |_| Refused::Malformed(self.name_in_refusals);
        let mut object = Vec::new();
        let decoder = zstd::Decoder::new(bytes).map_err(malformed)?;
        decoder.take(MAX_UNCOMPRESSED_BYTES + 1).read_to_end(&mut object).map_err(malformed)?;
        match object.len() as u64 > MAX_UNCOMPRESSED_BYTES {
            true => Err(Refused::TooLarge(self.name_in_refusals)),
            false => self.decode(&object, trust),
        }
    }

    /// The ids of the keys that claim to have signed an object. Nothing is checked.
    pub(super) fn signers(bytes: &[u8]) -> Vec<SignerId> {
        let Ok(object) = serde_json::from_slice::<SignedObject<'_>>(bytes) else { return Vec::new() };
        object.signatures.iter().filter_map(Signature::signer).collect()
    }

    /// Decodes the body, after checking its version and signatures.
    pub(super) fn decode<T: DeserializeOwned>(&self, bytes: &[u8], trust: &Trust) -> Result<T, Refused> {
        let malformed = |_| Refused::Malformed(self.name_in_refusals);
        refused::check_version(bytes, self.version, self.name_in_refusals)?;
        let object: SignedObject<'_> = serde_json::from_slice(bytes).map_err(malformed)?;
        if object.signatures.len() > MAX_SIGNATURES {
            return Err(Refused::TooLarge(self.name_in_refusals));
        }
        trust.check(self.purpose, object.body.get().as_bytes(), &object.signatures)?;
        serde_json::from_str(object.body.get()).map_err(malformed)
    }
}
