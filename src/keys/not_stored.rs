//! Why a result is not stored.

use std::path::Path;

use crate::fsx;
use crate::model::Stored;

/// Why a result is not stored, and the detail that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotStored(pub Stored, pub String);

impl NotStored {
    pub(super) fn changed(path: &Path) -> Self {
        Self(Stored::InputChanged, path.display().to_string())
    }
}

impl From<fsx::Error> for NotStored {
    fn from(error: fsx::Error) -> Self {
        Self(Stored::StoreFailed, error.to_string())
    }
}
