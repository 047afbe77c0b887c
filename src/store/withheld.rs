//! Which entries must not leave this machine, because a secret may be in them.
//!
//! The compile or run of an entry may have read a variable whose value looks secret: `env!("API_KEY")`. Such an entry
//! is withheld, and so is all that was made from it: a program that links the library, a compile that a build script
//! told what to do. Whatever else contains one of the values is found by search, when it is packed.
//!
//! Everything is computed from the entries and manifests of the store ([`Entry::origin`]), whenever entries are
//! about to leave: a dependent may be stored before the library that it was made from. The ledger
//! (`super::secret_ledger`) tells of what the store does not have any more, or never had.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use super::entries::Origin;
use super::files::{digest_in_name, each_file};
use super::{Entry, Message, Store};
use crate::fsx;
use crate::model::secret::{Carried, is_secret, is_token};
use crate::model::{Digest, EntryKey, Input, InputSet, LookupKey};

/// Shorter values occur by chance.
const MIN_SEARCHED_BYTES: usize = 8;

/// Why an entry must not leave this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Its compile or run read this variable.
    #[error("it read {0}, which looks secret")]
    Read(String),
    /// It was made from the entry of a crate that read a variable.
    #[error("it was made from {crate_name}, which read {variable}, which looks secret")]
    MadeFrom {
        /// The crate that read the variable.
        crate_name: String,
        /// The variable.
        variable: String,
    },
    /// An earlier version of kache made it, and did not record from what. The store knows of secrets.
    #[error("it was made by a kache that did not record what it was made from")]
    NotRecorded,
    /// An output, a message or an input contains the value of this variable.
    #[error("it contains the value of {0}, which looks secret")]
    Holds(String),
}

/// A value to search for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretValue {
    /// The name of its variable.
    pub variable: String,
    /// The value.
    pub value: String,
}

/// The entries that must not leave this machine, and the values that must not.
#[derive(Debug, Default)]
pub struct Withheld {
    reasons: HashMap<EntryKey, Reason>,
    values: Vec<SecretValue>,
}

impl Withheld {
    /// Finds them in the store. `variables` are those of this process, among which some may look secret, too.
    pub fn of(store: &Store, variables: Vec<(String, String)>) -> fsx::Result<Self> {
        let (mut made, mut read, mut values) = (Vec::new(), HashMap::new(), Vec::new());
        each_file(&store.layout().shards("entries"), |path, _| {
            let key = digest_in_name(path).map(EntryKey);
            let parsed = key.and_then(|key| Some((key, Entry::parse(key, &fsx::read(path).ok()?)?)));
            let Some((key, entry)) = parsed else { return };
            let variable = entry.origin.as_ref().and_then(|origin| origin.read.first());
            read.extend(variable.map(|variable| (key, variable.clone())));
            made.push(Made::new(key, entry));
        })?;
        each_file(&store.layout().shards("manifests"), |path, _| {
            let Some(lookup) = digest_in_name(path).map(LookupKey) else { return };
            let Ok(manifest) = store.manifest(lookup) else { return };
            for record in manifest.records() {
                for (variable, value) in secrets(&record.inputs) {
                    values.push((variable.to_owned(), value.to_owned()));
                    read.insert(record.key, variable.to_owned());
                }
            }
        })?;
        let carriers = store.carriers();
        let own = variables.into_iter().filter(|(name, value)| is_secret(name, value));
        let values = searched(values.into_iter().chain(own).collect());
        Ok(Self { reasons: spread(&made, &read, &carriers), values })
    }

    /// Returns why an entry must not leave. `None`: it may, as far as its outputs do not contain a value.
    pub fn reason(&self, key: EntryKey) -> Option<&Reason> {
        self.reasons.get(&key)
    }

    /// Like [`Self::reason`], for an entry that may have been stored later: its own inputs count, too.
    pub fn reason_with(&self, key: EntryKey, inputs: &[Input]) -> Option<Reason> {
        let read = || secrets(inputs).next().map(|(variable, _)| Reason::Read(variable.to_owned()));
        self.reason(key).cloned().or_else(read)
    }

    /// Returns the variable whose value a text contains.
    pub fn value_in(&self, text: &[u8]) -> Option<&str> {
        let is_in = |secret: &&SecretValue| memchr::memmem::find(text, secret.value.as_bytes()).is_some();
        self.values.iter().find(is_in).map(|secret| secret.variable.as_str())
    }

    /// Whether there is any value to search for.
    pub fn searches(&self) -> bool {
        !self.values.is_empty()
    }

    /// Begins a search in bytes that come in pieces.
    pub fn search(&self) -> Search<'_> {
        let longest = self.values.iter().map(|secret| secret.value.len()).max().unwrap_or(0);
        Search { withheld: self, longest, last: Vec::new(), found: None }
    }
}

impl From<Carried> for Reason {
    fn from(Carried { crate_name, variable }: Carried) -> Self {
        Self::MadeFrom { crate_name, variable }
    }
}

impl Store {
    /// Publishes an entry that was made here, and its inputs. Its blobs must already be in the store. If it may hold a
    /// secret, the store remembers that for whatever is made from it.
    pub fn put_own_entry(&self, lookup: LookupKey, set: &InputSet, entry: &Entry) -> fsx::Result<EntryKey> {
        let key = set.entry_key(lookup);
        let mut entry = entry.clone();
        if let Some(origin) = &mut entry.origin {
            let own = secret_of(&set.inputs).or(origin.read.first().map(String::as_str));
            let own = own.map(|variable| Carried { crate_name: entry.crate_name.clone(), variable: variable.into() });
            if own.is_none() {
                let known = self.carriers();
                origin.carries = origin.made_from.iter().find_map(|digest| known.get(digest)).cloned();
            }
            if let Some(carried) = own.or_else(|| origin.carries.clone()) {
                self.add_carriers(&carriers_in(&entry), &carried)?;
            }
        }
        self.put_entry(key, &entry)?;
        self.put_set(lookup, set)?;
        Ok(key)
    }
}

/// Searches bytes that come in pieces for values.
#[derive(Debug)]
pub struct Search<'a> {
    withheld: &'a Withheld,
    longest: usize,
    /// The end of the pieces so far: the beginning of a value may be in it.
    last: Vec<u8>,
    found: Option<&'a str>,
}

impl<'a> Search<'a> {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        if self.longest == 0 || self.found.is_some() {
            return;
        }
        self.last.extend(&piece[..piece.len().min(self.longest)]);
        self.found = self.withheld.value_in(&self.last).or_else(|| self.withheld.value_in(piece));
        let end = &piece[piece.len().saturating_sub(self.longest)..];
        self.last.extend(&end[end.len().saturating_sub(piece.len().saturating_sub(self.longest))..]);
        self.last.drain(..self.last.len().saturating_sub(self.longest));
    }

    /// Returns the variable whose value was found.
    pub fn found(&self) -> Option<&'a str> {
        self.found
    }
}

/// Returns the digest under which an entry refers to what the build script of its package printed. Scripts of two
/// packages often print the same.
pub fn printed_by(package: &str, printed: &[Message]) -> Digest {
    Digest::of(&serde_json::to_vec(&(package, printed)).unwrap_or_default())
}

/// The digests by which others refer to what an entry made: its outputs, and what a build script printed or told.
pub(super) fn carriers_in(entry: &Entry) -> Vec<Digest> {
    // Empty files are all the same.
    let files = entry.outputs.iter().filter(|output| output.size > 0).map(|output| output.blob.0);
    let printed = entry.tree.is_some().then(|| printed_by(&entry.package, &entry.stdout));
    let told = entry.origin.iter().flat_map(|origin| origin.told.iter().copied());
    files.chain(printed).chain(told).collect()
}

/// The first variable among inputs whose value looks secret.
pub fn secret_of(inputs: &[Input]) -> Option<&str> {
    secrets(inputs).next().map(|(variable, _)| variable)
}

/// An entry, as the digests of its outputs and of everything that it was made from.
struct Made {
    key: EntryKey,
    crate_name: String,
    is: Vec<Digest>,
    from: Vec<Digest>,
    /// The secret that it carried when it was stored.
    carries: Option<Carried>,
    /// Whether kache recorded what it was made from, or another machine did.
    is_recorded: bool,
}

impl Made {
    fn new(key: EntryKey, entry: Entry) -> Self {
        let is = carriers_in(&entry);
        let is_recorded = entry.pulled || entry.origin.is_some();
        let Origin { made_from, carries, .. } = entry.origin.unwrap_or_default();
        Self { key, crate_name: entry.crate_name, is, from: made_from, carries, is_recorded }
    }
}

/// Spreads from the entries that `read` a variable, and from everything else that carries one, to all that were made
/// from them, at any distance.
fn spread(
    made: &[Made],
    read: &HashMap<EntryKey, String>,
    carriers: &HashMap<Digest, Carried>,
) -> HashMap<EntryKey, Reason> {
    let mut made_from: HashMap<Digest, Vec<&Made>> = HashMap::new();
    for entry in made {
        entry.from.iter().for_each(|digest| made_from.entry(*digest).or_default().push(entry));
    }
    let mut reasons = HashMap::new();
    // Digests that carry a secret, and that nothing was asked for yet.
    let mut open: Vec<(Digest, Carried)> = Vec::new();
    for origin in made {
        let Some(variable) = read.get(&origin.key) else { continue };
        reasons.insert(origin.key, Reason::Read(variable.clone()));
        let carried = Carried { crate_name: origin.crate_name.clone(), variable: variable.clone() };
        open.extend(origin.is.iter().map(|digest| (*digest, carried.clone())));
    }
    for entry in made {
        let Some(carried) = entry.carries.clone().filter(|_| !reasons.contains_key(&entry.key)) else { continue };
        reasons.insert(entry.key, carried.clone().into());
        open.extend(entry.is.iter().map(|digest| (*digest, carried.clone())));
    }
    open.extend(carriers.iter().map(|(digest, carried)| (*digest, carried.clone())));
    while let Some((digest, carried)) = open.pop() {
        for dependent in made_from.get(&digest).into_iter().flatten() {
            if let Slot::Vacant(slot) = reasons.entry(dependent.key) {
                slot.insert(carried.clone().into());
                open.extend(dependent.is.iter().map(|digest| (*digest, carried.clone())));
            }
        }
    }
    // Nobody knows what these were made from. Without any secret, that does not matter.
    if !reasons.is_empty() || !carriers.is_empty() {
        for entry in made.iter().filter(|entry| !entry.is_recorded) {
            reasons.entry(entry.key).or_insert(Reason::NotRecorded);
        }
    }
    reasons
}

/// The variables among inputs whose values look secret.
fn secrets(inputs: &[Input]) -> impl Iterator<Item = (&str, &str)> {
    inputs.iter().filter_map(|input| match input {
        Input::Env(name, Some(value)) => {
            Some((name.as_str(), value.as_str())).filter(|(name, value)| !value.is_empty() && is_secret(name, value))
        }
        _ => None,
    })
}

/// The values to search for, each once in each of its spellings: as it is, as inputs spell it, and in JSON.
fn searched(read: Vec<(String, String)>) -> Vec<SecretValue> {
    let mut values = Vec::new();
    for (variable, value) in read.into_iter().filter(|(_, value)| is_token(value)) {
        let in_json = serde_json::to_string(&value).unwrap_or_default().trim_matches('"').to_owned();
        let as_it_is = value.replace("{{", "{").replace("}}", "}");
        values.extend([as_it_is, in_json, value].map(|spelled| (variable.clone(), spelled)));
    }
    values.retain(|(_, value)| value.len() >= MIN_SEARCHED_BYTES);
    values.sort();
    values.dedup_by(|one, other| one.1 == other.1);
    values.into_iter().map(|(variable, value)| SecretValue { variable, value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, is: &[&str], from: &[&str]) -> Made {
        let digests = |names: &[&str]| names.iter().map(|name| Digest::of(name.as_bytes())).collect();
        let (is, from) = (digests(is), digests(from));
        Made { key: key(name), crate_name: name.to_owned(), is, from, carries: None, is_recorded: true }
    }

    fn key(name: &str) -> EntryKey {
        EntryKey(Digest::of(name.as_bytes()))
    }

    #[test]
    fn a_secret_spreads_to_all_that_was_made_from_it_in_any_order() {
        let all = [
            made("app", &["app"], &["rlib", "other"]),
            made("between", &["rlib"], &["metadata"]),
            made("other", &["other"], &[]),
            made("reader", &["metadata", "library"], &[]),
            made("round", &["round"], &["round"]),
        ];
        let reasons = spread(&all, &HashMap::from([(key("reader"), "API_KEY".to_owned())]), &HashMap::new());
        let made_from = Reason::MadeFrom { crate_name: "reader".into(), variable: "API_KEY".into() };
        assert_eq!(reasons.get(&key("reader")), Some(&Reason::Read("API_KEY".into())));
        assert_eq!((reasons.get(&key("between")), reasons.get(&key("app"))), (Some(&made_from), Some(&made_from)));
        assert_eq!(reasons.len(), 3);
    }

    #[test]
    fn a_secret_spreads_from_what_the_store_does_not_have() {
        let old = Made { is_recorded: false, ..made("old", &["old"], &[]) };
        let all = [made("app", &["app"], &["rlib"]), made("other", &["other"], &[]), old];
        let carried = Carried { crate_name: "gone".into(), variable: "API_KEY".into() };
        let carriers = HashMap::from([(Digest::of(b"rlib"), carried.clone())]);
        let reasons = spread(&all, &HashMap::new(), &carriers);
        assert_eq!(reasons.get(&key("app")), Some(&Reason::from(carried.clone())));
        assert_eq!((reasons.get(&key("old")), reasons.len()), (Some(&Reason::NotRecorded), 2));
        assert_eq!(spread(&all, &HashMap::new(), &HashMap::new()), HashMap::new());
        // The ledger is bounded, but the entry itself knows.
        let all =
            [Made { carries: Some(carried), ..made("lib", &["lib"], &["lost"]) }, made("app", &["app"], &["lib"])];
        assert_eq!(spread(&all, &HashMap::new(), &HashMap::new()).len(), 2);
    }

    #[test]
    fn a_value_is_found_wherever_the_pieces_end() {
        let values = searched(vec![("A".into(), "hunter2-hunter2".into()), ("B".into(), "short".into())]);
        let withheld = Withheld { reasons: HashMap::new(), values };
        let text = b"some text, then hunter2-hunter2, and more";
        for size in 1..=text.len() {
            let mut search = withheld.search();
            text.chunks(size).for_each(|piece| search.push(piece));
            assert_eq!(search.found(), Some("A"), "pieces of {size}");
            let mut search = withheld.search();
            b"some text, then hunter2+hunter2, and more".chunks(size).for_each(|piece| search.push(piece));
            assert_eq!(search.found(), None, "pieces of {size}");
        }
        assert_eq!(withheld.value_in(b"short"), None);
    }
}
