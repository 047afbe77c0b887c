//! A minimal GitHub runner for the `run:` steps of a composite action. It supports inputs with defaults, `${{ }}` in
//! `env` and `working-directory`, and the files that steps write to. Of steps that use other actions it knows only
//! `github-script` with variables to export, and leaves out the others. An expression that it does not know fails the
//! test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use yaml_rust2::{Yaml, YamlLoader};

use super::{Project, Run};

/// A job: the variables, `PATH` entries and files that each step passes on to later steps.
pub(crate) struct Job<'a> {
    project: &'a Project,
    /// `github.*` and `runner.*`. A missing `github.event.*` expands to an empty text, as on GitHub.
    context: BTreeMap<String, String>,
    /// Variables that steps set for later steps.
    pub(crate) env: BTreeMap<String, String>,
    /// Variables that the runner gives to JavaScript actions only.
    pub(crate) javascript: BTreeMap<String, String>,
    /// Directories that steps put in front of `PATH`, the newest one last.
    pub(crate) path: Vec<String>,
    files: PathBuf,
}

/// Parses the `action.yml` in `directory` of this repository.
pub(crate) fn action(directory: &str) -> Yaml {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory).join("action.yml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut documents = YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// Returns the pairs of a mapping; none if the value is not a mapping.
pub(crate) fn pairs(yaml: &Yaml) -> Vec<(String, &Yaml)> {
    let Yaml::Hash(hash) = yaml else { return Vec::new() };
    hash.iter().map(|(name, value)| (name.as_str().expect("a name").to_owned(), value)).collect()
}

/// Returns the steps of an action.
pub(crate) fn steps(action: &Yaml) -> &Vec<Yaml> {
    action["runs"]["steps"].as_vec().expect("steps")
}

impl<'a> Job<'a> {
    /// Creates a job in the checkout of the project. `event` is the name of the event that started it.
    pub(crate) fn new(project: &'a Project, event: &str) -> Self {
        let files = project.sandbox_dir().join("runner");
        fs::create_dir_all(files.join("temp")).expect("directory of the runner");
        let context = [
            ("github.action_path", env!("CARGO_MANIFEST_DIR")),
            ("github.repository", "me/ws"),
            ("github.event_name", event),
            ("runner.os", "Linux"),
            ("runner.arch", "X64"),
        ];
        let context = context.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            project,
            context: context.into(),
            env: BTreeMap::new(),
            javascript: BTreeMap::new(),
            path: Vec::new(),
            files,
        }
    }

    /// Sets a value of the context, such as `github.event_name`.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.context.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Returns the job summary so far.
    pub(crate) fn summary(&self) -> String {
        fs::read_to_string(self.files.join("summary")).unwrap_or_default()
    }

    /// Runs the action in `directory` with these inputs: its steps until one fails, then only those that always run.
    /// Returns the runs of all these steps.
    pub(crate) fn uses(&mut self, directory: &str, inputs: &[(&str, &str)]) -> Vec<Run> {
        let action = action(directory);
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        for (name, input) in pairs(&action["inputs"]) {
            known.insert(format!("inputs.{name}"), input["default"].as_str().expect("a default").to_owned());
        }
        for (name, value) in inputs {
            let old = known.insert(format!("inputs.{name}"), (*value).to_owned());
            assert!(old.is_some(), "{directory}/action.yml has no input {name}");
        }
        let mut runs: Vec<Run> = Vec::new();
        for step in steps(&action) {
            let is_always = step["if"].as_str() == Some("always()");
            let has_failed = runs.iter().any(|run| run.code != 0);
            if step["uses"].as_str().is_some_and(|uses| uses.starts_with("actions/github-script@"))
                && is_met(step["if"].as_str().expect("a condition"), &known)
            {
                self.export(step["with"]["script"].as_str().expect("a script"));
            }
            if let Some(script) = step["run"].as_str()
                && (is_always || !has_failed)
            {
                runs.push(self.step(step, script, &mut known));
            }
        }
        runs
    }

    fn step(&mut self, step: &Yaml, script: &str, known: &mut BTreeMap<String, String>) -> Run {
        assert_eq!(step["shell"].as_str(), Some("bash"), "a step of a composite action names its shell");
        assert!(!script.contains("${{"), "an expression in a script is how foreign text becomes code: {script}");
        let file = |name: &str| self.files.join(name);
        fs::write(file("script.sh"), script).expect("the script");
        let mut command = self.project.command("bash");
        command.args(["--noprofile", "--norc", "-eo", "pipefail"]).arg(file("script.sh"));
        let directory = step["working-directory"].as_str().map(|text| self.value(text, known));
        command.current_dir(self.project.path(directory.unwrap_or_default()));
        command.env_remove("RUSTC_WRAPPER").env("RUNNER_TEMP", file("temp")).envs(&self.env);
        let own = self.project.env_value("PATH").expect("set").to_str().expect("text").to_owned();
        command.env("PATH", self.path.iter().rev().chain([&own]).cloned().collect::<Vec<_>>().join(":"));
        let outputs = [("GITHUB_ENV", "env"), ("GITHUB_PATH", "path"), ("GITHUB_OUTPUT", "output")];
        for (variable, name) in outputs {
            fs::write(file(name), "").expect("a file for the step");
            command.env(variable, file(name));
        }
        command.env("GITHUB_STEP_SUMMARY", file("summary"));
        for (name, value) in pairs(&step["env"]) {
            command.env(name, self.value(value.as_str().expect("text"), known));
        }
        let run = self.project.finish(command);
        let read = |name: &str| fs::read_to_string(self.files.join(name)).expect("what the step wrote");
        let (env, path, output) = (settings(&read("env")), read("path"), settings(&read("output")));
        self.env.extend(env);
        self.path.extend(path.lines().map(str::to_owned));
        if let Some(id) = step["id"].as_str() {
            known.extend(output.into_iter().map(|(name, value)| (format!("steps.{id}.outputs.{name}"), value)));
        }
        run
    }

    /// Does what a script of `github-script` does that exports variables if all of them are set.
    fn export(&mut self, script: &str) {
        let names: Vec<&str> =
            script.split("exportVariable('").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
        assert!(!names.is_empty(), "{script}");
        for name in &names {
            assert!(script.contains(&format!("core.exportVariable('{name}', process.env.{name})")), "{script}");
        }
        let values: Option<Vec<String>> = names.iter().map(|name| self.javascript.get(*name).cloned()).collect();
        let values = values.unwrap_or_default();
        self.env.extend(names.into_iter().map(str::to_owned).zip(values));
    }

    /// Expands the expressions in a text.
    fn value(&self, text: &str, known: &BTreeMap<String, String>) -> String {
        let mut value = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${{") {
            let (name, after) = after.split_once("}}").expect("an expression ends");
            let name = name.trim();
            let is_event = name.starts_with("github.event.");
            let found = known.get(name).or_else(|| self.context.get(name)).cloned();
            value += before;
            value += &found.unwrap_or_else(|| if is_event { String::new() } else { panic!("expression {name}") });
            rest = after;
        }
        value + rest
    }
}

/// Evaluates a condition: comparisons of inputs with texts, of which all must hold.
fn is_met(condition: &str, known: &BTreeMap<String, String>) -> bool {
    condition.split("&&").all(|comparison| {
        let (name, text) = comparison.split_once("==").expect("a comparison");
        known.get(name.trim()).expect("an input") == text.trim().trim_matches('\'')
    })
}

/// Parses `NAME=value` and `NAME<<END` lines as GitHub does.
fn settings(text: &str) -> Vec<(String, String)> {
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if let Some((name, end)) = line.split_once("<<") {
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
            found.push((name.to_owned(), value.join("\n")));
        } else {
            let (name, value) = line.split_once('=').expect("NAME=value");
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    found
}
