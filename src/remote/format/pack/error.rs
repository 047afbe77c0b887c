//! Why an import fails.

use std::io;

use crate::fsx;
use crate::remote::format::refused::Refused;

/// Why an import published nothing.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The pack does not match its manifest or the format.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The pack could not be read.
    #[error("cannot read the pack: {0}")]
    Read(#[source] io::Error),
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] fsx::Error),
}
