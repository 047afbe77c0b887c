//! Signatures of manifests: ed25519, and the text forms of its keys.
//!
//! Version 1: `kache-sk1:` and the seed, `kache-pk1:` and the public key, each 32 bytes as unpadded base64url. The
//! signed message is a line with the purpose, then the bytes, so that a signature for one purpose is not valid for
//! another. Without trusted keys kache does not check signatures: it trusts everyone who can write to the bucket.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::refused::Refused;
use super::signer_id::SignerId;

const SECRET_PREFIX: &str = "kache-sk1:";
const PUBLIC_PREFIX: &str = "kache-pk1:";

/// Why a text is not a key. Never contains the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The text does not have the form of a secret key.
    #[error("not a signing key: one is kache-sk1: and 43 characters, as `kache keygen` prints it")]
    Secret,
    /// The text does not have the form of a public key.
    #[error("not a trusted key: one is kache-pk1: and 43 characters, as `kache keygen` prints it")]
    Public,
    /// A public key was given where the secret one is needed.
    #[error("this is a public key; a signing key begins with kache-sk1:")]
    PublicForSecret,
    /// A secret key was given where the public one is needed.
    #[error("this is a secret key; a trusted key begins with kache-pk1:")]
    SecretForPublic,
    /// The name before a trusted key has other characters than names may have.
    #[error("not the name of a key: letters, digits, \"-\", \"_\" and \".\" before the \"=\"")]
    Name,
    /// The system did not provide random bytes.
    #[error("the system gave no randomness")]
    Random,
}

/// The key that signs manifests.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// A key that verifies signatures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey([u8; 32]);

/// A key that is trusted, and the name that the settings give it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedKey {
    /// The name, for people; empty if there is none.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

/// Whose manifests to trust.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trust {
    /// Trust everyone who can write to the bucket; signatures are not checked.
    Anyone,
    /// Trust only the holders of these keys.
    Keys(Vec<TrustedKey>),
}

/// A signature and the key that it claims to be from, as texts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signature {
    key: String,
    signature: String,
}

impl Signature {
    /// The id of the key that it claims to be from. `None`: that is no key.
    pub(super) fn signer(&self) -> Option<SignerId> {
        self.key.parse::<PublicKey>().ok().map(|key| key.id())
    }
}

impl SigningKey {
    /// Generates a key and returns it with its text form.
    pub fn generate() -> Result<(Self, String), KeyError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| KeyError::Random)?;
        let text = format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(seed));
        Self::parse(&text).map(|key| (key, text))
    }

    /// Parses `kache-sk1:...`. Ignores white space around it, since the text may come from a file.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with(PUBLIC_PREFIX) {
            return Err(KeyError::PublicForSecret);
        }
        let seed = decode::<32>(text.strip_prefix(SECRET_PREFIX).ok_or(KeyError::Secret)?).ok_or(KeyError::Secret)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Secret)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Secret)?;
        Ok(Self { pair, public: PublicKey(public) })
    }

    /// Whether a text begins like a signing key.
    pub fn is_secret_key(text: &str) -> bool {
        text.trim_start().starts_with(SECRET_PREFIX)
    }

    /// The public half of the key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The id of the key, as object names contain it.
    pub fn id(&self) -> SignerId {
        self.public.id()
    }

    /// Signs `bytes` for `purpose`.
    pub(super) fn sign(&self, purpose: &str, bytes: &[u8]) -> Signature {
        let signature = self.pair.sign(&message(purpose, bytes));
        Signature { key: self.public.to_string(), signature: URL_SAFE_NO_PAD.encode(signature) }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public)
    }
}

impl PublicKey {
    /// The id of the key, as object names contain it.
    pub fn id(&self) -> SignerId {
        SignerId::of_key(&self.0)
    }
}

impl FromStr for TrustedKey {
    type Err = KeyError;

    /// Parses `kache-pk1:...` or `name=kache-pk1:...`.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, key) = text.split_once('=').unwrap_or(("", text));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.contains('=') && (name.trim().is_empty() || !name.trim().chars().all(is_plain)) {
            return Err(KeyError::Name);
        }
        Ok(Self { name: name.trim().to_owned(), key: key.parse()? })
    }
}

impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { self.key.fmt(f) } else { f.write_str(&self.name) }
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with(SECRET_PREFIX) {
            return Err(KeyError::SecretForPublic);
        }
        text.strip_prefix(PUBLIC_PREFIX).and_then(decode).map(Self).ok_or(KeyError::Public)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Trust {
    /// Parses the setting `trusted_keys`; an empty one trusts anyone. One bad key is an error: skipping it could leave
    /// no keys.
    /// A machine that signs trusts its own key, too. Without trusted keys it trusts no other one, because it would sign
    /// results that it built from entries of anyone.
    pub fn of(trusted_keys: &[String], signer: Option<&SigningKey>) -> Result<Self, KeyError> {
        if trusted_keys.is_empty() && signer.is_none() {
            return Ok(Self::Anyone);
        }
        let mut keys: Vec<TrustedKey> = trusted_keys.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
        let own = signer.map(SigningKey::public).filter(|own| keys.iter().all(|trusted| trusted.key != *own));
        keys.extend(own.map(|key| TrustedKey { name: String::new(), key }));
        Ok(Self::Keys(keys))
    }

    /// Trusts only the holders of these keys.
    pub fn of_keys(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self::Keys(keys.into_iter().map(|key| TrustedKey { name: String::new(), key }).collect())
    }

    /// Whether an object of this signer may be trusted, as far as its name shows.
    pub fn may_trust(&self, signer: SignerId) -> bool {
        match self {
            Self::Anyone => true,
            Self::Keys(keys) => keys.iter().any(|trusted| trusted.key.id() == signer),
        }
    }

    /// How to name this signer to people: the name of the key, or its id.
    pub fn name_of(&self, signer: SignerId) -> String {
        let named = |trusted: &&TrustedKey| trusted.key.id() == signer && !trusted.name.is_empty();
        match self {
            Self::Keys(keys) => keys.iter().find(named).map_or_else(|| signer.to_string(), |key| key.name.clone()),
            Self::Anyone => signer.to_string(),
        }
    }

    /// The same trust without these keys. If none is left, nobody is trusted.
    #[must_use]
    pub fn without(self, revoked: &[PublicKey]) -> Self {
        match self {
            Self::Anyone => Self::Anyone,
            Self::Keys(mut keys) => {
                keys.retain(|trusted| !revoked.contains(&trusted.key));
                Self::Keys(keys)
            }
        }
    }

    /// Checks that a trusted key signed `bytes` for `purpose`.
    pub(super) fn check(&self, purpose: &str, bytes: &[u8], signatures: &[Signature]) -> Result<(), Refused> {
        let Self::Keys(trusted) = self else { return Ok(()) };
        let mut refused = if signatures.is_empty() { Refused::Unsigned } else { Refused::Untrusted };
        for signature in signatures {
            let is_it = |trusted: &&TrustedKey| trusted.key.to_string() == signature.key;
            let Some(TrustedKey { key, .. }) = trusted.iter().find(is_it) else { continue };
            let holds = decode::<64>(&signature.signature).is_some_and(|signature| {
                UnparsedPublicKey::new(&ED25519, key.0).verify(&message(purpose, bytes), &signature).is_ok()
            });
            if holds {
                return Ok(());
            }
            refused = Refused::BadSignature;
        }
        Err(refused)
    }
}

fn message(purpose: &str, bytes: &[u8]) -> Vec<u8> {
    [b"kache ", purpose.as_bytes(), b"\n", bytes].concat()
}

/// Decodes a text. Each value has one spelling: no padding, and no spare bits set.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    // An overlong text is not worth decoding.
    let text = Some(text).filter(|text| text.len() == (N * 4).div_ceil(3))?;
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::parse(&format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode([seed; 32]))).unwrap()
    }

    /// RFC 8032, section 7.1, test 1: other implementations read the texts of keys in the same way.
    #[test]
    fn keys_are_those_of_the_standard() {
        let seed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
        let public = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let key = SigningKey::parse(&format!(" {SECRET_PREFIX}{seed}\n")).unwrap();
        assert_eq!(key.public().to_string(), format!("{PUBLIC_PREFIX}{public}"));
        assert!(!format!("{key:?}").contains(seed));
    }

    #[test]
    fn keys_round_trip_and_differ() {
        let (one, text) = SigningKey::generate().unwrap();
        let (other, _) = SigningKey::generate().unwrap();
        assert_eq!(SigningKey::parse(&text).unwrap().public(), one.public());
        assert_ne!(one.public(), other.public());
        assert_eq!(one.public().to_string().parse(), Ok(one.public()));
    }

    #[test]
    fn what_is_no_key_is_refused_with_a_hint() {
        let (key, secret) = SigningKey::generate().unwrap();
        let public = key.public().to_string();
        assert_eq!(SigningKey::parse(&public).unwrap_err(), KeyError::PublicForSecret);
        assert_eq!(secret.parse::<PublicKey>(), Err(KeyError::SecretForPublic));
        for bad in ["", "kache-sk1:", &secret[..secret.len() - 1], &format!("{secret}A"), &format!("{secret}=")] {
            assert_eq!(SigningKey::parse(bad).unwrap_err(), KeyError::Secret);
        }
        assert_eq!("kache-pk1:x".parse::<PublicKey>(), Err(KeyError::Public));
        assert_eq!(Trust::of(&[], None), Ok(Trust::Anyone));
        assert_eq!(Trust::of(&[], Some(&key)), Ok(Trust::of_keys([key.public()])));
        assert_eq!(Trust::of(&[public.clone(), "x".into()], None), Err(KeyError::Public), "not passed over");
        assert_eq!(Trust::of(&[public], None), Ok(Trust::of_keys([key.public()])));
    }

    #[test]
    fn keys_may_have_names_and_can_be_revoked() {
        let (one, other) = (key(1), key(2));
        let named = format!("ci={}", one.public());
        let trust = Trust::of(&[named.clone(), other.public().to_string()], None).unwrap();
        assert_eq!(trust.name_of(one.id()), "ci");
        assert_eq!(trust.name_of(other.id()), other.id().to_string());
        assert!(trust.may_trust(one.id()) && !trust.may_trust(key(3).id()) && !trust.may_trust(SignerId::NONE));
        assert!(Trust::Anyone.may_trust(SignerId::NONE));
        for bad in ["=kache-pk1:x", "a b=kache-pk1:x", "ci="] {
            assert!(Trust::of(&[bad.to_owned()], None).is_err(), "{bad}");
        }
        let rest = trust.without(&[one.public()]);
        let signed = one.sign("p", b"bytes");
        assert_eq!(rest.check("p", b"bytes", std::slice::from_ref(&signed)), Err(Refused::Untrusted));
        assert_eq!(Trust::of(&[named], None).unwrap().check("p", b"bytes", std::slice::from_ref(&signed)), Ok(()));
        let nobody = rest.without(&[other.public()]);
        assert_eq!(nobody.check("p", b"bytes", &[signed]), Err(Refused::Untrusted), "and not anyone");
    }

    #[test]
    fn only_a_trusted_key_s_own_signature_of_these_bytes_holds() {
        let (ours, theirs) = (key(1), key(2));
        let trust = Trust::of_keys([ours.public(), key(3).public()]);
        let good = ours.sign("p", b"bytes");
        assert_eq!(trust.check("p", b"bytes", &[theirs.sign("p", b"bytes"), good.clone()]), Ok(()));
        assert_eq!(trust.check("p", b"other", std::slice::from_ref(&good)), Err(Refused::BadSignature));
        assert_eq!(trust.check("q", b"bytes", std::slice::from_ref(&good)), Err(Refused::BadSignature));
        assert_eq!(trust.check("p", b"bytes", &[]), Err(Refused::Unsigned));
        assert_eq!(trust.check("p", b"bytes", &[theirs.sign("p", b"bytes")]), Err(Refused::Untrusted));
        let forged = Signature { key: good.key, ..theirs.sign("p", b"bytes") };
        assert_eq!(trust.check("p", b"bytes", std::slice::from_ref(&forged)), Err(Refused::BadSignature));
        assert_eq!(Trust::Anyone.check("p", b"bytes", &[forged]), Ok(()));
        assert_eq!(Trust::Keys(vec![]).check("p", b"bytes", &[ours.sign("p", b"bytes")]), Err(Refused::Untrusted));
    }
}
