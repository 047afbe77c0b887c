//! Present means present and trusted: what others write neither hides what trusted signers wrote nor stops them.
//! Revoked keys, names of keys, and `kache push --sign-with`.

use kache::model::{Digest, EntryKey};
use kache::remote::format::revocation;
use kache::remote::{ManifestName, names};
use kache::store::Store;

use crate::remote_push_pull::{SMALL, assert_reports};
use crate::support::entries::{self, Made, Size};
use crate::support::forger::Keys;
use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{Project, Run, objects};

/// Large enough that a push asks whether the pack is there before it uploads it.
const LARGE: Size = Size { bytes: 18_000_000, noise: 98 };

/// A server, two signers, and machines that trust them.
struct Signed {
    server: S3Server,
    base: Project,
    signers: [Keys; 2],
}

impl Signed {
    fn new() -> Self {
        let server = S3Server::start();
        let mut base = Project::new();
        base.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
        Self { server, base, signers: [Keys::new(), Keys::new()] }
    }

    /// A machine that trusts both signers.
    fn reader(&self, name: &str) -> Project {
        let mut reader = self.base.other_machine(name);
        reader.set("KACHE_TRUSTED_KEYS", self.signers.each_ref().map(|keys| keys.public().to_string()).join(" "));
        reader
    }

    /// A machine that trusts both signers and signs with the key of one.
    fn signer(&self, at: usize) -> Project {
        let mut signer = self.reader(&format!("signer-{at}"));
        signer.set("KACHE_SIGNING_KEY", &self.signers[at].secret);
        signer
    }

    /// A machine that trusts anyone.
    fn outsider(&self, name: &str) -> Project {
        self.base.other_machine(name)
    }

    /// Replaces nothing.
    fn forge(&self, name: &ManifestName) {
        assert_eq!(self.server.read(&name.object()), None);
        self.server.write(&name.object(), b"garbage");
    }
}

/// Makes entries of the crates `c0` and so on, with the outputs of this version.
fn fill(project: &Project, count: u64, version: u64) -> Vec<Made> {
    let store = Store::open(&project.cache_dir());
    (0..count).map(|seed| entries::make_version(&store, &format!("c{seed}"), seed, version, SMALL)).collect()
}

/// Whether the machine has these entries with the outputs that `from` has.
fn has_those_of(project: &Project, from: &Project, made: &[Made]) -> bool {
    let outputs = |project: &Project, key| Store::open(&project.cache_dir()).entry(key).map(|entry| entry.outputs);
    made.iter().all(|made| outputs(project, made.key).is_some_and(|own| Some(own) == outputs(from, made.key)))
}

fn pull(project: &Project) -> Run {
    project.kache(&["pull", "--all"]).must_succeed()
}

#[test]
fn what_others_wrote_neither_hides_ours_nor_stops_it() {
    let signed = Signed::new();
    let (ours, theirs, reader) = (signed.signer(0), signed.outsider("theirs"), signed.reader("reader"));
    let made = fill(&ours, 3, 0);
    fill(&theirs, 3, 99);
    assert_reports(&theirs.kache(&["push"]).must_succeed(), "pushed 3 entries");
    let run = pull(&reader);
    assert_reports(&run, "pulled 0 entries");
    assert_reports(&run, "3 refused");
    // It does not stop ours, and what was refused is not missed any more.
    assert_reports(&ours.kache(&["push"]).must_succeed(), "pushed 3 entries");
    theirs.kache(&["push", "--all"]).must_succeed();
    assert_reports(&pull(&reader), "pulled 3 entries");
    assert!(has_those_of(&reader, &ours, &made) && !has_those_of(&theirs, &ours, &made));
    assert_eq!(signed.server.objects_with("v2/manifests/").len(), 6, "both are there");
    // Control: who trusts anyone takes the newest.
    let anyone = signed.outsider("anyone");
    assert_reports(&pull(&anyone), "pulled 3 entries");
    assert!(has_those_of(&anyone, &theirs, &made), "the newest");
}

#[test]
fn a_forged_name_hides_nothing() {
    let signed = Signed::new();
    let ours = signed.signer(0);
    let made = fill(&ours, 3, 0);
    ours.kache(&["push"]).must_succeed();
    // Newer ones, of the same entry by the other signer, and of more entries of a lookup key than a pull plans.
    let name = |made: &Made, key, signer: usize| {
        ManifestName::new(&made.crate_name, made.lookup, key, signed.signers[signer].key.id())
    };
    std::thread::sleep(std::time::Duration::from_millis(1100));
    signed.forge(&name(&made[0], made[0].key, 1));
    let other = |number: u64| EntryKey(Digest::of(&number.to_le_bytes()));
    (0..20).for_each(|number| signed.forge(&name(&made[1], other(number), 1)));
    let reader = signed.reader("reader");
    let run = reader.kache(&["pull", "--all"]);
    assert_reports(&run, "pulled 3 entries");
    assert!(has_those_of(&reader, &ours, &made), "{run:?}");
    // One object that is no entry is named. The forged one of an entry that has arrived is not.
    assert_reports(&run, "20 refused");
    // Control: without the true one there is only the forged one.
    assert!(signed.server.remove(&name(&made[0], made[0].key, 0).object()));
    let run = signed.reader("late").kache(&["pull", "--all"]);
    assert_reports(&run, "pulled 2 entries");
    assert_reports(&run, "21 refused");
}

#[test]
fn a_pack_that_somebody_put_there_first_is_not_taken_for_ours() {
    let signed = Signed::new();
    let make = |project: &Project| entries::make(&Store::open(&project.cache_dir()), "large", 1, LARGE);
    // What the outsider makes has the same pack, so the outsider knows the name of ours.
    let theirs = signed.outsider("theirs");
    let made = make(&theirs);
    theirs.kache(&["push"]).must_succeed();
    let manifest = objects::manifest_of(&signed.server, made.key);
    let (object, size) = (objects::pack_object(&manifest), usize::try_from(manifest.pack.size).expect("its size"));
    signed.server.write(&object, &vec![0; size]);
    let ours = signed.signer(0);
    make(&ours);
    assert_reports(&ours.kache(&["push"]).must_succeed(), "pushed 1 entry");
    assert_reports(&pull(&signed.reader("reader")), "pulled 1 entry");
    // Without keys, whoever finds it damaged replaces it.
    signed.server.write(&object, &vec![0; size]);
    let finder = signed.outsider("finder");
    assert_reports(&finder.kache(&["pull", "--all"]), "1 refused");
    make(&finder);
    assert_reports(&finder.kache(&["push"]).must_succeed(), "pushed 1 entry");
    assert_reports(&pull(&signed.outsider("late")), "pulled 1 entry");
    // Control: a pack that is there is not uploaded again.
    signed.server.write(&object, &vec![0; size]);
    let other = signed.outsider("other");
    make(&other);
    other.kache(&["push"]).must_succeed();
    assert_eq!(signed.server.read(&object), Some(vec![0; size]));
}

#[test]
fn a_revoked_key_is_not_trusted_any_more() {
    let signed = Signed::new();
    let (one, two) = (signed.signer(0), signed.signer(1));
    let made = fill(&one, 2, 0);
    entries::make(&Store::open(&two.cache_dir()), "of_two", 7, SMALL);
    for signer in [&one, &two] {
        signer.kache(&["push"]).must_succeed();
    }
    // Lists that say nothing: of nobody that is trusted, under its own name and under that of a signer, and too large.
    let outsider = Keys::new();
    let all = signed.signers.each_ref().map(Keys::public);
    let write = |name: &str, bytes: &[u8]| signed.server.write(name, bytes);
    write(&names::revocation(outsider.key.id()), &revocation::encode(&all, &outsider.key));
    write(&names::revocation(signed.signers[1].key.id()), &revocation::encode(&all, &outsider.key));
    write(&names::revocation(Keys::new().key.id()), &vec![b' '; 1 << 20]);
    assert_reports(&pull(&signed.reader("before")), "pulled 3 entries");
    write(&names::revocation(signed.signers[1].key.id()), &vec![b' '; 1 << 20]);
    assert_reports(&pull(&signed.reader("before-too")), "pulled 3 entries");
    write(
        &names::revocation(signed.signers[0].key.id()),
        &revocation::encode(&[signed.signers[1].public()], &signed.signers[0].key),
    );
    let after = signed.reader("after");
    let run = pull(&after);
    assert_reports(&run, "pulled 2 entries");
    assert_reports(&run, "1 refused");
    assert!(has_those_of(&after, &one, &made));
    // What the holder of the key pushes now is refused, too.
    entries::make(&Store::open(&two.cache_dir()), "later", 8, SMALL);
    two.kache(&["push"]).must_succeed();
    assert_reports(&pull(&after), "pulled 0 entries");
}

#[test]
fn pull_names_the_signer() {
    let signed = Signed::new();
    let mut one = Project::lib("pub fn one() {}\n");
    one.build();
    one.use_remote(&S3Server::variables(&signed.server.endpoint(), WRITER));
    one.set("KACHE_SIGNING_KEY", &signed.signers[0].secret);
    one.kache(&["push"]).must_succeed();
    let mut two = one.other_machine("two");
    two.unset("KACHE_SIGNING_KEY");
    let public = signed.signers[0].public();
    let dry = |project: &Project| project.kache(&["pull", "--dry-run"]).must_succeed();
    two.set("KACHE_TRUSTED_KEYS", format!("ci-main={public}"));
    assert_reports(&dry(&two), "signed by ci-main)");
    // Control: a key without a name, and one that signed nothing.
    two.set("KACHE_TRUSTED_KEYS", public.to_string());
    assert_reports(&dry(&two), &format!("signed by {})", public.id()));
    two.set("KACHE_TRUSTED_KEYS", format!("ci-main={}", signed.signers[1].public()));
    let run = dry(&two);
    assert!(!run.stderr.contains("signed by ci-main"), "{run:?}");
    assert_reports(&run, "ignored 1 build record of signers that are not trusted here");
}

#[test]
fn sign_with_signs_own_entries_only() {
    let signed = Signed::new();
    let other = signed.signer(0);
    fill(&other, 3, 0);
    other.kache(&["push"]).must_succeed();
    let mut job = signed.reader("job");
    pull(&job);
    let store = Store::open(&job.cache_dir());
    entries::make(&store, "own", 7, SMALL);
    let file = signed.base.sandbox_dir().join("the key");
    std::fs::write(&file, format!("{}\n", signed.signers[1].secret)).expect("the key");
    let file = file.to_str().expect("text").to_owned();
    let of_job = || signed.server.objects_with(&format!(".{}", signed.signers[1].key.id()));
    assert_reports(&job.kache(&["push", "--all", "--sign-with", &file]).must_succeed(), "pushed 1 entry");
    assert!(of_job().len() == 1 && of_job()[0].contains("/own/"), "{:?}", of_job());
    entries::make(&store, "more", 8, SMALL);
    job.set("MY_KEY", &signed.signers[1].secret);
    assert_reports(&job.kache(&["push", "--sign-with", "env:MY_KEY"]).must_succeed(), "pushed 1 entry");
    assert_eq!(of_job().len(), 2);
    assert_reports(&pull(&signed.reader("reader")), "pulled 5 entries");
    // Control: without a key, a push sends all entries, and signs none.
    job.kache(&["push", "--all"]).must_succeed();
    assert_eq!((of_job().len(), signed.server.objects_with(".unsigned").len()), (2, 5));
}

#[test]
fn a_wrong_sign_with_says_why_and_writes_nothing() {
    let signed = Signed::new();
    let mut job = signed.reader("job");
    fill(&job, 1, 0);
    job.set("PUBLIC", signed.signers[0].public().to_string()).set("NO_KEY", "kache-sk1:short");
    job.set("KEY", &signed.signers[0].secret);
    let mut anyone = signed.outsider("anyone");
    anyone.set("KEY", &signed.signers[0].secret);
    fill(&anyone, 1, 0);
    for (project, key, why) in [
        (&job, "env:NOT_SET", "the variable NOT_SET is not set"),
        (&job, "no-such-file", "no-such-file"),
        (&job, "env:PUBLIC", "this is a public key"),
        (&job, "env:NO_KEY", "not a signing key"),
        (&anyone, "env:KEY", "--sign-with needs trusted_keys"),
    ] {
        let run = project.kache(&["push", "--sign-with", key]);
        run.ends(1);
        assert!(run.stderr.contains(why), "{key}: {}", run.stderr);
        assert!(!run.stderr.contains("short"), "a key is not printed: {}", run.stderr);
    }
    assert_eq!(signed.server.objects(), Vec::<String>::new());
    // Control.
    assert_reports(&job.kache(&["push", "--sign-with", "env:KEY"]).must_succeed(), "pushed 1 entry");
}
