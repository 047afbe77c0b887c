//! Names the answers of a compiler to cargo's questions, by everything that an answer depends on besides the compiler.

use std::path::Path;

use super::{KeyHasher, compiler};
use crate::config::env::{self, Env};
use crate::fsx;
use crate::model::Digest;
use crate::rustc::question::Question;
use crate::rustc::{Driver, ProgramChain, toolchain};
use crate::store::Store;

/// Part of the name of every answer. Raise it with any change to what the name covers or what is remembered.
///
/// 1: first version.
const SCHEMA: &str = "1";

/// Returns the name of the answer that the compiler of `chain` gives here. `None` if the answer may depend on something
/// that a name cannot cover.
pub fn name(question: &Question, chain: &ProgramChain, cwd: &Path, vars: &Env, store: &Store) -> Option<Digest> {
    let logs = env::RUSTC_LOG_DETAILS.iter().chain([&env::RUSTC_LOG, &env::RUST_TARGET_PATH]);
    // A compiler that could not be identified may call kache again. That call stops here.
    if logs.into_iter().any(|name| vars.get(name).is_some()) || compiler::depth(vars) > 0 {
        return None;
    }
    let rustc = toolchain::find_program(chain.rustc.as_deref()?, cwd, vars)?;
    // Without the variable the proxy decides by directory. Only asking it would identify the compiler, and that is the
    // cost to save.
    let program = toolchain::find_program(&chain.program, cwd, vars)?;
    if vars.get(env::RUSTUP_TOOLCHAIN).is_none()
        && [&rustc, &program].into_iter().any(|path| toolchain::is_rustup(path))
    {
        return None;
    }
    let mut key = KeyHasher::new(false);
    key.field("question", SCHEMA);
    add_program(&mut key, chain, &program, cwd)?;
    let compiler = compiler::identify(chain, None, cwd, vars, store)?;
    // kache does not observe how a script finds its answer.
    if compiler.script.is_some() {
        return None;
    }
    if let Question::Target { targets } = question {
        let own = |target: &String| compiler.sysroot.join("lib/rustlib").join(target).join("target.json");
        if targets.iter().any(|target| fsx::exists(&own(target))) {
            return None;
        }
    }
    key.digest("compiler", "", compiler.identity);
    key.field("sysroot", compiler.sysroot.to_str()?);
    for arg in &chain.args {
        key.field("argument", arg.to_str()?);
    }
    let inputs = env::RUSTC_INPUTS.iter().chain(&env::ANSWER_INPUTS);
    let clippy: &[&str] = if chain.driver == Driver::Clippy { &env::CLIPPY_INPUTS } else { &[] };
    for name in inputs.chain(clippy) {
        match vars.get(name) {
            Some(value) => key.field(name, value.to_str()?),
            None => key.optional(name, None),
        }
    }
    Some(key.finish().0.0)
}

/// Adds the name and place of the program. rustc looks at the name that it was called by: if that is a link, and the
/// directory around the link contains a `rustlib`, that directory is the sysroot (`rustc_session::filesearch`,
/// rust-lang/rust#79253).
fn add_program(key: &mut KeyHasher, chain: &ProgramChain, program: &Path, cwd: &Path) -> Option<()> {
    let name = Path::new(&chain.program);
    let is_bare = !chain.program.as_encoded_bytes().contains(&b'/');
    if !name.is_absolute() && (!is_bare || fsx::exists(&cwd.join(name))) {
        return None;
    }
    let around = program.parent()?.parent()?;
    key.field("name", name.to_str()?);
    key.field("program", program.to_str()?);
    key.field("sysroot around it", if fsx::exists(&around.join("lib/rustlib")) { "yes" } else { "no" });
    Some(())
}
