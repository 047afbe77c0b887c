//! Validation of an input set with 1,000 inputs: 550 files in 60 directories, 300 absent paths (most of them in missing
//! directories), 100 variables, and 50 others. Inputs have the order in which kache records them, so the names of one
//! directory are adjacent.
//!
//! Criterion measures each part in a loop, where everything is warm. A hit is a separate process with cold caches and
//! page faults, so the last lines show the medians of the parts over many processes, each of which runs every part
//! once. `cargo bench --bench validate`.
#![expect(clippy::disallowed_methods, reason = "a bench looks at files with other eyes than the program")]

use std::ffi::OsString;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use criterion::Criterion;

use kache::config::Env;
use kache::keys::{Context, Roots, validate};
use kache::model::{Digest, Input, InputSet, LookupKey, RootKind};
use kache::rustc::Invocation;
use kache::store::Store;
use kache::store::manifests::{Manifest, ManifestRecord};

const FILES: usize = 550;
const DIRS: usize = 60;
const ABSENT: usize = 300;
const VARIABLES: usize = 100;
const OTHERS: usize = 50;
const PROCESSES: usize = 200;

/// Variable that makes this program run as one of many processes. It names the directory of the fixture.
const ONCE: &str = "VALIDATE_BENCH_ONCE";

/// The context of a validation, for the fixture in one directory.
struct Subject {
    store: Store,
    invocation: Invocation,
    roots: Roots,
    lookup: LookupKey,
}

impl Subject {
    fn at(dir: &Path) -> Self {
        let workspace = dir.join("home/someone/projects/workspace");
        let out_dir = workspace.join("target/debug/deps");
        let args = format!(
            "--crate-name subject --edition=2021 src/lib.rs --error-format=json --json=artifacts --crate-type lib \
             --emit=dep-info,metadata,link -C extra-filename=-1 --out-dir {}",
            out_dir.display()
        );
        let args: Vec<OsString> = args.split_whitespace().map(OsString::from).collect();
        let invocation = Invocation::parse(&args, &workspace).expect("a library");
        let roots = Roots::new([
            (RootKind::Target, Some(workspace.join("target"))),
            (RootKind::Workspace, Some(workspace)),
            (RootKind::CargoHome, Some(dir.join("home/someone/.cargo"))),
            (RootKind::Sysroot, Some(dir.join("home/someone/.rustup/toolchains/stable"))),
            (RootKind::Home, Some(dir.join("home/someone"))),
        ]);
        Self { store: Store::open(&dir.join("cache")), invocation, roots, lookup: LookupKey(Digest::of(b"l")) }
    }

    fn context<'a>(&'a self, env: &'a Env) -> Context<'a> {
        Context::of(&self.invocation, &self.roots, env, self.store.stamps())
    }

    fn manifest(&self) -> Manifest {
        self.store.manifest(self.lookup).expect("a manifest")
    }

    fn record(manifest: &Manifest) -> ManifestRecord {
        manifest.records().next().expect("a set")
    }

    /// Writes the files and stores the input set.
    fn make(&self) {
        let mut inputs = Vec::new();
        for n in 0..FILES {
            let module = n * DIRS / FILES;
            let dir = format!("{}/module_{module}", ["src/generated", "crates/some-part/src"][module % 2]);
            let path = self.invocation.cwd.join(&dir).join(format!("source_file_{n}.rs"));
            std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            std::fs::write(&path, format!("pub const N: usize = {n};\n")).expect("file");
            let relative = format!("{dir}/source_file_{n}.rs");
            let digest = Digest::of(&std::fs::read(&path).expect("file"));
            inputs.push(Input::File(self.roots.tokenise(&relative), digest));
        }
        for n in 0..ABSENT {
            let home = self.roots.place(RootKind::Home).expect("home");
            let path = match n * 5 / ABSENT {
                0 => format!("src/generated/module_{}/mod_{n}.rs", n / 4 * 2),
                rest => format!("{home}/missing_{rest}/lib/libnative_{n}.so"),
            };
            inputs.push(Input::Absent(self.roots.tokenise(&path)));
        }
        for n in 0..VARIABLES {
            let value = variable(n).1.map(|value| self.roots.tokenise(&value));
            inputs.push(Input::Env(variable(n).0, value));
        }
        for n in 0..OTHERS {
            inputs.push(match n % 2 {
                0 => Input::DiagnosticWidth(None),
                _ => Input::Pinned(RootKind::Home, self.roots.place(RootKind::Home).expect("home").to_owned()),
            });
        }
        self.store.put_set(self.lookup, &InputSet { inputs }).expect("stored");
        // Young stamps prove nothing: wait until they settle, then let one validation record them.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let env = Env::of(set_variables());
        validate::holds(&Self::record(&self.manifest()).inputs, self.context(&env)).expect("it holds");
    }
}

/// Returns the name and the recorded value of a variable. Half of the variables are set.
fn variable(n: usize) -> (String, Option<String>) {
    (format!("SUBJECT_VARIABLE_{n}"), n.is_multiple_of(2).then(|| format!("the value of number {n}")))
}

fn set_variables() -> impl Iterator<Item = (String, String)> {
    (0..VARIABLES).map(variable).filter_map(|(name, value)| Some((name, value?)))
}

/// Runs every part once, and prints the nanoseconds of each part and of all parts together.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn once(dir: &Path) {
    let subject = Subject::at(dir);
    let env = Env::process();
    let mut times = vec![Instant::now()];
    let manifest = subject.manifest();
    times.push(Instant::now());
    let record = Subject::record(&manifest);
    times.push(Instant::now());
    validate::holds(&record.inputs, subject.context(&env)).expect("it holds");
    times.push(Instant::now());
    for (from, to) in [(0, 1), (1, 2), (2, 3), (0, 3)] {
        println!("{}", times[to].duration_since(times[from]).as_nanos());
    }
}

/// Returns a process whose environment has the recorded variables and 60 others, as under cargo.
fn process(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env_clear().env(ONCE, dir).envs(set_variables());
    command.envs((0..60).map(|n| (format!("CARGO_PKG_OTHER_{n}"), "some value")));
    command
}

fn medians(dir: &Path) -> Vec<u64> {
    let mut runs: Vec<Vec<u64>> = Vec::new();
    for _ in 0..PROCESSES {
        let output = process(dir).output().expect("it starts");
        let text = String::from_utf8(output.stdout).expect("text");
        runs.push(text.split_whitespace().map(|number| number.parse().expect("a number")).collect());
    }
    let median = |part: usize| {
        let mut times: Vec<u64> = runs.iter().map(|run| run[part]).collect();
        times.sort_unstable();
        times[times.len() / 2]
    };
    (0..4).map(median).collect()
}

/// Selects inputs.
type IsIt = fn(&Input) -> bool;

fn in_a_loop(subject: &Subject) {
    let mut criterion = Criterion::default().configure_from_args().sample_size(50);
    let mut group = criterion.benchmark_group("1,000 inputs");
    let env = Env::of(set_variables());
    let manifest = subject.manifest();
    let record = Subject::record(&manifest);
    group.bench_function("read", |bencher| bencher.iter(|| black_box(subject.manifest())));
    group.bench_function("open and parse", |bencher| bencher.iter(|| black_box(Subject::record(&manifest))));
    let kinds: [(&str, IsIt); 4] = [
        ("files", |input| matches!(input, Input::File(..))),
        ("absences", |input| matches!(input, Input::Absent(..))),
        ("variables", |input| matches!(input, Input::Env(..))),
        ("all", |_| true),
    ];
    for (name, is_it) in kinds {
        let inputs: Vec<Input> = record.inputs.iter().filter(|input| is_it(input)).cloned().collect();
        group.bench_function(format!("validate {name} ({})", inputs.len()), |bencher| {
            // Opens the stamps anew, as every process does.
            bencher.iter(|| {
                let stamps = kache::store::Stamps::open(&subject.store.layout().stamps());
                let context = Context { stamps: &stamps, ..subject.context(&env) };
                validate::holds(black_box(&inputs), context).expect("it holds");
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn main() {
    if let Some(dir) = std::env::var_os(ONCE) {
        once(&PathBuf::from(dir));
        return;
    }
    let dir = tempfile::Builder::new().prefix("kache-validate-").tempdir().expect("temp dir");
    let subject = Subject::at(dir.path());
    subject.make();
    if std::env::var_os("VALIDATE_BENCH_KEEP").is_some() {
        println!("{ONCE}={} {}", dir.path().display(), std::env::current_exe().expect("this program").display());
        let _ = dir.keep();
        return;
    }
    in_a_loop(&subject);
    let medians = medians(dir.path());
    let ms = |ns: u64| format!("{}.{:03} ms", ns / 1_000_000, ns / 1000 % 1000);
    println!("in a separate process, median of {PROCESSES}:");
    for (name, ns) in ["read", "open and parse", "validate", "all"].into_iter().zip(medians) {
        println!("  {name:<16}{}", ms(ns));
    }
}
