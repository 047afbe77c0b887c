//! The content of a dep-info file, as data.

use serde::{Deserialize, Serialize};

/// The content of a `.d` file. `T` is [`String`] for a file as read, or [`super::TokenString`] for a stored one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepInfo<T> {
    /// The outputs. Each of them depends on all files.
    pub targets: Vec<T>,
    /// The files that rustc read.
    pub files: Vec<T>,
    /// The variables that `env!` and `option_env!` read. `None` means unset.
    pub env: Vec<(String, Option<T>)>,
}

impl<T> DepInfo<T> {
    /// Applies `f` to every path and value. `None` as soon as `f` returns `None`.
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
