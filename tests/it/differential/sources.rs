//! The sources of the workspace of the differential test. `NUMBER` is replaced with a value that edits change.

/// Macros that each read one thing.
pub(super) const MACROS: &str = r#"
use proc_macro::TokenStream;
use std::path::{Path, PathBuf};

const VERSION: u32 = NUMBER;

fn argument(input: &TokenStream) -> String { input.to_string().trim_matches('"').to_owned() }
fn place(input: &TokenStream) -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../alpha").join(argument(input))
}
fn text(value: &str) -> TokenStream { format!("{:?}", format!("{VERSION}{value}")).parse().unwrap() }

#[proc_macro]
pub fn content(input: TokenStream) -> TokenStream {
    text(std::fs::read_to_string(place(&input)).as_deref().unwrap_or("none"))
}
#[proc_macro]
pub fn listing(input: TokenStream) -> TokenStream {
    let list = std::fs::read_dir(place(&input)).unwrap();
    let mut names: Vec<String> = list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    text(&names.join(","))
}
#[proc_macro]
pub fn is_there(input: TokenStream) -> TokenStream { text(if place(&input).exists() { "yes" } else { "no" }) }
#[proc_macro]
pub fn variable(input: TokenStream) -> TokenStream {
    text(std::env::var(argument(&input)).as_deref().unwrap_or("none"))
}
"#;

/// Macros that read more: whole trees, files through a shell, sizes, all variables.
pub(super) const WIDE_MACROS: &str = r#"
use proc_macro::TokenStream;
use std::path::{Path, PathBuf};

const VERSION: u32 = NUMBER;

fn argument(input: &TokenStream) -> String { input.to_string().trim_matches('"').to_owned() }
fn place(input: &TokenStream) -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../alpha").join(argument(input))
}
fn text(value: &str) -> TokenStream { format!("{:?}", format!("{VERSION}{value}")).parse().unwrap() }

fn walk(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(&path, found),
            false => found.push(format!("{}:{}", path.display(), std::fs::read_to_string(&path).unwrap())),
        }
    }
}
#[proc_macro]
pub fn tree(input: TokenStream) -> TokenStream {
    let (root, mut found) = (place(&input), Vec::new());
    walk(&root, &mut found);
    found.sort();
    let prefix = format!("{}/", root.display());
    text(&found.iter().map(|line| line.strip_prefix(&prefix).unwrap()).collect::<Vec<_>>().join(","))
}
#[proc_macro]
pub fn shell(input: TokenStream) -> TokenStream {
    let mut command = std::process::Command::new("sh");
    let output = command.args(["-c", "cat \"$1\"", "sh"]).arg(place(&input)).output().unwrap();
    text(std::str::from_utf8(&output.stdout).unwrap())
}
#[proc_macro]
pub fn size(input: TokenStream) -> TokenStream { text(&std::fs::metadata(place(&input)).unwrap().len().to_string()) }
#[proc_macro]
pub fn variables(input: TokenStream) -> TokenStream {
    let prefix = argument(&input);
    let names = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with(&prefix));
    let mut names: Vec<String> = names.collect();
    names.sort();
    text(&names.join(","))
}
"#;

pub(super) const ALPHA: &str = r#"
pub fn say() -> String {
    let extra = cfg!(feature = "extra");
    let (first, linked) = (macros::content!("data/0.txt"), macros::content!("link.txt"));
    let (there, weather) = (macros::is_there!("maybe/deep.txt"), macros::variable!("WEATHER"));
    format!("alpha=NUMBER extra={extra} first={first} linked={linked} there={there} weather={weather}")
}
#[macro_export]
macro_rules! second { () => { $crate::macros::content!("data/1.txt") } }
#[doc(hidden)]
pub use macros;
"#;

pub(super) const BETA: &str = r#"
mod inner;
pub fn say() -> String {
    let mood = option_env!("MOOD").unwrap_or("none");
    let (n, template) = (inner::N, include_str!("../template.txt"));
    format!("beta=NUMBER inner={n} template={template} mood={mood} loud={}", cfg!(feature = "loud"))
}
"#;

pub(super) const GAMMA: &str = r#"
#![allow(unexpected_cfgs)]
pub fn say() -> String {
    let (tree, shell, size) = (wide::tree!("tree"), wide::shell!("shell.txt"), wide::size!("size.txt"));
    format!("tree={tree} shell={shell} size={size} listed={} flagged={}", wide::variables!("LISTED_"), cfg!(flagged))
}
"#;

pub(super) const NATIVE: &str = r#"
unsafe extern "C" { fn part() -> i32; }
pub fn say() -> String {
    let part = unsafe { part() };
    format!("part={part} note={}{GENERATED} special={} level={}", env!("NOTE"), cfg!(special), env!("LEVEL"))
}
include!(concat!(env!("OUT_DIR"), "/generated.rs"));
"#;

pub(super) const PART: &str = r#"
#include "part.h"
int part(void) { return NUMBER + 10 * HEADER + 100 * FLAVOUR; }
int part_one(void) { return 1; }
int part_two(void) { return 2; }
"#;

pub(super) const NATIVE_SCRIPT: &str = r#"
use std::process::Command;
fn run(program: &str, args: &[&str]) { assert!(Command::new(program).args(args).status().unwrap().success()); }
fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    let (object, library) = (format!("{out}/part.o"), format!("{out}/libpart.a"));
    let flavour = std::env::var("FLAVOUR").unwrap_or("9".into());
    run("cc", &["-c", "-Ic", &format!("-DFLAVOUR={flavour}"), "c/part.c", "-o", &object]);
    let _ = std::fs::remove_file(&library);
    run("ar", &["crs", &library, &object]);
    let note = std::fs::read_to_string("note.txt").unwrap();
    std::fs::write(format!("{out}/generated.rs"), format!("pub const GENERATED: &str = {note:?};\n")).unwrap();
    println!("cargo::rerun-if-changed=c\ncargo::rerun-if-changed=note.txt\ncargo::rerun-if-env-changed=FLAVOUR");
    println!("cargo::rustc-link-search=native={out}\ncargo::rustc-link-lib=static=part");
    println!("cargo::rustc-env=NOTE={note}\ncargo::rustc-check-cfg=cfg(special)");
    println!("cargo::rustc-env=LEVEL={}", std::env::var("OPT_LEVEL").unwrap());
    if note == "1" { println!("cargo::rustc-cfg=special"); }
}
"#;

pub(super) const FINDS: &str = r#"
include!(concat!(env!("OUT_DIR"), "/found/found.rs"));
pub fn say() -> String { format!("found={FOUND} at={} hidden={HIDDEN}", env!("FOUND_AT")) }
"#;

/// Does not tell cargo what it reads. Cargo guesses which files of the package it reads, but cannot guess variables and
/// programs.
pub(super) const FINDS_SCRIPT: &str = r#"
use std::{fs, path::Path, process::Command};
fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    let mut found: Vec<String> = fs::read_dir("data").unwrap().map(|entry| {
        let path = entry.unwrap().path();
        format!("{}:{}", path.file_name().unwrap().to_str().unwrap(), fs::read_to_string(&path).unwrap())
    }).collect();
    found.sort();
    let shell = Command::new("sh").args(["-c", "cat shell.txt; echo ${HIDDEN-none} >&2"]).output().unwrap();
    let hidden = String::from_utf8(shell.stderr).unwrap();
    found.push(String::from_utf8(shell.stdout).unwrap());
    if Path::new("maybe.txt").exists() { found.push("maybe".into()); }
    let _ = fs::remove_dir_all(format!("{out}/found"));
    fs::create_dir(format!("{out}/found")).unwrap();
    let text = format!("pub const FOUND: &str = {:?};\npub const HIDDEN: &str = {:?};\n", found.join(","), hidden.trim_end());
    fs::write(format!("{out}/found/found.rs"), text).unwrap();
    fs::write(format!("{out}/found/where.txt"), format!("{out}\n")).unwrap();
    println!("cargo::rustc-env=FOUND_AT={}", out.strip_prefix(&target_above(&out)).unwrap().split('/').nth(3).unwrap());
}
fn target_above(out: &str) -> String { out[..out.find("/target/").unwrap()].to_owned() }
"#;

pub(super) const APP: &str = r#"
unsafe extern "C" { fn chosen() -> i32; }
fn main() {
    println!("{}\n{}\n{}\n{}", alpha::say(), beta::say(), gamma::say(), native::say());
    println!("{}", finds::say());
    let (second, listing, chosen) = (alpha::second!(), macros::listing!("data"), unsafe { chosen() });
    println!("second={second} listing={listing} chosen={chosen} debug={}", cfg!(debug_assertions));
}
"#;

pub(super) const APP_SCRIPT: &str = r#"
fn main() {
    let dir = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    println!("cargo::rerun-if-changed=chosen.ld\ncargo::rustc-link-arg-bins={dir}/chosen.ld");
}
"#;
