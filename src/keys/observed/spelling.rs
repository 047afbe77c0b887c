//! The spelling of observed paths in inputs.

use std::path::Path;

use super::Collector;
use crate::keys::{Subject, dots};
use crate::observe::What;

impl Collector<'_> {
    /// Returns `what` with its path folded, if the path goes up from a directory in `OUT_DIR`.
    pub(super) fn folded(&self, what: &What) -> Option<What> {
        let Subject::Run(script) = self.known.subject else { return None };
        let fold = |path: &str| dots::folded(Path::new(path), &script.out_dir)?.into_os_string().into_string().ok();
        match what {
            What::Read(path) => fold(path).map(What::Read),
            What::Stat(path, found) => fold(path).map(|path| What::Stat(path, *found)),
            What::LinkStat(path, found) => fold(path).map(|path| What::LinkStat(path, *found)),
            What::List(path) => fold(path).map(What::List),
            _ => None,
        }
    }
}
