//! Signatures.

/// Why a text is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// Not the form of a secret key.
    #[error("not a signing key: it should be kache-sk1: and 43 characters, as `kache keygen` prints it")]
    Secret,
    /// Not the form of a public key.
    #[error("not a public key: it should be kache-pk1: and 43 characters, as `kache keygen` prints it")]
    Public,
    /// The public half was given where the secret one is needed.
    #[error("this is a public key; the signing key begins with kache-sk1:")]
    PublicForSecret,
    /// The secret half was given where the public one is needed.
    #[error("this is a secret key; a trusted key begins with kache-pk1: (make a new pair, this one was shown)")]
    SecretForPublic,
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    Random,
}

/// What manifests are signed with.
#[derive(Debug)]
pub struct SigningKey {}

/// Whose signatures are believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey(pub(super) [u8; 32]);

/// Whose manifests are believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trust {
    /// Whoever can write to the bucket.
    Anyone,
    /// Only who holds one of these keys.
    Keys(Vec<PublicKey>),
}

impl SigningKey {
    /// Reads `kache-sk1:...`.
    pub fn parse(_text: &str) -> Result<Self, KeyError> {
        todo!()
    }
}

impl Trust {
    /// The trust that the setting `trusted_keys` means; empty: anyone.
    pub fn of(_trusted_keys: &[String]) -> Result<Self, KeyError> {
        todo!()
    }
}
