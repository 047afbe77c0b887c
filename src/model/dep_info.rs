//! A dep-info file as data.

use serde::{Deserialize, Serialize};

/// What rustc writes into a `.d` file. `T` is [`String`] as read, or [`super::TokenString`] as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepInfo<T> {
    /// The outputs, each of which depends on all files.
    pub targets: Vec<T>,
    /// The files that were read.
    pub files: Vec<T>,
    /// The variables that `env!` and `option_env!` read; `None` is unset.
    pub env: Vec<(String, Option<T>)>,
}

impl<T> DepInfo<T> {
    /// The same with every path and value put through `f`; `None` as soon as `f` gives it.
    pub fn try_map<U>(&self, mut f: impl FnMut(&T) -> Option<U>) -> Option<DepInfo<U>> {
        let targets = self.targets.iter().map(&mut f).collect::<Option<_>>()?;
        let files = self.files.iter().map(&mut f).collect::<Option<_>>()?;
        let mut env = Vec::with_capacity(self.env.len());
        for (name, value) in &self.env {
            let value = match value {
                Some(value) => Some(f(value)?),
                None => None,
            };
            env.push((name.clone(), value));
        }
        Some(DepInfo { targets, files, env })
    }
}
