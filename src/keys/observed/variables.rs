//! Records the variables that a program or a macro may have read.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Collector, NotStored};
use crate::config::env;
use crate::fsx;
use crate::keys::{Subject, environment, known_variables, script, shells};
use crate::model::{Input, Stored};
use crate::observe::{Seen, What};
use crate::rustc::symbols::{self, EnvironmentWalk};
use crate::rustc::toolchain;

impl Collector<'_> {
    /// Records a program that was run. The lookup key covers the build script itself. kache, which a script calls as a
    /// wrapper, only starts the compiler.
    pub(super) fn ran(&mut self, path: &str, plugin: bool) -> Result<(), NotStored> {
        let is_script = matches!(self.known.subject, Subject::Run(script) if script.program == Path::new(path));
        if is_script {
            return self.environ(path);
        }
        if self.is_kache(path) {
            return Ok(());
        }
        self.told_by_environment(path)?;
        if plugin {
            self.asked_by_c_library(path)?;
        }
        self.file(path, false)
    }

    /// Records the variables that a program can know, unless the observer sees which ones it reads.
    fn told_by_environment(&mut self, path: &str) -> Result<(), NotStored> {
        // The interpreter of a script was run as well.
        if environment::tells_what_it_reads(path) || toolchain::has_shebang(Path::new(path)) {
            return Ok(());
        }
        // `sh` may be any shell. (The program may be gone, like the trial programs of a configure script.)
        let real = fsx::canonicalize(Path::new(path)).ok();
        match real.as_deref().and_then(Path::to_str) {
            Some(real) if known_variables::has_rule(real) => self.known_to(real, &fsx::read(Path::new(real))?),
            // `env` passes the variables on. If it was asked to list them, its arguments show that.
            Some(real) if real.ends_with("/env") => {}
            _ => self.whole_environment(),
        }
        Ok(())
    }

    fn known_to(&mut self, program: &str, code: &[u8]) {
        let known = known_variables::record(program, code, self.known.context);
        self.insert("known variables", program, Input::KnownVariables(Box::new(known)));
    }

    /// Records the variables that the commands of shells and the configuration of cargo name.
    pub(super) fn named(&mut self, seen: &Seen) -> Result<Named, NotStored> {
        let context = self.known.context;
        let asked = shells::asked(seen, context.env);
        // The outputs of a run are searched for times. A search would not find the effect of a time on the outputs of a
        // compile.
        if asked.times && matches!(self.known.subject, Subject::Compile(_)) {
            return Err(NotStored(Stored::Unobserved, "a script that compares times".to_owned()));
        }
        // The trace does not record that tools ask for the working directory, because they hardly use it. Scripts may
        // use it. (The trace does record it for plugins; see `told`.)
        let by_tools = seen.shells.iter().any(|shell| !shell.plugin);
        let place = by_tools && (asked.place || seen.facts.iter().any(|fact| names_place(&fact.what)));
        let mut named = Named { told: Vec::new(), place };
        // A prompt for traces names variables itself.
        let has_prompt = !seen.shells.is_empty() && context.env.get("PS4").is_some();
        let Some(mut names) = asked.names.filter(|_| !has_prompt) else {
            self.whole_environment();
            return Ok(named);
        };
        names.extend(named_for_cargo(seen));
        let by_plugin = seen.shells.iter().any(|shell| shell.plugin);
        for name in names.into_iter().filter(|name| environment::may_be_named(name)) {
            let value = context.env.text(&name);
            if value.is_none() && context.env.get(&name).is_some() {
                // An input cannot hold a value that is not text.
                self.whole_environment();
            }
            self.variable(&name, value.as_deref(), true);
            if by_plugin {
                named.told.push(What::Env(name, value));
            }
        }
        Ok(named)
    }

    fn is_kache(&self, path: &str) -> bool {
        matches!(self.known.subject, Subject::Run(_)) && fsx::current_exe().is_ok_and(|own| own == Path::new(path))
    }

    /// Records a variable if its value came from cargo. A value that a process of the tree set for its children follows
    /// from the inputs of that process.
    pub(super) fn variable(&mut self, name: &str, value: Option<&str>, plugin: bool) {
        let context = self.known.context;
        let inherited = context.env.get(name);
        let is_inherited = inherited.as_deref().map(std::ffi::OsStr::as_encoded_bytes) == value.map(str::as_bytes);
        let is_known = self.known_variables.contains(name)
            || matches!(self.known.subject, Subject::Run(_)) && script::needs_no_input(name, context.env);
        if is_inherited && environment::counts(name, plugin) && !is_known {
            let value = value.map(|value| context.roots.tokenise(value));
            self.insert("env", name, Input::Env(name.to_owned(), value));
        }
    }

    /// Records the search path of the dynamic linker, because the observer does not see how it finds the libraries of a
    /// child.
    pub(super) fn search_path(&mut self) {
        let context = self.known.context;
        let value = context.env.text(env::LD_LIBRARY_PATH).map(|value| context.roots.tokenise(&value));
        self.insert("env", env::LD_LIBRARY_PATH, Input::Env(env::LD_LIBRARY_PATH.to_owned(), value));
    }

    fn whole_environment(&mut self) {
        let digest = environment::digest(self.known.context);
        self.insert("environment", "", Input::Environment(digest));
    }

    /// Handles a plugin or script that refers to `environ`. It reads all variables or starts programs, and its symbols
    /// show which.
    pub(super) fn environ(&mut self, library: &str) -> Result<(), NotStored> {
        let code = fsx::read(Path::new(library))?;
        match (symbols::walk_of_environment(&code), self.known.subject) {
            (EnvironmentWalk::None, _) => {}
            (EnvironmentWalk::OfCc, Subject::Run(_)) => self.known_to(library, &code),
            (EnvironmentWalk::OfCc | EnvironmentWalk::Any, _) => self.whole_environment(),
        }
        Ok(())
    }
}

/// The result of [`Collector::named`].
pub(super) struct Named {
    /// The variables that the shells of plugins named.
    pub(super) told: Vec<What>,
    /// Whether the result may contain the name of the working directory.
    pub(super) place: bool,
}

/// Whether a program was run that prints paths without links.
fn names_place(what: &What) -> bool {
    const NAMES: [&str; 6] = ["pwd", "realpath", "readlink", "find", "git", "rustup"];
    matches!(what, What::Program(path) if path.rsplit('/').next().is_some_and(|name| NAMES.contains(&name)))
}

/// Returns the words in cargo's configuration files that may be names of variables (`[env]`, credential providers).
fn named_for_cargo(seen: &Seen) -> BTreeSet<String> {
    let runs_cargo =
        seen.facts.iter().any(|fact| matches!(&fact.what, What::Program(path) if path.ends_with("/cargo")));
    let read = seen.facts.iter().filter_map(|fact| match &fact.what {
        What::Read(path) if runs_cargo => Some(Path::new(path)),
        _ => None,
    });
    read.flat_map(names_in_configuration).collect()
}

/// Returns the words in a file that may be names of variables. Only `[env]` in `config.toml` names variables in lower
/// case, too; `--config` may name any other file.
fn names_in_configuration(path: &Path) -> Vec<String> {
    let is_own = path.ends_with("config.toml") || path.ends_with(".cargo/config");
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    let text = if is_own || is_toml { fsx::read(path).unwrap_or_default() } else { Vec::new() };
    let words = text.split(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
    let is_name = |word: &&[u8]| word.len() > 1 && (is_own || word.iter().any(u8::is_ascii_uppercase));
    words.filter(is_name).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}
