//! The differential test: random edits of a small workspace. Plain cargo builds each state, and so does kache in two
//! checkouts that share a cache; a third checkout with that cache jumps from state to state, as if it switched
//! branches. After every edit, the messages of cargo must agree with those of plain cargo, the programs must print the
//! output that the state predicts, and nothing may be built twice.
//!
//! Edits change sources, variables, features, the profile, C code, and the data of proc macros and build scripts. Some
//! cause warnings or errors, some go back to an earlier state, some wipe a target directory (so that kache may restore
//! the whole build), and some builds are killed. Cargo does not know the inputs of macros and of some scripts, so the
//! test touches their users when these inputs change. Cargo then calls rustc again, with the same arguments and
//! sources.
//!
//! The test makes `KACHE_IT_EDITS` edits (25; 200 in CI), drawn from the seed `KACHE_IT_SEED` (the time). It prints
//! both; set them to replay a run:
//!
//! ```sh
//! KACHE_IT_SEED=1 KACHE_IT_EDITS=200 cargo test --locked --test it differential -- --include-ignored --nocapture
//! ```

mod oracle;
mod sources;
mod workspace;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use workspace::{MACRO_USERS, Node, State};

use crate::support::{Project, has_program, random, real_cargo, settle, signal};

/// Number of edits, unless `KACHE_IT_EDITS` is set.
const EDITS: u64 = 25;

/// A checkout, and the state of its files.
struct Checkout {
    name: &'static str,
    project: Project,
    files: BTreeMap<String, Node>,
    state: State,
}

impl Checkout {
    fn new(name: &'static str, project: Project) -> Self {
        let mut checkout = Self { name, project, files: BTreeMap::new(), state: State::first() };
        checkout.edit(&State::first());
        checkout
    }

    /// Writes the files and sets the variables that differ from those of `state`, and removes files that `state` lacks.
    fn edit(&mut self, state: &State) {
        let files = state.files();
        for path in self.files.keys().filter(|path| files.get(*path) != self.files.get(*path)) {
            self.project.remove(path);
        }
        for (path, node) in files.iter().filter(|(path, node)| self.files.get(*path) != Some(node)) {
            match node {
                Node::File(text) => drop(self.project.file(path, text)),
                Node::Link(target) => symlink(target, self.project.path(path)).expect("link"),
            }
        }
        if state.looks_other_to_macros(&self.state) {
            self.touch(&files);
        }
        if state.looks_other_to_scripts(&self.state) {
            self.touch_one(&files, "finds/build.rs");
        }
        for (name, value) in state.variables() {
            match value {
                Some(value) => self.project.set(name, value),
                None => self.project.unset(name),
            };
        }
        self.files = files;
        self.state = state.clone();
    }

    /// Touches the sources that use macros, so that cargo calls rustc for them again.
    fn touch(&self, files: &BTreeMap<String, Node>) {
        for path in MACRO_USERS {
            self.touch_one(files, path);
        }
    }

    fn touch_one(&self, files: &BTreeMap<String, Node>, path: &str) {
        let Node::File(text) = &files[path] else { panic!("{path} is a file") };
        self.project.file(path, text);
    }

    /// Starts a build, and kills it and all its processes after this time.
    fn killed_after(&self, milliseconds: u64) {
        let mut command = self.project.command(real_cargo());
        command.args(self.state.arguments()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.process_group(0).spawn().expect("cargo starts");
        std::thread::sleep(Duration::from_millis(milliseconds));
        signal("KILL", &format!("-{}", child.id()));
        child.wait().expect("it ends");
    }

    /// Builds, and runs the program.
    fn build_and_run(&self) -> BuildOutput {
        let built = self.cargo(&[]);
        let errors = String::from_utf8_lossy(&built.stderr).replace(&self.project.dir().display().to_string(), "");
        // Units end in any order, and the last line of a failure depends on that order.
        let mut messages: Vec<String> =
            errors.lines().filter(|line| !line.contains("waiting for other jobs")).map(str::to_owned).collect();
        messages.sort();
        if !built.status.success() {
            return BuildOutput { messages, code: built.status.code(), printed: None };
        }
        let program = self.project.target_dir().join(self.state.program());
        let printed = self.project.command(program).output().expect("the program starts").stdout;
        BuildOutput { messages, code: Some(0), printed: Some(String::from_utf8_lossy(&printed).into_owned()) }
    }

    /// Returns cargo's messages about the units that another build would compile.
    fn stale(&self) -> Vec<String> {
        let built = self.cargo(&["--message-format=json"]);
        let text = String::from_utf8_lossy(&built.stdout).into_owned();
        text.lines().filter(|line| line.contains("\"fresh\":false")).map(str::to_owned).collect()
    }

    fn cargo(&self, more: &[&str]) -> Output {
        let mut command = self.project.command(real_cargo());
        command.args(self.state.arguments()).args(more).stdin(Stdio::null()).output().expect("cargo starts")
    }
}

/// The result of a build.
#[derive(Clone, PartialEq, Eq, Debug)]
struct BuildOutput {
    /// The lines of cargo's messages, sorted.
    messages: Vec<String>,
    code: Option<i32>,
    /// The output of the program, if the build succeeded.
    printed: Option<String>,
}

/// Plain cargo, and three checkouts with kache that share a cache.
struct Trial {
    plain: Checkout,
    cached: [Checkout; 2],
    /// Builds only some of the states.
    third: Checkout,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let mut one = Project::new();
        // Some macros read all variables. The log has another path in each checkout, so its variable would be an input
        // that differs.
        one.unset("COUNTING_RUSTC_LOG");
        let mut two = one.clone_to("elsewhere/deeper/two");
        let mut three = one.clone_to("third");
        let mut plain = one.clone_to("plain");
        plain.unset("RUSTC_WRAPPER");
        for checkout in [&mut two, &mut three, &mut plain] {
            checkout.unset("COUNTING_RUSTC_LOG");
        }
        // The checkout that builds a state first is drawn anew each time. With sessions it offers its result, and the
        // other checkout adopts that.
        for (checkout, is_incremental) in [&mut one, &mut two, &mut three].into_iter().zip(are_incremental(seed)) {
            checkout.set("CARGO_INCREMENTAL", if is_incremental { "1" } else { "0" });
            checkout.set("KACHE_BULK", "on");
        }
        let plain = Checkout::new("plain cargo", plain);
        let cached = [Checkout::new("first checkout", one), Checkout::new("second checkout", two)];
        Self { plain, cached, third: Checkout::new("third checkout", three) }
    }

    fn edit(&mut self, state: &State) {
        self.plain.edit(state);
        self.cached.iter_mut().for_each(|checkout| checkout.edit(state));
        settle();
    }

    /// Builds all checkouts, and describes those whose result is not the expected one. `first` builds before the other
    /// one.
    fn differing(&self, first: usize) -> Vec<String> {
        let (first, second) = (&self.cached[first], &self.cached[1 - first]);
        let said = std::thread::scope(|scope| {
            let plain = scope.spawn(|| self.plain.build_and_run());
            let ours = [(first, first.build_and_run()), (second, second.build_and_run())];
            [[(&self.plain, plain.join().expect("plain cargo"))].into(), Vec::from(ours)].concat()
        });
        let mut wrong = self.wrong(&said, &said[0].1);
        wrong.extend(self.third_differing(&said[0].1));
        wrong
    }

    /// Like [`Self::differing`], for the third checkout, if it has this state.
    fn third_differing(&self, plain: &BuildOutput) -> Vec<String> {
        match self.third.state == self.plain.state {
            true => self.wrong(&[(&self.third, self.third.build_and_run())], plain),
            false => Vec::new(),
        }
    }

    fn wrong(&self, said: &[(&Checkout, BuildOutput)], plain: &BuildOutput) -> Vec<String> {
        let state = &self.plain.state;
        let (code, printed) = if state.is_broken() { (Some(101), None) } else { (Some(0), Some(state.expected())) };
        let messages = plain.messages.clone();
        let expected = BuildOutput { messages, code, printed };
        let wrong = said.iter().filter(|(_, said)| *said != expected);
        wrong.map(|(checkout, said)| describe(checkout, &expected, said)).collect()
    }

    /// Like [`Checkout::stale`], for one of the checkouts (2: the third). Empty if its state does not compile.
    fn stale(&self, at: usize) -> Vec<String> {
        let checkout = self.cached.get(at).unwrap_or(&self.third);
        if checkout.state.is_broken() { Vec::new() } else { checkout.stale() }
    }
}

/// Whether each checkout compiles incrementally. Incremental and other compiles of a unit have different lookup keys.
fn are_incremental(seed: u64) -> [bool; 3] {
    match seed % 4 {
        0 => [false; 3],
        1 => [false, true, true],
        _ => [true; 3],
    }
}

fn describe(checkout: &Checkout, expected: &BuildOutput, said: &BuildOutput) -> String {
    format!("{} ({}) says\n{said:#?}\ninstead of\n{expected:#?}", checkout.name, checkout.project.dir().display())
}

fn number_of_edits() -> u64 {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("KACHE_IT_EDITS={text} is no number"));
    std::env::var("KACHE_IT_EDITS").map_or(EDITS, parse)
}

#[expect(clippy::print_stderr, reason = "the test harness shows it on failure, or to whoever asks")]
fn tell(text: &str) {
    eprintln!("{text}");
}

/// Makes one edit, or goes back to an earlier state.
fn step(history: &[State], rng: &mut Rng) -> (State, String) {
    let last = history.last().expect("a first state");
    if history.len() > 2 && rng.u32(..4) == 0 {
        let at = rng.usize(..history.len() - 1);
        return (history[at].clone(), format!("back to state {at}"));
    }
    let (state, what) = last.edited(rng);
    (state, what.to_owned())
}

fn walk(seed: u64, edits: u64) -> Trial {
    let replay = format!("KACHE_IT_SEED={seed} KACHE_IT_EDITS={edits}");
    tell(&format!("differential: {replay}"));
    let (mut rng, mut trial) = (Rng::with_seed(seed), Trial::new(seed));
    let (mut history, mut trail) = (vec![State::first()], Vec::new());
    for number in 0..=edits {
        if number > 0 {
            let (state, what) = step(&history, &mut rng);
            trial.edit(&state);
            trail.push(format!("{number}: {what}"));
            if rng.u32(..8) == 0 {
                trial.third.edit(&state);
                settle();
                trail.push(format!("{number}: in the third checkout, too"));
            }
            history.push(state);
        }
        if number == 0 || rng.u32(..6) == 0 {
            // Most builds in an empty target directory begin with the restore of a whole build.
            let (at, bulk) = (rng.usize(..2), if rng.u32(..4) > 0 { "on" } else { "off" });
            trial.cached[at].project.set("KACHE_BULK", bulk).wipe();
            trail.push(format!("{number}: wipe of {}, whole builds {bulk}", trial.cached[at].name));
        }
        if rng.u32(..8) == 0 {
            let (at, milliseconds) = (rng.usize(..2), rng.u64(..700));
            trial.cached[at].killed_after(milliseconds);
            trail.push(format!("{number}: {} killed after {milliseconds} ms", trial.cached[at].name));
        }
        let mut wrong = trial.differing(rng.usize(..2));
        if rng.u32(..8) == 0 && wrong.is_empty() && !trial.plain.state.is_broken() {
            wrong = trial.stale(rng.usize(..3));
        }
        let last = trail.iter().rev().take(12).rev().cloned().collect::<Vec<_>>().join("\n");
        assert!(
            wrong.is_empty(),
            "after edit {number}, replay with {replay}:\n{}\nlast edits:\n{last}\nstate: {:#?}",
            wrong.join("\n"),
            history.last()
        );
    }
    trial
}

/// Counts the events of each outcome. Probes do not write events.
fn outcomes(project: &Project) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in project.events() {
        *counts.entry(event["outcome"].as_str().expect("an outcome").to_owned()).or_default() += 1;
    }
    counts
}

#[test]
#[ignore = "slow"]
fn programs_of_plain_cargo_and_of_kache_agree_after_every_edit() {
    if !(has_program("cc") && has_program("ar")) {
        return;
    }
    let (seed, edits) = (random::seed(), number_of_edits());
    let began = Instant::now();
    let mut trial = walk(seed, edits);
    let counts = outcomes(&trial.cached[0].project);
    tell(&format!("{edits} edits in {:.0?}: {counts:?}", began.elapsed()));
    let hits: usize = counts.iter().filter(|(id, _)| id.starts_with("hit.")).map(|(_, count)| count).sum();
    let all: usize = counts.values().sum();
    // In most walks, a third or more of all events are hits.
    assert!(
        5 * hits >= all,
        "a cache that is hardly used proves nothing: {hits} hits of {all} with seed {seed}: {counts:?}"
    );
    assert!(edits < 100 || counts.contains_key("hit.whole-build"), "no whole build with seed {seed}: {counts:?}");
    trial.cached[0].project.assert_store_whole();

    // kache must restore exactly what rustc produces now.
    let mut last = trial.plain.state.clone();
    last.mend();
    trial.edit(&last);
    trial.cached[1].project.set("KACHE_VERIFY", "hits").wipe();
    assert_eq!(trial.differing(0), Vec::<String>::new());
    let counts = outcomes(&trial.cached[1].project);
    assert!(counts.contains_key("hit.verified") && !counts.contains_key("hit.differs"), "seed {seed}: {counts:?}");
}

#[test]
#[ignore = "slow"]
fn the_comparison_sees_a_program_that_prints_something_else() {
    let trial = Trial::new(0);
    let plain = &trial.plain;
    assert_eq!(trial.differing(0), Vec::<String>::new());
    fs::write(plain.project.path("alpha/data/0.txt"), "7").expect("data");
    assert_eq!(trial.differing(0), Vec::<String>::new(), "cargo does not know what macros read");
    plain.touch(&plain.files);
    let wrong = trial.differing(0);
    assert!(wrong.len() == 1 && wrong[0].starts_with("plain cargo") && wrong[0].contains("first=07"), "{wrong:?}");
    plain.project.file("beta/template.txt", "0").file("alpha/data/0.txt", "0");
    plain.touch(&plain.files);
    assert_eq!((trial.differing(0), trial.stale(0)), (Vec::new(), Vec::new()));
    // A message that only plain cargo prints, and then a unit that is built again.
    let Node::File(beta) = &plain.files["beta/src/lib.rs"] else { panic!("a file") };
    plain.project.file("beta/src/lib.rs", format!("{beta}fn nobody_calls_this() {{}}\n"));
    assert_eq!(trial.differing(0).len(), 3, "no other checkout has this warning");
    settle();
    trial.cached[0].touch(&trial.cached[0].files);
    assert!(!trial.stale(0).is_empty());
}

#[test]
fn states_say_what_differs_between_them() {
    let mut rng = Rng::with_seed(1);
    let mut state = State::first();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2000 {
        let (next, what) = state.edited(&mut rng);
        seen.insert(what);
        let same_files = next.files() == state.files();
        let same_call = next.variables() == state.variables() && next.arguments() == state.arguments();
        assert!(!(same_files && same_call), "{what} changes nothing");
        state = next;
    }
    assert!(seen.len() >= 30, "every edit is drawn: {seen:?}");
}
