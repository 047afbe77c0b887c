//! A long walk of edits, reverts, wipes and switches in two checkouts. The output of each build is compared with the
//! expected one.
//!
//! A generator with a fixed seed draws the steps, so a failure can be repeated. The expected output does not
//! depend on a compiler: it consists of the values that the walk wrote.

use fastrand::Rng;

use crate::support::{Project, manifest};

/// The state of one checkout in the walk.
struct WalkedCheckout {
    project: Project,
    /// The current value of each input.
    values: [u32; INPUTS.len()],
    release: bool,
}

/// The inputs of the workspace: files, and a variable last.
const INPUTS: [&str; 5] = ["dep/src/lib.rs", "dep/src/inner.rs", "base/src/lib.rs", "base/data.txt", "MOOD"];

/// The text of an input with the value `n`. All values have the same length, so a size does not reveal a change.
fn text(input: usize, n: u32) -> String {
    match input {
        0 => {
            format!("mod inner;\npub fn value() -> String {{ format!(\"{n} {{}} {{}}\", inner::N, base::value()) }}\n")
        }
        1 => format!("pub const N: u32 = {n};\n"),
        2 => format!(
            "pub fn value() -> String {{ format!(\"{n} {{}} {{}}\", include_str!(\"../data.txt\"), env!(\"MOOD\")) }}\n"
        ),
        _ => n.to_string(),
    }
}

impl WalkedCheckout {
    fn set(&mut self, input: usize, n: u32) {
        self.values[input] = n;
        if input == INPUTS.len() - 1 {
            self.project.set("MOOD", text(input, n));
        } else {
            self.project.file(INPUTS[input], text(input, n));
        }
    }

    #[track_caller]
    fn build_and_compare(&self, trail: &[String]) {
        let args: &[&str] = if self.release { &["build", "--release"] } else { &["build"] };
        self.project.cargo(args);
        let program = self.project.target_dir().join(if self.release { "release/app" } else { "debug/app" });
        let said = self.project.finish(self.project.command(program)).must_succeed().stdout;
        let [dep, inner, base, data, mood] = self.values;
        assert_eq!(said.trim_end(), format!("{dep} {inner} {base} {data} {mood}"), "after {trail:#?}");
        let again = self.project.cargo(args);
        assert!(again.dirty().is_empty(), "not fresh after {trail:#?}:\n{}", again.stderr);
    }
}

fn workspace() -> Project {
    let project = Project::app_over("");
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nbase = { path = \"../base\" }\n"));
    project.file("base/Cargo.toml", manifest("base", ""));
    project
}

fn walk(seed: u64, steps: u32, incremental: &str) {
    let mut first = workspace();
    first.set("CARGO_INCREMENTAL", incremental);
    let second = first.clone_to("elsewhere/deeper/two");
    let mut checkouts =
        [first, second].map(|project| WalkedCheckout { project, values: [0; INPUTS.len()], release: false });
    for checkout in &mut checkouts {
        (0..INPUTS.len()).for_each(|input| checkout.set(input, 1));
    }
    let mut rng = Rng::with_seed(seed);
    let mut trail = Vec::new();
    for _ in 0..steps {
        let at = rng.usize(..2);
        let checkout = &mut checkouts[at];
        match rng.u32(..8) {
            0 => {
                checkout.project.wipe();
                trail.push(format!("{at}: wipe"));
            }
            1 => {
                checkout.release = !checkout.release;
                trail.push(format!("{at}: release {}", checkout.release));
            }
            _ => {
                let (input, n) = (rng.usize(..INPUTS.len()), rng.u32(1..3));
                checkout.set(input, n);
                trail.push(format!("{at}: {} says {n}", INPUTS[input]));
            }
        }
        // Cargo itself does not detect an edit in the clock tick of its last build.
        std::thread::sleep(std::time::Duration::from_millis(10));
        checkout.build_and_compare(&trail);
    }
    let outcomes = ["dep", "base"].map(|krate| checkouts[0].project.outcomes(krate));
    let hits = outcomes.iter().flatten().filter(|(outcome, _)| outcome == "hit.local").count();
    assert!(hits > 0, "control: only {hits} hits, the cache does nothing");
}

#[test]
#[ignore = "slow"]
fn a_walk_of_edits_in_two_checkouts_builds_what_is_there() {
    walk(1, 30, "0");
}

#[test]
#[ignore = "slow"]
fn an_incremental_walk_of_edits_in_two_checkouts_builds_what_is_there() {
    walk(2, 30, "1");
}
