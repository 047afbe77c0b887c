//! Records the variables that a program or a macro may have read.

use std::collections::BTreeSet;
use std::path::Path;

use super::InputCollector;
use crate::config::env;
use crate::fsx;
use crate::keys::{NotStored, ObservedSubject, environment, known_variables, script, shells};
use crate::model::{Input, Stored};
use crate::observe::{Observation, Seen};
use crate::rustc::symbols::{self, EnvironmentWalk};
use crate::rustc::toolchain;

impl InputCollector<'_> {
    /// Records a program that was run. The lookup key covers the build script itself. kache, which a script calls as a
    /// wrapper, only starts the compiler.
    pub(super) fn record_program(&mut self, path: &str, plugin: bool) -> Result<(), NotStored> {
        let is_script =
            matches!(self.observed.subject, ObservedSubject::Run(script) if script.program == Path::new(path));
        if is_script {
            return self.record_environ_use(path);
        }
        if self.is_kache(path) {
            return Ok(());
        }
        self.record_environment_use(path)?;
        if plugin {
            self.record_locale_requests(path)?;
        }
        self.record_file(path, false)
    }

    /// Records the variables that a program can know, unless the observer sees which ones it reads.
    fn record_environment_use(&mut self, path: &str) -> Result<(), NotStored> {
        // The interpreter of a script was run as well.
        if environment::reads_by_name(path) || toolchain::has_shebang(Path::new(path)) {
            return Ok(());
        }
        // `sh` may be any shell. (The program may be gone, like the trial programs of a configure script.)
        let real = fsx::canonicalize(Path::new(path)).ok();
        match real.as_deref().and_then(Path::to_str) {
            Some(real) if known_variables::has_rule(real) => {
                self.record_known_variables(real, &fsx::read(Path::new(real))?);
            }
            // `env` passes the variables on. If it was asked to list them, its arguments show that.
            Some(real) if real.ends_with("/env") => {}
            _ => self.record_all_variables(),
        }
        Ok(())
    }

    fn record_known_variables(&mut self, program: &str, code: &[u8]) {
        let known = known_variables::record(program, code, self.observed.context);
        self.insert(program, Input::KnownVariables(Box::new(known)));
    }

    /// Records the variables that the commands of shells and the configuration of cargo name.
    pub(super) fn record_named_variables(&mut self, seen: &Seen) -> Result<NamedVariables, NotStored> {
        let context = self.observed.context;
        let reads = shells::reads_of_shells(seen, context.env);
        // The outputs of a run are searched for times. A search would not find the effect of a time on the outputs of a
        // compile.
        if reads.times && matches!(self.observed.subject, ObservedSubject::Compile(_)) {
            return Err(NotStored(Stored::Unobserved, "a script that compares times".to_owned()));
        }
        // The trace does not record that tools ask for the working directory, because they hardly use it. Scripts may
        // use it. (The trace does record it for plugins; see `leaked_paths`.)
        let by_tools = seen.shells.iter().any(|shell| !shell.plugin);
        let uses_working_directory =
            by_tools && (reads.working_directory || seen.facts.iter().any(|fact| prints_paths(&fact.observation)));
        let mut named = NamedVariables { by_plugins: Vec::new(), uses_working_directory };
        // A prompt for traces names variables itself.
        let has_prompt = !seen.shells.is_empty() && context.env.get("PS4").is_some();
        let Some(mut names) = reads.names.filter(|_| !has_prompt) else {
            self.record_all_variables();
            return Ok(named);
        };
        names.extend(named_for_cargo(seen));
        let by_plugin = seen.shells.iter().any(|shell| shell.plugin);
        for name in names.into_iter().filter(|name| environment::may_be_named(name)) {
            let value = context.env.text(&name);
            if value.is_none() && context.env.get(&name).is_some() {
                // An input cannot hold a value that is not text.
                self.record_all_variables();
            }
            self.record_variable(&name, value.as_deref(), true);
            if by_plugin {
                named.by_plugins.push(Observation::Env(name, value));
            }
        }
        Ok(named)
    }

    fn is_kache(&self, path: &str) -> bool {
        matches!(self.observed.subject, ObservedSubject::Run(_))
            && fsx::current_exe().is_ok_and(|own| own == Path::new(path))
    }

    /// Records a variable if its value came from cargo. A value that a process of the tree set for its children follows
    /// from the inputs of that process.
    pub(super) fn record_variable(&mut self, name: &str, value: Option<&str>, plugin: bool) {
        let context = self.observed.context;
        let inherited = context.env.get(name);
        let is_inherited = inherited.as_deref().map(std::ffi::OsStr::as_encoded_bytes) == value.map(str::as_bytes);
        let is_known = self.known_variables.contains(name)
            || matches!(self.observed.subject, ObservedSubject::Run(_)) && script::needs_no_input(name, context.env);
        if is_inherited && environment::is_input(name, plugin) && !is_known {
            let value = value.map(|value| context.roots.tokenise(value));
            self.insert(name, Input::Env(name.to_owned(), value));
        }
    }

    /// Records the search path of the dynamic linker, because the observer does not see how it finds the libraries of a
    /// child.
    pub(super) fn record_library_path(&mut self) {
        let context = self.observed.context;
        let value = context.env.text(env::LD_LIBRARY_PATH).map(|value| context.roots.tokenise(&value));
        self.insert(env::LD_LIBRARY_PATH, Input::Env(env::LD_LIBRARY_PATH.to_owned(), value));
    }

    fn record_all_variables(&mut self) {
        let digest = environment::digest(self.observed.context);
        self.insert("", Input::Environment(digest));
    }

    /// Handles a plugin or script that refers to `environ`. It reads all variables or starts programs, and its symbols
    /// show which.
    pub(super) fn record_environ_use(&mut self, library: &str) -> Result<(), NotStored> {
        let code = fsx::read(Path::new(library))?;
        match (symbols::walk_of_environment(&code), self.observed.subject) {
            (EnvironmentWalk::None, _) => {}
            (EnvironmentWalk::OfCc, ObservedSubject::Run(_)) => self.record_known_variables(library, &code),
            (EnvironmentWalk::OfCc | EnvironmentWalk::Any, _) => self.record_all_variables(),
        }
        Ok(())
    }
}

/// The result of [`InputCollector::record_named_variables`].
pub(super) struct NamedVariables {
    /// The variables that the shells of plugins named.
    pub(super) by_plugins: Vec<Observation>,
    /// Whether the result may contain the name of the working directory.
    pub(super) uses_working_directory: bool,
}

/// Whether a program was run that prints paths without links.
fn prints_paths(observation: &Observation) -> bool {
    const PROGRAMS: [&str; 6] = ["pwd", "realpath", "readlink", "find", "git", "rustup"];
    let prints = |path: &str| path.rsplit('/').next().is_some_and(|name| PROGRAMS.contains(&name));
    matches!(observation, Observation::Program(path) if prints(path))
}

/// Returns the words in the configuration files of cargo that may be names of variables (`[env]`, credential
/// providers).
fn named_for_cargo(seen: &Seen) -> BTreeSet<String> {
    let runs_cargo = seen
        .facts
        .iter()
        .any(|fact| matches!(&fact.observation, Observation::Program(path) if path.ends_with("/cargo")));
    let read = seen.facts.iter().filter_map(|fact| match &fact.observation {
        Observation::Read(path) if runs_cargo => Some(Path::new(path)),
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
