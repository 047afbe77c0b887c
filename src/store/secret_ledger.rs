//! Remembers what may carry a secret on, for as long as something may be made from it.
//!
//! An entry that read a secret variable may be evicted, and some results are never stored. But what they made lies in
//! target directories, and other results are made from it. So the ledger holds the digests of such outputs, and of what
//! such build scripts printed, with the variable. It never holds a value.
//!
//! Version 1: `secrets.jsonl`, one line for each digest, appended with one write. A ledger that has grown too large
//! becomes `secrets.old.jsonl` and replaces the earlier one, so the newest lines are always there.

use std::collections::HashMap;
use std::io::Write;

use super::Store;
use crate::fsx;
use crate::model::Digest;
use crate::model::secret::Carried;

/// Some 8000 lines. Only builds with secrets write any.
const MAX_BYTES: u64 = 1 << 20;

impl Store {
    /// Returns everything that may carry a secret. Skips lines that cannot be read.
    pub fn carriers(&self) -> HashMap<Digest, Carried> {
        let mut carriers = HashMap::new();
        for path in [self.layout.old_secret_ledger(), self.layout.secret_ledger()] {
            let text = fsx::read(&path).unwrap_or_default();
            let lines = text.split(|byte| *byte == b'\n');
            let parsed = lines.filter_map(|line| serde_json::from_slice::<(String, Carried)>(line).ok());
            carriers.extend(parsed.filter_map(|(digest, carried)| Some((digest.parse().ok()?, carried))));
        }
        carriers
    }

    /// Remembers that these may carry a secret.
    pub fn add_carriers(&self, digests: &[Digest], carried: &Carried) -> fsx::Result<()> {
        let known = self.carriers();
        let mut lines = Vec::new();
        for digest in digests.iter().filter(|digest| !known.contains_key(digest)) {
            lines.extend(serde_json::to_vec(&(digest.hex(), carried)).unwrap_or_default());
            lines.push(b'\n');
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.mark_as_cache()?;
        fsx::create_dir_all(self.layout.root())?;
        let path = self.layout.secret_ledger();
        let mut file = fsx::open_append(&path)?;
        let failed = |error| fsx::Error::new("write", &path, error);
        file.write_all(&lines).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > MAX_BYTES {
            fsx::rename(&path, &self.layout.old_secret_ledger())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_stay_when_the_ledger_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let carried = |variable: &str| Carried { crate_name: "a".into(), variable: variable.into() };
        let digest = |text: &str| Digest::of(text.as_bytes());
        assert_eq!(store.carriers(), HashMap::new());
        store.add_carriers(&[digest("first")], &carried("A B\n")).unwrap();
        fsx::open_append(&store.layout.secret_ledger()).unwrap().write_all(b"{torn\n").unwrap();
        assert_eq!(store.carriers(), HashMap::from([(digest("first"), carried("A B\n"))]));
        let filler = carried(&"X".repeat(1 << 19));
        let mut sizes = Vec::new();
        for round in 0..6 {
            store.add_carriers(&[digest(&round.to_string())], &filler).unwrap();
            sizes.push(store.carriers().len());
        }
        assert!(store.carriers().contains_key(&digest("5")) && !store.carriers().contains_key(&digest("first")));
        assert!(sizes.iter().all(|size| *size <= 6), "{sizes:?}");
    }
}
