//! One hit of the real binary: a library with 20 externs and 50 sources, called as cargo calls it.
//!
//! Criterion measures wall time, beside that of a very small program (`true`). CPU time is the sum that the kernel
//! accounts to children over many runs. `HIT_BENCH_COMMAND=1 cargo bench --bench hit` keeps the fixture and prints the
//! command for callgrind instead.
#![expect(clippy::disallowed_methods, reason = "a bench looks at files with other eyes than the program")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use criterion::Criterion;

const EXTERNS: usize = 20;
const SOURCES: usize = 50;
const CPU_RUNS: u32 = 500;

/// A directory with sources, a cache that contains all results, and the command that compiles the library.
struct Fixture {
    dir: tempfile::TempDir,
    rustc: PathBuf,
    args: Vec<String>,
}

impl Fixture {
    fn new() -> Self {
        let mut dir = tempfile::Builder::new().prefix("kache-hit-").tempdir().expect("temp dir");
        let rustc = rustc();
        let mut args = Vec::new();
        for dep in 0..EXTERNS {
            let source = dir.path().join(format!("dep{dep}.rs"));
            write(&source, &format!("pub fn f{dep}(x: u64) -> u64 {{ x + {dep} }}\n"));
            let fixture = Self { dir, rustc: rustc.clone(), args: lib_args(&format!("dep{dep}"), &source) };
            fixture.compile();
            dir = fixture.dir;
            args.push("--extern".to_owned());
            args.push(format!("dep{dep}={}", deps(&dir).join(format!("libdep{dep}-1.rmeta")).display()));
        }
        let mut root = String::new();
        for module in 0..SOURCES - 1 {
            write(
                &dir.path().join(format!("m{module}.rs")),
                &format!("pub fn g() -> u64 {{ dep{}::f{}(1) }}\n", module % EXTERNS, module % EXTERNS),
            );
            let _ = writeln!(root, "pub mod m{module};");
        }
        let source = dir.path().join("lib.rs");
        write(&source, &root);
        let mut fixture = Self { dir, rustc, args: lib_args("subject", &source) };
        fixture.args.extend(args);
        fixture.compile();
        // Young stamps prove nothing: wait until they settle, then let one hit record them.
        std::thread::sleep(std::time::Duration::from_millis(100));
        fixture.compile();
        let events = std::fs::read_to_string(fixture.cache().join("events/events.jsonl")).expect("events");
        assert!(events.lines().last().is_some_and(|line| line.contains("hit.local")), "the subject must hit: {events}");
        fixture
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kache"));
        command.arg(&self.rustc).args(&self.args).current_dir(self.dir.path());
        command.env("KACHE_CACHE_DIR", self.cache()).env("KACHE_CONFIG", self.dir.path().join("none.toml"));
        command.env_remove("KACHE_LOG").env_remove("RUST_LOG").stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn compile(&self) {
        std::fs::create_dir_all(deps(&self.dir)).expect("deps");
        assert!(self.command().status().expect("kache runs").success());
    }
}

fn deps(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("target/debug/deps")
}

fn lib_args(name: &str, source: &Path) -> Vec<String> {
    let out = source.parent().expect("parent").join("target/debug/deps");
    let text = format!(
        "--crate-name {name} --edition=2021 {} --error-format=json --json=diagnostic-rendered-ansi,artifacts,future-incompat \
         --crate-type lib --emit=dep-info,metadata,link -C embed-bitcode=no -C debuginfo=2 -C metadata=0123456789abcdef \
         -C extra-filename=-1 --out-dir {} -L dependency={}",
        source.display(),
        out.display(),
        out.display()
    );
    text.split_whitespace().map(str::to_owned).collect()
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("write");
}

/// Returns the real rustc, not rustup's proxy, because cargo passes the real one, too.
fn rustc() -> PathBuf {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc");
    PathBuf::from(String::from_utf8(output.stdout).expect("text").trim_end()).join("bin/rustc")
}

/// Returns the CPU time of all children that were waited for, in clock ticks (10 ms): fields 16 and 17 of
/// `/proc/self/stat`.
fn children_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let after_name = stat.rsplit_once(')').expect("stat").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    [fields[13], fields[14]].iter().map(|field| field.parse::<u64>().expect("ticks")).sum()
}

fn cpu_per_run(mut command: impl FnMut() -> Command) -> f64 {
    let before = children_ticks();
    for _ in 0..CPU_RUNS {
        assert!(command().status().expect("runs").success());
    }
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let ticks = (children_ticks() - before) as f64;
    ticks * 10.0 / f64::from(CPU_RUNS)
}

#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn main() {
    let fixture = Fixture::new();
    if std::env::var_os("HIT_BENCH_COMMAND").is_some() {
        println!("cd {}", fixture.dir.path().display());
        println!("export KACHE_CACHE_DIR={} KACHE_CONFIG=/nonexistent", fixture.cache().display());
        println!("{} {} {}", env!("CARGO_BIN_EXE_kache"), fixture.rustc.display(), fixture.args.join(" "));
        let _ = fixture.dir.keep();
        return;
    }
    let mut criterion = Criterion::default().configure_from_args().sample_size(50);
    let mut group = criterion.benchmark_group("one process");
    group.bench_function("true", |bencher| bencher.iter(|| black_box(Command::new("/bin/true").status())));
    group.bench_function("hit", |bencher| bencher.iter(|| black_box(fixture.command().status())));
    group.finish();
    criterion.final_summary();
    println!(
        "CPU per run (user + system, {CPU_RUNS} runs): true {:.2} ms, hit {:.2} ms",
        cpu_per_run(|| Command::new("/bin/true")),
        cpu_per_run(|| fixture.command())
    );
}
