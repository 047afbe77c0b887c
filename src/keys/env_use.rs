//! Decides whether a path variable is used only to include files.
//!
//! `include!(concat!(env!("OUT_DIR"), "/x.rs"))` reads a file whose content is an input anyway, so the value of the
//! variable may differ between checkouts. Any other `env!` of a path may reach the output in a form that no scan can
//! find (its length, its hash), so it pins. The check is lexical and strict: anything that it does not recognise is not
//! an include.

use super::tokens::{Token, tokens, without_test_modules};

const ENV_MACROS: [&str; 2] = ["env", "option_env"];
const INCLUDE_MACROS: [&str; 3] = ["include", "include_str", "include_bytes"];
/// Macros of the standard library that only evaluate a name, unless the source has its own macro of that name.
const HARMLESS_MACROS: [&str; 18] = [
    "assert",
    "assert_eq",
    "assert_ne",
    "dbg",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "eprintln",
    "format",
    "format_args",
    "matches",
    "panic",
    "print",
    "println",
    "unreachable",
    "vec",
    "write",
    "writeln",
];

/// Whether every `env!("name")` and `option_env!("name")` in `sources` is directly inside an include, at least one
/// exists, and nothing hides another: an argument that cannot be read, a macro under another name, or a macro that gets
/// the tokens of the include instead of its text.
pub fn is_include_only<'a>(name: &str, sources: impl IntoIterator<Item = &'a str>) -> bool {
    let mut includes = 0;
    for source in sources {
        match includes_in(&tokens(source), name, true) {
            Some(count) => includes += count,
            None => return false,
        }
    }
    includes > 0
}

/// Whether `sources`, which are those of a whole library, may read the variable for more than an include. This covers
/// macros that other crates call. If none of the sources names the variable, a macro that gets the bare word `env`
/// cannot read the variable: its caller would have to name it, and the check of the caller finds that.
pub fn may_read_value<'a>(name: &str, sources: impl IntoIterator<Item = &'a str> + Clone) -> bool {
    let is_named = sources.clone().into_iter().any(|source| source.contains(name));
    let in_library = |source| without_test_modules(tokens(source));
    sources.into_iter().any(|source| includes_in(&in_library(source), name, is_named).is_none())
}

fn includes_in(tokens: &[Token], name: &str, is_named: bool) -> Option<usize> {
    let mut checker = EnvUseChecker { tokens, name, is_named, open: Vec::new(), in_use: false, own: Vec::new() };
    checker.own = checker.own_macros();
    checker.count_includes()
}

/// The construct that an open delimiter belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Construct {
    /// `include!(`, `include_str!(` or `include_bytes!(`
    Include,
    /// `concat!(`
    Concat,
    /// `macro_rules! name {`: its text takes effect where the macro is called.
    Rules,
    /// The arguments of any other macro, which may do anything with them.
    Foreign,
    /// A block, a group, an attribute.
    Plain,
}

/// A walk over the tokens of one source.
struct EnvUseChecker<'a> {
    tokens: &'a [Token],
    name: &'a str,
    /// Whether any source names the variable.
    is_named: bool,
    open: Vec<Construct>,
    /// Whether the walk is in a `use` of something other than the standard library.
    in_use: bool,
    /// Harmless names that mean something else in this source.
    own: Vec<&'a str>,
}

impl<'a> EnvUseChecker<'a> {
    /// Returns the harmless macros whose names this source imports, defines or renames.
    fn own_macros(&mut self) -> Vec<&'a str> {
        let mut own = Vec::new();
        let tokens: &'a [Token] = self.tokens;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                Token::Word(word) if word == "use" => self.in_use = !self.is_std_path(at + 1),
                Token::Word(word) if HARMLESS_MACROS.contains(&word.as_str()) && self.is_renamed(at) => {
                    own.push(word.as_str());
                }
                Token::Mark(b';') => self.in_use = false,
                _ => {}
            }
        }
        self.in_use = false;
        own
    }

    /// Counts the includes of the variable. `None` if the source uses it in any other way, or may do so.
    fn count_includes(mut self) -> Option<usize> {
        let mut includes = 0;
        for at in 0..self.tokens.len() {
            match &self.tokens[at] {
                Token::Word(word) if word == "use" => {
                    self.in_use = !self.is_std_path(at + 1) && !self.is_own_path(at + 1);
                }
                Token::Word(word) if ENV_MACROS.contains(&word.as_str()) => {
                    includes += usize::from(self.include_at(at)?);
                }
                Token::Word(word) if is_builtin(word) && self.is_renamed(at) => return None,
                // The name is an argument of a macro, which may read the variable of this name.
                Token::Text(text) if text == self.name && self.may_be_called() && !self.is_read(at) => return None,
                Token::Mark(b';') => self.in_use = false,
                Token::Mark(b'(' | b'[' | b'{') => self.open.push(self.construct(at)),
                Token::Mark(b')' | b']' | b'}') => {
                    self.open.pop();
                }
                _ => {}
            }
        }
        Some(includes)
    }

    /// Checks an `env` or `option_env`: `Some(true)` is an include of the variable, `Some(false)` is unrelated to it,
    /// and `None` is any other use.
    fn include_at(&self, at: usize) -> Option<bool> {
        if self.is_renamed(at) {
            return None;
        }
        if !self.is_call(at) {
            // A bare name may be an argument of a macro, which may call it.
            let is_harmless = !self.may_be_called() || self.is_module(at) || self.is_fragment(at);
            return (is_harmless || !self.is_named).then_some(false);
        }
        match &self.tokens[at + 3..] {
            [Token::Text(text), Token::Mark(b')' | b']' | b'}' | b','), ..] if text != self.name => Some(false),
            [Token::Text(_), Token::Mark(b')' | b']' | b'}'), ..] if self.is_included(at) => Some(true),
            _ => None,
        }
    }

    /// Whether the current token is an argument of a macro, or in the text of one.
    fn may_be_called(&self) -> bool {
        self.open.iter().any(|construct| matches!(construct, Construct::Rules | Construct::Foreign))
    }

    /// Whether `env ! (` or `option_env ! (` is right before `at`.
    fn is_read(&self, at: usize) -> bool {
        at >= 3 && self.is_call(at - 3) && self.word(at - 3).is_some_and(|word| ENV_MACROS.contains(&word))
    }

    /// Whether `include ! (` or `include ! ( concat ! (` is right before `at`, and no macro around it could inspect it.
    fn is_included(&self, at: usize) -> bool {
        let ends = |constructs: &[Construct]| self.open.ends_with(constructs);
        let opened_before = |distance: usize| at >= distance && self.is_call(at - distance);
        let around = if ends(&[Construct::Include]) && opened_before(3) {
            self.open.len() - 1
        } else if ends(&[Construct::Include, Construct::Concat]) && opened_before(3) && opened_before(6) {
            self.open.len() - 2
        } else {
            return false;
        };
        !self.open[..around].contains(&Construct::Foreign)
    }

    /// Whether `name ! (` starts at `at`.
    fn is_call(&self, at: usize) -> bool {
        let opens = |mark: &Token| matches!(mark, Token::Mark(b'(' | b'[' | b'{'));
        self.word(at).is_some() && self.is_mark(at + 1, b'!') && self.tokens.get(at + 2).is_some_and(opens)
    }

    /// Whether a path such as `core::` or `::core::` starts at `at`. An import from there keeps its usual meaning.
    fn is_std_path(&self, at: usize) -> bool {
        matches!(self.crate_of_path(at), Some("core" | "std" | "alloc"))
    }

    /// Whether a path such as `crate::` starts at `at`. A macro of this crate is judged where it is defined. (itertools
    /// has a function `concat`.)
    fn is_own_path(&self, at: usize) -> bool {
        matches!(self.crate_of_path(at), Some("crate" | "self" | "super"))
    }

    fn crate_of_path(&self, mut at: usize) -> Option<&str> {
        while self.is_mark(at, b':') {
            at += 1;
        }
        self.word(at).filter(|_| self.is_module(at))
    }

    /// Whether the word at `at` is a part of a path, as in `env::`.
    fn is_module(&self, at: usize) -> bool {
        self.is_mark(at + 1, b':') && self.is_mark(at + 2, b':')
    }

    /// Whether the word at `at` is a macro parameter such as `$env`. The caller passes its value, and is judged for
    /// that. (clang-sys has a macro with a parameter of this name.)
    fn is_fragment(&self, at: usize) -> bool {
        at >= 1 && self.is_mark(at - 1, b'$')
    }

    /// Whether the source gives the name of a builtin at `at` to another macro, or another name to the builtin.
    fn is_renamed(&self, at: usize) -> bool {
        let before = |distance: usize, word: &str| at >= distance && self.word(at - distance) == Some(word);
        let is_defined = before(1, "macro") || (before(2, "macro_rules") && self.is_mark(at - 1, b'!'));
        let is_alias = before(1, "as") || self.word(at + 1) == Some("as");
        // `use std::env;` imports a module. The other names do not need an import.
        let is_imported = self.in_use && self.word(at).is_some_and(|word| !ENV_MACROS[..1].contains(&word));
        is_defined || is_alias || is_imported
    }

    /// Returns the construct that the delimiter at `at` opens.
    fn construct(&self, at: usize) -> Construct {
        if at >= 3 && self.word(at - 3) == Some("macro_rules") && self.is_mark(at - 2, b'!') {
            return Construct::Rules;
        }
        if at < 2 || !self.is_mark(at - 1, b'!') {
            return Construct::Plain;
        }
        match self.word(at - 2) {
            None => Construct::Plain,
            Some(word) if INCLUDE_MACROS.contains(&word) && self.is_std(at - 2) => Construct::Include,
            Some("concat") if self.is_std(at - 2) => Construct::Concat,
            Some(word) if ENV_MACROS.contains(&word) => Construct::Plain,
            Some(word) if HARMLESS_MACROS.contains(&word) && !self.own.contains(&word) && self.is_std(at - 2) => {
                Construct::Plain
            }
            _ => Construct::Foreign,
        }
    }

    /// Whether the macro at `at` is called without a path, or with `std::` or `core::`.
    fn is_std(&self, at: usize) -> bool {
        let has_path = at >= 2 && self.is_mark(at - 1, b':') && self.is_mark(at - 2, b':');
        !has_path || (at >= 3 && matches!(self.word(at - 3), Some("std" | "core")))
    }

    fn word(&self, at: usize) -> Option<&str> {
        match self.tokens.get(at) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn is_mark(&self, at: usize, mark: u8) -> bool {
        self.tokens.get(at) == Some(&Token::Mark(mark))
    }
}

fn is_builtin(word: &str) -> bool {
    word == "concat" || INCLUDE_MACROS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(source: &str) -> bool {
        is_include_only("OUT_DIR", [source])
    }

    #[test]
    fn includes_are_recognised() {
        assert!(only(r#"include!(concat!(env!("OUT_DIR"), "/x.rs"));"#));
        assert!(only("const X: &str = include_str!( concat! ( env!(\"OUT_DIR\") , \"/x\" ) );"));
        assert!(only(r##"include_bytes!{concat![env!(r#"OUT_DIR"#), "/x"]}"##));
        assert!(only("/* env!(\"OUT_DIR\") */ // env!(\"OUT_DIR\")\ninclude!(concat!(env!(\"OUT_DIR\"), \"/x\"));"));
        assert!(only(r#"include!(env!("OUT_DIR"));"#));
        assert!(only(r#"const V: &str = env!("V"); include!(concat!(env!("OUT_DIR"), "/x.rs"));"#));
    }

    #[test]
    fn u09_values_are_not_includes() {
        assert!(!only(r#"const D: &str = env!("OUT_DIR");"#));
        assert!(!only(r#"const L: usize = env!("OUT_DIR").len();"#));
        assert!(!only(r#"const D: &str = concat!(env!("OUT_DIR"), "/x");"#));
        assert!(!only(r#"const D: Option<&str> = option_env!("OUT_DIR");"#));
        assert!(!only("const D: &str = env!(\"OUT_DIR\", \"not set\");"));
        assert!(!only("no use at all"));
    }

    #[test]
    fn u10_one_other_use_is_enough() {
        let include = r#"include!(concat!(env!("OUT_DIR"), "/x.rs"));"#;
        assert!(!is_include_only("OUT_DIR", [include, r#"fn d() -> &'static str { env!("OUT_DIR") }"#]));
        assert!(!only(&format!("{include} macro_rules! v {{ ($n:literal) => {{ env!($n) }} }}")));
        assert!(!only(&format!("{include} const D: &str = env!(\"OUT\\x5fDIR\");")));
    }

    #[test]
    fn u09_what_a_macro_reads_for_others_is_seen() {
        let reads = |source: &str| may_read_value("OUT_DIR", [source]);
        // rustix does this.
        let renamed = "mod tests { macro_rules! concat { () => {} } }";
        assert!(reads(renamed) && !reads(&format!("#[cfg(test)] {renamed}")));
        assert!(reads("macro_rules! dir_len { () => { env!(\"OUT_DIR\").len() } }"));
        assert!(!reads("macro_rules! inc { ($f:expr) => { include!(concat!(env!(\"OUT_DIR\"), $f)) } }"));
        assert!(!reads("fn f() { std::env::var(\"OUT_DIR\"); }"));
        assert!(reads("macro_rules! len { ($n:expr) => { env!($n).len() } }"));
        assert!(!reads("feature! { pub mod env; fn f(env: &str) {} }"));
        assert!(reads("feature! { pub mod env; fn f(env: &str) {} } const N: &str = \"OUT_DIR\";"));
    }

    #[test]
    fn u09_disguises_are_seen() {
        let include = r#"include!(concat!(env!("OUT_DIR"), "/x.rs"));"#;
        for disguise in [
            "use std::env as e;",
            "use std::option_env as o;",
            "use core::{env as e};",
            "m!(env, \"OUT_DIR\");",
            "m!(other::env);",
            "use crate::loud::vec; fn f() { vec![env, \"OUT_DIR\"] }",
            "use {crate::m, lens::include};",
            "use crate::m::lens as include;",
            "m!(\"OUT_DIR\");",
            "macro_rules! m { ($p:ident) => { env } }",
            "macro_rules! m { ($env:ident) => { $env!(\"OUT_DIR\").len() } }",
            "macro_rules! m { ($env:ident) => { $env!($n) } } m!(env);",
            "macro_rules! include_str { () => {} }",
            "use lens as include;",
            "use m::include_bytes;",
            "m::include_str!(concat!(env!(\"OUT_DIR\"), \"x\"));",
            "look!(include_str!(concat!(env!(\"OUT_DIR\"), \"x\")));",
            "macro_rules! m { () => { look!(include_str!(env!(\"OUT_DIR\"))) } }",
            "use loud::vec; fn f() { vec![env, \"OUT_DIR\"] }",
            "macro_rules! format { ($e:ident) => {} } fn f() { format!(env) }",
            "fn f() { println!(\"{}\", env!(\"OUT_DIR\")) }",
        ] {
            assert!(!only(&format!("{include} {disguise}")), "{disguise}");
        }
        for innocent in [
            "use std::{env, fs}; fn f() { env::var(\"X\"); }",
            "pub use crate::concat_impl::concat;",
            "use super::{concat, include};",
            "fn f(env: &str) { g(env) }",
            "macro_rules! is { ($env:expr) => { cfg!(target_env = $env) } } fn f() { is!(\"msvc\"); g(\"OUT_DIR\") }",
            "pub use ::core::{concat, option_env}; pub use alloc::format;",
            "fn f() { vec![call.env.get(\"OUT_DIR\")]; assert!(env(\"OUT_DIR\")); }",
            "macro_rules! m { ($f:expr) => { include!(concat!(env!(\"OUT_DIR\"), $f)) } }",
            "#![doc = include_str!(concat!(env!(\"OUT_DIR\"), \"/doc.md\"))]",
            "mod m { include!(concat!(env!(\"OUT_DIR\"), \"/m.rs\")); }",
        ] {
            assert!(only(&format!("{include} {innocent}")), "{innocent}");
        }
    }
}
