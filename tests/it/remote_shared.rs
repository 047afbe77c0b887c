//! One prefix that many share: two machines sign, one has write access but no key that is trusted, and twenty in all
//! push and pull at the same time and are killed at random moments.
//!
//! No machine that trusts the signers ever has anything else, no entry of theirs is lost, and each of their records can
//! be read. `KACHE_IT_OPERATIONS` sets the number of random operations of the long form (500). The outsider does all
//! that one can do with write access, except that it replaces and deletes nothing: an outsider that may is beyond help.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use fastrand::Rng;
use kache::config::Env;
use kache::events::{Event, EventLog};
use kache::fsx::clock;
use kache::model::{BlobId, EntryKey, Stored};
use kache::remote::operations::push::{self, Filter};
use kache::remote::{BuildRecord, Checkout, Trust, Workspace, WorkspaceObject};
use kache::store::{Entry, Store, survey};

use crate::support::entries::{self, Made, Size};
use crate::support::forger::{self, Keys};
use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{KACHE, Project, manifest, random};

const MACHINES: usize = 20;
const SHORT: usize = 60;
const LONG: usize = 500;
/// Crates that the signers and the outsider make, so that many keys are the same.
const CRATES: u64 = 40;
/// A small pack, which goes into a bundle, and one that is an object of its own.
const SIZES: [Size; 2] = [Size { bytes: 4000, noise: 50 }, Size { bytes: 400_000, noise: 90 }];
const BRANCHES: [&str; 3] = ["main", "feature/one", "feature/two"];
/// Version of the outsider's outputs. Those of the signers are their numbers.
const OUTSIDE: u64 = 99;

/// The outputs of an entry: names and blobs.
type Outputs = Vec<(String, BlobId)>;

fn outputs(entry: &Entry) -> Outputs {
    entry.outputs.iter().map(|output| (output.name.clone(), output.blob)).collect()
}

/// What is true, however the machines hurry.
#[derive(Default)]
struct Truth {
    /// The outputs that a signer made of an entry.
    signed: BTreeMap<EntryKey, HashSet<Outputs>>,
    /// The entries that a signer has pushed to the end.
    pushed: BTreeSet<EntryKey>,
    /// The objects that the outsider wrote by hand.
    forged: BTreeSet<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// Signs with its own key. The number is the version of its outputs.
    Signer(u64),
    /// Trusts the signers and compiles crates that nobody else has.
    Reader(u64),
    /// Writes whatever it likes.
    Outsider,
}

struct Machine {
    role: Role,
    project: Project,
}

/// The server, the machines, and the truth.
struct Shared {
    server: S3Server,
    base: Project,
    workspace: String,
    signers: [Keys; 2],
    outsider: Keys,
    truth: Mutex<Truth>,
    /// Held for writing while the outsider forges objects at free names: nothing of the signers may arrive there
    /// between the look and the write.
    names: RwLock<()>,
}

impl Shared {
    fn new() -> Self {
        let server = S3Server::start();
        let mut base = Project::new();
        base.file("Cargo.toml", manifest("app", "[workspace]\n"));
        base.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
        let (signers, outsider) = ([Keys::new(), Keys::new()], Keys::new());
        let workspace = Workspace::around(base.dir()).expect("a workspace");
        let workspace = Checkout::of(&workspace, &Env::of([("", ""); 0])).workspace;
        Self { server, base, workspace, signers, outsider, truth: Mutex::default(), names: RwLock::default() }
    }

    fn machine(&self, number: usize) -> Machine {
        let role = match number {
            0 | 1 => Role::Signer(number as u64),
            2 => Role::Outsider,
            _ => Role::Reader(number as u64),
        };
        let mut project = self.base.other_machine(&format!("machine-{number}"));
        if let Role::Signer(signer) = role {
            project.set("KACHE_SIGNING_KEY", &self.signers[usize::from(signer == 1)].secret);
        }
        project.set("GITHUB_REF_NAME", BRANCHES[number % BRANCHES.len()]);
        if role != Role::Outsider {
            project.set("KACHE_TRUSTED_KEYS", self.signers.each_ref().map(|keys| keys.public().to_string()).join(","));
        }
        Machine { role, project }
    }

    /// A machine that trusts the signers and has nothing yet.
    fn fresh(&self, name: &str) -> Machine {
        let mut project = self.machine(MACHINES).project.other_machine(name);
        project.set("GITHUB_REF_NAME", BRANCHES[0]);
        Machine { role: Role::Reader(u64::MAX), project }
    }

    /// Makes an entry on a machine, and logs it as one of a build of the workspace.
    fn compile(&self, machine: &Machine, rng: &mut Rng) {
        let store = Store::open(&machine.project.cache_dir());
        let (number, size) = (rng.u64(..CRATES), SIZES[usize::from(rng.u8(..10) == 0)]);
        let (name, version) = match machine.role {
            Role::Signer(version) => (format!("c{number}"), version),
            Role::Outsider => (format!("c{number}"), OUTSIDE),
            Role::Reader(reader) => (format!("own{reader}_{number}"), reader),
        };
        let made = entries::make_version(&store, &name, number, version, size);
        if let Role::Signer(_) = machine.role {
            let entry = store.entry(made.key).expect("an entry");
            self.truth.lock().unwrap().signed.entry(made.key).or_default().insert(outputs(&entry));
        }
        log(&machine.project, &made);
    }

    fn push(&self, machine: &Machine, args: &[&str]) {
        let is_signer = matches!(machine.role, Role::Signer(_));
        let _names = is_signer.then(|| self.names.read());
        let own = if is_signer { made_here(&machine.project) } else { Vec::new() };
        machine.project.kache(&[&["push"], args].concat()).must_succeed();
        self.truth.lock().unwrap().pushed.extend(own);
    }

    /// Runs a push or a pull and kills it.
    fn kill(&self, machine: &Machine, rng: &mut Rng) {
        let args = rng.choice([&["push"][..], &["push", "--all"], &["pull"], &["pull", "--all"]]).expect("one");
        let _names = matches!(machine.role, Role::Signer(_)).then(|| self.names.read());
        let mut command = machine.project.command(KACHE);
        let mut child = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kache starts");
        std::thread::sleep(Duration::from_millis(rng.u64(..600)));
        child.kill().expect("kill");
        child.wait().expect("it was killed");
    }

    fn operation(&self, machine: &Machine, rng: &mut Rng) {
        match rng.u8(..12) {
            0..=2 => (0..rng.usize(1..6)).for_each(|_| self.compile(machine, rng)),
            3..=4 => self.push(machine, &[]),
            5 => self.push(machine, &["--all"]),
            6 => pull(machine, &[]),
            7..=8 => pull(machine, &["--all"]),
            9..=10 => self.kill(machine, rng),
            _ => drop(machine.project.kache_with("KACHE_MAX_SIZE", "300KiB", &["gc"]).must_succeed()),
        }
        if machine.role == Role::Outsider {
            self.intrude(machine, rng);
        }
        assert_eq!(self.wrong(machine), Vec::<String>::new());
        machine.project.assert_store_whole();
    }

    /// Pushes other versions of what the signers made, unsigned or signed with a key that nobody trusts, and forges.
    fn intrude(&self, machine: &Machine, rng: &mut Rng) {
        (0..3).for_each(|_| self.compile(machine, rng));
        machine.project.kache(&["push", "--all"]).must_succeed();
        machine.project.kache_with("KACHE_SIGNING_KEY", &self.outsider.secret, &["push", "--all"]).must_succeed();
        let _names = self.names.write();
        let written = forger::forge(&self.server, &self.signers, &self.outsider, &self.workspace, rng);
        self.truth.lock().unwrap().forged.extend(written);
    }

    /// Runs random operations on all machines at the same time.
    fn run(&self, operations: usize) -> Vec<Machine> {
        let (seed, done) = (random::generator().u64(..), AtomicUsize::new(0));
        let machines: Vec<Machine> = (0..MACHINES).map(|number| self.machine(number)).collect();
        std::thread::scope(|scope| {
            for (number, machine) in machines.iter().enumerate() {
                let (this, done) = (&self, &done);
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(seed ^ number as u64);
                    // Something to sign, and something to forge, however short the run is.
                    if !matches!(machine.role, Role::Reader(_)) {
                        (0..8).for_each(|_| this.compile(machine, &mut rng));
                        this.push(machine, &[]);
                    }
                    while done.fetch_add(1, Ordering::Relaxed) < operations {
                        this.operation(machine, &mut rng);
                    }
                });
            }
        });
        machines
    }

    /// The entries of a machine that neither a signer made nor the machine itself.
    fn wrong(&self, machine: &Machine) -> Vec<String> {
        let Machine { role, project } = machine;
        let own = |name: &str| match role {
            Role::Signer(_) => false,
            Role::Reader(reader) => name.starts_with(&format!("own{reader}_")),
            Role::Outsider => true,
        };
        let entries = survey::survey(&Store::open(&project.cache_dir())).expect("the store").entries;
        let truth = self.truth.lock().unwrap();
        let is_true = |key, entry| truth.signed.get(key).is_some_and(|made| made.contains(&outputs(entry)));
        let wrong = entries.iter().filter(|found| !is_true(&found.key, &found.entry) && !own(&found.entry.crate_name));
        wrong.map(|found| format!("{role:?} has {:?}", found.entry)).collect()
    }

    /// Asserts that a fresh machine gets all entries that the signers pushed.
    fn check_entries(&self) {
        let fresh = self.fresh("fresh");
        pull(&fresh, &["--all"]);
        assert_eq!(self.wrong(&fresh), Vec::<String>::new());
        fresh.project.assert_store_whole();
        let store = survey::survey(&Store::open(&fresh.project.cache_dir())).expect("the store");
        let got: BTreeSet<EntryKey> = store.entries.iter().map(|found| found.key).collect();
        let truth = self.truth.lock().unwrap();
        let lost: Vec<_> = truth.pushed.difference(&got).collect();
        assert!(!truth.pushed.is_empty());
        assert!(lost.is_empty(), "{} of {} entries are lost: {lost:?}", lost.len(), truth.pushed.len());
    }

    /// Asserts that the records of the signers can be read, and that they are used although there are forged ones.
    fn check_records(&self) {
        let trust = Trust::of_keys(self.signers.iter().map(Keys::public));
        let ids = self.signers.each_ref().map(|keys| keys.key.id());
        let forged = self.truth.lock().unwrap().forged.clone();
        let mut records = 0;
        for object in self.server.objects_with(".record.zst").iter().filter(|object| !forged.contains(*object)) {
            let Some((_, WorkspaceObject::Record(name))) = WorkspaceObject::parse_any(object) else {
                panic!("{object}")
            };
            if ids.contains(&name.signer) {
                let record = BuildRecord::decode(&self.server.read(object).expect("a record"), &name, &trust);
                let record = record.unwrap_or_else(|refused| panic!("{object}: {refused}"));
                let mut decoded = record.units.iter().filter_map(|unit| unit.decode_manifest(&trust));
                assert!(decoded.all(|decoded| decoded.is_ok()), "{record:?}");
                records += 1;
            }
        }
        assert!(records > 0, "no signer has written a record");
        let fresh = self.fresh("by-record");
        let run = fresh.project.kache(&["pull"]);
        assert!(run.stderr.contains("build record v2/builds/"), "{run:?}");
        assert_eq!(self.wrong(&fresh), Vec::<String>::new());
        let got = survey::survey(&Store::open(&fresh.project.cache_dir())).expect("the store").entries.len();
        assert!(got > 0, "{run:?}");
    }

    /// Control: a machine that trusts anyone gets what the outsider made, so it is there, and [`Self::wrong`] sees it.
    fn check_that_the_outsider_is_there(&self, outsider: &Machine) {
        outsider.project.kache(&["push", "--all"]).must_succeed();
        let mut anyone = self.fresh("anyone");
        anyone.project.unset("KACHE_TRUSTED_KEYS");
        pull(&anyone, &["--all"]);
        let foreign = self.wrong(&anyone).into_iter().filter(|entry| entry.contains("crate_name: \"c"));
        assert!(foreign.count() > 0, "the outsider has written nothing that could be taken for the signers'");
    }
}

/// Pulls. An object that the outsider forged may be reported as damaged.
fn pull(machine: &Machine, args: &[&str]) {
    let run = machine.project.kache(&[&["pull"], args].concat());
    assert!(matches!(run.code, 0 | 1) && !run.stdout.contains("failed"), "{run:?}");
    assert!(run.stdout.contains("pulled "), "{run:?}");
}

/// Logs an entry as one of a build of the workspace.
fn log(project: &Project, made: &Made) {
    let event = Event {
        v: 1,
        at: clock::now().as_millis(),
        outcome: "miss.no-manifest".into(),
        stored: Some(Stored::Yes),
        crate_name: made.crate_name.clone(),
        unit: made.crate_name.clone(),
        lookup: made.lookup.0.hex(),
        key: made.key.0.hex(),
        target: project.target_dir().to_string_lossy().into_owned(),
        shape: "host/debug".to_owned(),
        cargo_pid: 1,
        ..Event::default()
    };
    EventLog::of(&project.cache_dir()).append(&event).expect("an event");
}

/// The entries that a machine made itself.
fn made_here(project: &Project) -> Vec<EntryKey> {
    let own = Filter { own: true, ..Filter::default() };
    let found = push::candidates(&Store::open(&project.cache_dir()), &own).expect("the store");
    found.into_iter().map(|candidate| candidate.id.key).collect()
}

fn share(operations: usize) {
    let shared = Shared::new();
    let machines = shared.run(operations);
    machines[..2].iter().for_each(|signer| shared.push(signer, &[]));
    // The worst moment: what the outsider writes is newer than all of theirs.
    let mut rng = Rng::with_seed(random::seed());
    (0..3).for_each(|_| shared.intrude(&machines[2], &mut rng));
    shared.check_entries();
    shared.check_records();
    shared.check_that_the_outsider_is_there(&machines[2]);
}

#[test]
fn who_trusts_two_signers_gets_what_they_made() {
    share(SHORT);
}

#[test]
#[ignore = "slow"]
fn who_trusts_two_signers_gets_what_they_made_for_long() {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("KACHE_IT_OPERATIONS={text} is no number"));
    share(std::env::var("KACHE_IT_OPERATIONS").map_or(LONG, parse));
}
