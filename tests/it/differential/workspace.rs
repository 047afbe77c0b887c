//! The workspace of the differential test: a small state that determines all files, variables and arguments, and the
//! output that the program must print.
//!
//! * `app` is a binary that depends on all other packages except `wide` and prints everything that can change. It is
//!   linked with a linker script that its build script names.
//! * `macros` is a proc-macro crate that reads files, follows a link, lists a directory, probes a file and reads a
//!   variable, without reporting any of it. `alpha` and `app` use it.
//! * `wide` is another one, for `gamma`: it walks a tree, starts a shell, reads a size and lists all variables.
//! * `beta` has a module in one of two places, an included file, a feature, and a variable that rustc reports.
//! * `native` has a build script that compiles C, generates a source, and sets a variable and a cfg.
//! * `finds` has a build script that lists and reads files and reads a variable without telling cargo.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fastrand::Rng;

use super::sources;
use crate::support::manifest;

/// A file or a link of the workspace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Node {
    File(String),
    Link(&'static str),
}

/// Everything that an edit can change.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate edit")]
pub(super) struct State {
    alpha: u32,
    beta: u32,
    inner: u32,
    inner_is_a_directory: bool,
    template: u32,
    macros: u32,
    /// Files that the macros list and read: number to value.
    data: BTreeMap<u32, u32>,
    link: &'static str,
    is_there: bool,
    note: u32,
    c: u32,
    header: u32,
    opt_level: &'static str,
    /// Files in the tree that macros walk: directory and name to value.
    tree: BTreeMap<(u32, u32), u32>,
    shell: u32,
    size: u32,
    script: &'static str,
    /// Files that a build script lists and reads without telling cargo: number to value.
    found: BTreeMap<u32, u32>,
    found_shell: u32,
    found_maybe: bool,
    hidden: Option<u32>,
    unrelated_file: u32,
    mood: Option<u32>,
    weather: Option<u32>,
    flavour: Option<u32>,
    unrelated: Option<u32>,
    listed: [bool; 2],
    flagged: bool,
    loud: bool,
    extra: bool,
    release: bool,
    /// Whether a source causes a warning, and whether one does not compile.
    warned: bool,
    broken: bool,
}

/// The name of an edit, and its effect.
type Edit = (&'static str, fn(&mut State, &mut Rng));

/// Values are drawn from small ranges, so that states recur.
const EDITS: &[Edit] = &[
    ("source of alpha", |state, rng| state.alpha = rng.u32(..3)),
    ("source of beta", |state, rng| state.beta = rng.u32(..3)),
    ("source of a module", |state, rng| state.inner = rng.u32(..3)),
    ("place of a module", |state, _| state.inner_is_a_directory ^= true),
    ("included file", |state, rng| state.template = rng.u32(..3)),
    ("source of the macros", |state, rng| state.macros = rng.u32(..2)),
    ("macro data, a file's content", |state, rng| {
        let (name, value) = (rng.u32(..4), rng.u32(..3));
        state.data.entry(name).and_modify(|old| *old = value);
    }),
    ("macro data, a file added", |state, rng| {
        state.data.entry(rng.u32(..4)).or_insert(0);
    }),
    ("macro data, a file removed", |state, rng| {
        state.data.remove(&rng.u32(..4));
    }),
    ("macro data, a file renamed", |state, rng| {
        let (from, to) = (rng.u32(..4), rng.u32(..4));
        if let Some(value) = state.data.remove(&from) {
            state.data.insert(to, value);
        }
    }),
    ("macro data, a link", |state, rng| state.link = ["data/0.txt", "data/1.txt", "other.txt"][rng.usize(..3)]),
    ("macro data, a file that is asked for", |state, _| state.is_there ^= true),
    ("file that the build script reads", |state, rng| state.note = rng.u32(..3)),
    ("file that a script lists", |state, rng| {
        let name = rng.u32(..3);
        if state.found.remove(&name).is_none() {
            state.found.insert(name, rng.u32(..3));
        }
    }),
    ("file that a script's shell reads", |state, rng| state.found_shell = rng.u32(..3)),
    ("file that a script asks for", |state, _| state.found_maybe ^= true),
    ("variable that a script's shell reads", |state, rng| state.hidden = maybe(rng, 3)),
    ("C source", |state, rng| state.c = rng.u32(..3)),
    ("C header", |state, rng| state.header = rng.u32(..2)),
    ("profile", |state, rng| state.opt_level = ["0", "1", "s"][rng.usize(..3)]),
    ("macro data, a tree", |state, rng| {
        let place = (rng.u32(..3), rng.u32(..2));
        if state.tree.remove(&place).is_none() {
            state.tree.insert(place, rng.u32(..2));
        }
    }),
    ("macro data, read by a shell", |state, rng| state.shell = rng.u32(..3)),
    ("macro data, a size", |state, rng| state.size = rng.u32(..3)),
    ("linker script", |state, rng| state.script = ["part_one", "part_two"][rng.usize(..2)]),
    ("one of all variables", |state, rng| state.listed[rng.usize(..2)] ^= true),
    ("flags of rustc", |state, _| state.flagged ^= true),
    ("file that nobody reads", |state, rng| state.unrelated_file = rng.u32(..1000)),
    ("variable that rustc tells of", |state, rng| state.mood = maybe(rng, 3)),
    ("variable that a macro reads", |state, rng| state.weather = maybe(rng, 3)),
    ("variable of the build script", |state, rng| state.flavour = maybe(rng, 2)),
    ("variable that nobody reads", |state, rng| state.unrelated = maybe(rng, 1000)),
    ("feature of beta", |state, _| state.loud ^= true),
    ("feature of alpha", |state, _| state.extra ^= true),
    ("release or not", |state, _| state.release ^= true),
    ("warning in alpha", |state, _| state.warned ^= true),
    ("type error in beta", |state, _| state.broken = true),
];

/// Returns a number below `limit`, or none.
fn maybe(rng: &mut Rng, limit: u32) -> Option<u32> {
    Some(rng.u32(..=limit)).filter(|number| *number < limit)
}

/// Returns the text of a variable. 0 is the empty text, because unset, empty and set are three different cases.
fn or_empty(value: u32) -> String {
    if value == 0 { String::new() } else { value.to_string() }
}

/// Sources whose macros read inputs that cargo does not know.
pub(super) const MACRO_USERS: [&str; 3] = ["alpha/src/lib.rs", "gamma/src/lib.rs", "app/src/main.rs"];

impl State {
    pub(super) fn first() -> Self {
        Self {
            alpha: 0,
            beta: 0,
            inner: 0,
            inner_is_a_directory: false,
            template: 0,
            macros: 0,
            data: BTreeMap::from([(0, 0), (1, 1)]),
            link: "data/0.txt",
            is_there: false,
            note: 0,
            c: 0,
            header: 0,
            opt_level: "0",
            tree: BTreeMap::from([((0, 0), 0)]),
            shell: 0,
            size: 0,
            script: "part_one",
            found: BTreeMap::from([(0, 0)]),
            found_shell: 0,
            found_maybe: false,
            hidden: None,
            unrelated_file: 0,
            mood: None,
            weather: None,
            flavour: None,
            unrelated: None,
            listed: [false; 2],
            flagged: false,
            loud: false,
            extra: false,
            release: false,
            warned: false,
            broken: false,
        }
    }

    /// Returns a state that is one edit away, and the name of the edit.
    pub(super) fn edited(&self, rng: &mut Rng) -> (Self, &'static str) {
        loop {
            let (name, edit) = EDITS[rng.usize(..EDITS.len())];
            let mut next = self.clone();
            if self.broken {
                next.mend();
                return (next, "mended");
            }
            edit(&mut next, rng);
            if next != *self {
                return (next, name);
            }
        }
    }

    /// Returns all files of the workspace, by path.
    pub(super) fn files(&self) -> BTreeMap<String, Node> {
        let mut files = BTreeMap::new();
        let mut file = |path: &str, text: String| drop(files.insert(path.to_owned(), Node::File(text)));
        self.manifests(&mut file);
        self.macro_data(&mut file);
        self.sources(&mut file);
        file("alpha/unread/file.txt", self.unrelated_file.to_string());
        files.insert("alpha/link.txt".into(), Node::Link(self.link));
        files
    }

    fn macro_data(&self, file: &mut impl FnMut(&str, String)) {
        file("alpha/other.txt", "other".into());
        for (name, value) in &self.data {
            file(&format!("alpha/data/{name}.txt"), value.to_string());
        }
        file("alpha/data/kept.txt", String::new());
        if self.is_there {
            file("alpha/maybe/deep.txt", String::new());
        }
        for ((dir, name), value) in &self.tree {
            file(&format!("alpha/tree/{dir}/{name}"), value.to_string());
        }
        file("alpha/shell.txt", self.shell.to_string());
        file("alpha/size.txt", "x".repeat(self.size as usize));
    }

    fn sources(&self, file: &mut impl FnMut(&str, String)) {
        let Self { alpha, beta, inner, template, macros, note, c, header, .. } = self;
        let number = |text: &str, value: &u32| text.replace("NUMBER", &value.to_string());
        file("macros/src/lib.rs", number(sources::MACROS, macros));
        file("wide/src/lib.rs", number(sources::WIDE_MACROS, macros));
        // The order of the units decides which warnings a failing build prints, so a broken state has no warning.
        let warning = if self.warned && !self.broken { "fn nobody_calls_this() {}\n" } else { "" };
        let error = if self.broken { "const BROKEN: u32 = \"text\";\n" } else { "" };
        file("alpha/src/lib.rs", number(sources::ALPHA, alpha) + warning);
        file("beta/src/lib.rs", number(sources::BETA, beta) + error);
        let place = if self.inner_is_a_directory { "beta/src/inner/mod.rs" } else { "beta/src/inner.rs" };
        file(place, format!("pub const N: u32 = {inner};\n"));
        file("beta/template.txt", template.to_string());
        file("gamma/src/lib.rs", sources::GAMMA.into());
        file("finds/build.rs", sources::FINDS_SCRIPT.into());
        file("finds/src/lib.rs", sources::FINDS.into());
        file("finds/shell.txt", self.found_shell.to_string());
        file("finds/data/kept", "k".into());
        for (name, value) in &self.found {
            file(&format!("finds/data/{name}"), value.to_string());
        }
        if self.found_maybe {
            file("finds/maybe.txt", String::new());
        }
        file("native/build.rs", sources::NATIVE_SCRIPT.into());
        file("native/src/lib.rs", sources::NATIVE.into());
        file("native/note.txt", note.to_string());
        file("native/c/part.c", number(sources::PART, c));
        file("native/c/part.h", format!("#define HEADER {header}\n"));
        file("app/build.rs", sources::APP_SCRIPT.into());
        file("app/src/main.rs", sources::APP.into());
        file("app/chosen.ld", format!("chosen = {};\n", self.script));
    }

    fn manifests(&self, file: &mut impl FnMut(&str, String)) {
        let workspace = "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\nexclude = [\"target\"]\n";
        let profile = |name: &str| format!("[profile.{name}]\nopt-level = {:?}\ndebug = 0\n", self.opt_level);
        let profile = |name: &str| profile(name).replace("\"0\"", "0").replace("\"1\"", "1");
        file("Cargo.toml", format!("{workspace}{}{}", profile("dev"), profile("release")));
        let on = |names: &[&str]| {
            names.iter().fold("[dependencies]\n".to_owned(), |mut text, name| {
                let _ = writeln!(text, "{name} = {{ path = \"../{name}\" }}");
                text
            })
        };
        let features = "[features]\nloud = [\"beta/loud\"]\nextra = [\"alpha/extra\"]\n";
        let of_app = on(&["alpha", "beta", "finds", "gamma", "macros", "native"]);
        file("app/Cargo.toml", manifest("app", &format!("{of_app}{features}")));
        file("alpha/Cargo.toml", manifest("alpha", &format!("{}[features]\nextra = []\n", on(&["macros"]))));
        file("gamma/Cargo.toml", manifest("gamma", &on(&["wide"])));
        file("beta/Cargo.toml", manifest("beta", "[features]\nloud = []\n"));
        for name in ["macros", "wide"] {
            file(&format!("{name}/Cargo.toml"), manifest(name, "[lib]\nproc-macro = true\n"));
        }
        for name in ["native", "finds"] {
            file(&format!("{name}/Cargo.toml"), manifest(name, ""));
        }
    }

    /// Returns all variables. `None`: the variable is not set.
    pub(super) fn variables(&self) -> [(&'static str, Option<String>); 8] {
        [
            ("MOOD", self.mood.map(or_empty)),
            ("WEATHER", self.weather.map(or_empty)),
            ("FLAVOUR", self.flavour.map(|value| value.to_string())),
            ("HIDDEN", self.hidden.map(or_empty)),
            ("UNRELATED", self.unrelated.map(|value| value.to_string())),
            ("LISTED_ONE", self.listed[0].then(String::new)),
            ("LISTED_TWO", self.listed[1].then(String::new)),
            ("RUSTFLAGS", self.flagged.then(|| "--cfg flagged".to_owned())),
        ]
    }

    /// Returns the arguments of `cargo`.
    pub(super) fn arguments(&self) -> Vec<&'static str> {
        let mut args = vec!["build", "--quiet", "-p", "app"];
        args.extend(self.loud.then_some("--features=loud"));
        args.extend(self.extra.then_some("--features=extra"));
        args.extend(self.release.then_some("--release"));
        args
    }

    /// Returns the path of the program, below the target directory.
    pub(super) fn program(&self) -> &'static str {
        if self.release { "release/app" } else { "debug/app" }
    }

    /// Whether macros read other values than in `other`, which cargo does not notice.
    pub(super) fn looks_other_to_macros(&self, other: &Self) -> bool {
        let lists = |state: &Self| (state.data.clone(), state.tree.clone(), state.listed);
        let things = |state: &Self| (state.link, state.is_there, state.weather, state.shell, state.size);
        lists(self) != lists(other) || things(self) != things(other)
    }

    /// Whether a script reads other values than in `other`, which cargo does not notice. It does not notice removed
    /// files either.
    pub(super) fn looks_other_to_scripts(&self, other: &Self) -> bool {
        self.hidden != other.hidden || self.found != other.found || self.found_maybe != other.found_maybe
    }

    /// Whether the workspace does not compile.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Removes the error.
    pub(super) fn mend(&mut self) {
        self.broken = false;
    }

    /// Returns the output that the program must print.
    pub(super) fn expected(&self) -> String {
        let Self { alpha, beta, inner, template, macros, note, loud, extra, opt_level, .. } = self;
        let or_none = |value: Option<u32>| value.map_or("none".to_owned(), or_empty);
        let data = |number: u32| self.data.get(&number).map_or("none".to_owned(), u32::to_string);
        let linked = match self.link {
            "data/0.txt" => data(0),
            "data/1.txt" => data(1),
            _ => "other".to_owned(),
        };
        let there = if self.is_there { "yes" } else { "no" };
        let (weather, mood) = (or_none(self.weather), or_none(self.mood));
        let part = self.c + 10 * self.header + 100 * self.flavour.unwrap_or(9);
        let names: Vec<String> =
            self.data.keys().map(|name| format!("{name}.txt")).chain(["kept.txt".into()]).collect();
        let mut found: Vec<String> = self.found.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        found.extend(["kept:k".into(), self.found_shell.to_string()]);
        found.extend(self.found_maybe.then(|| "maybe".to_owned()));
        let found = format!("found={} at=build hidden={}", found.join(","), or_none(self.hidden));
        let tree: Vec<String> = self.tree.iter().map(|((dir, name), value)| format!("{dir}/{name}:{value}")).collect();
        let listed = [("LISTED_ONE", self.listed[0]), ("LISTED_TWO", self.listed[1])];
        let listed: Vec<&str> = listed.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
        let gamma = format!(
            "tree={macros}{} shell={macros}{} size={macros}{} listed={macros}{} flagged={}",
            tree.join(","),
            self.shell,
            self.size,
            listed.join(","),
            self.flagged
        );
        format!(
            "alpha={alpha} extra={extra} first={macros}{} linked={macros}{linked} there={macros}{there} \
             weather={macros}{weather}\nbeta={beta} inner={inner} template={template} mood={mood} loud={loud}\n\
             {gamma}\npart={part} note={note}{note} special={} level={opt_level}\n{found}\nsecond={macros}{} listing={macros}{} chosen={} debug={}\n",
            data(0),
            *note == 1,
            data(1),
            names.join(","),
            if self.script == "part_one" { 1 } else { 2 },
            !self.release,
        )
    }
}
