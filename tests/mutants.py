#!/usr/bin/env python3
"""Turns off one rule of whole builds at a time, and runs the test that must notice.

    tests/mutants.py [NAME ...]

Works in a copy of the commit that is checked out. Exits with 1 if a test passed without its rule: then the test shows
nothing. Takes about a minute for each rule, so CI does not run it. `CARGO_TARGET_DIR` names the target directory.
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RESTORER, AT_START = "src/wrapper/whole_build/restorer.rs", "src/wrapper/at_start.rs"
WHOLE_BUILD, CALL = "src/wrapper/whole_build/mod.rs", "src/wrapper/call_record.rs"

# Name, file, what it contains, what replaces it, and the test that fails. A rule in two places has two of each.
MUTANTS = [
    ("printed-not-compared", RESTORER, "if Some(snapshot::printed_digest(&found.entry.stdout)) != unit.printed {",
     "if false {", "a_program_is_not_taken_from_a_build_in_which_its_script_printed_something_else"),
    ("manifests-not-compared", CALL, "if digest(Path::new(&roots.expand(path)?)) != Some(*recorded) {",
     "if digest(Path::new(&roots.expand(path)?)).map(|_| recorded).is_none() {",
     "what_differs_in_the_second_checkout_is_built_there"),
    ("variables-from-the-record", CALL,
     ("Some(value) if set.contains(name) => {", "(is.is_some() && !set.contains(name))"), ("Some(value) => {", "false"),
     "a_variable_that_cargos_configuration_sets_is_not_taken_from_the_record"),
    ("existing-units-replaced", RESTORER,
     "let present = fsx::read_if_exists(&hash_file)?.filter(|hash| !hash.is_empty());",
     "let present = fsx::read_if_exists(&hash_file)?.filter(|_| false);",
     "a_unit_that_was_built_before_stays_and_its_dependents_are_not_taken_from_elsewhere"),
    ("out-dir-may-hold-files", RESTORER,
     "if fsx::exists(&run.script.out_dir) && !fsx::tree::is_empty(&run.script.out_dir)? {", "if false {",
     "what_a_run_left_behind_is_not_mixed_with_another_one"),
    ("busy-directory", WHOLE_BUILD,
     "locks.push(HeldFile::try_acquire(&path)?.ok_or_else(|| NotRestored::Busy(path.clone()))?);",
     "locks.push(HeldFile::try_acquire(&path)?);", "nothing_is_restored_where_another_cargo_builds"),
    ("canonical-beside-dependents", WHOLE_BUILD,
     "let may_share = profiles.iter().all(|profile| is_unused(build.build_dir, profile));", "let may_share = true;",
     "a_unit_that_was_cleaned_is_never_older_than_what_was_built_from_another_one"),
    ("lock-file-ignored", RESTORER, "let may_change = depends_on_it && !self.build.is_locked;",
     "let may_change = false && depends_on_it;", "what_depends_on_cargo_lock_waits_for_the_one_that_cargo_writes"),
    ("never-over", AT_START, "let is_over = || !sys_process::is_running(cargo.pid, began) || !fsx::exists(marker);",
     "let is_over = || began == 0 && !fsx::exists(marker);", "a_restore_ends_with_its_cargo"),
    ("times-taken-late", RESTORER, "Publish { mtime: Mtime::At(self.time), ..Publish::default() }.bytes(path, bytes)",
     "Publish { mtime: Mtime::At(crate::fsx::clock::precise()), ..Publish::default() }.bytes(path, bytes)",
     "an_edit_while_the_build_is_restored_is_never_lost"),
    ("newest-file-not-found", RESTORER, "Ok(recorded.with_newest_file(&newest.spelled()))",
     "newest.spelled().clear();\n        Ok(recorded)",
     "a_script_that_says_nothing_of_what_to_watch_is_fresh_and_notices_every_file"),
    ("secrets-do-not-spread", "src/store/withheld.rs", "open.push(dependent);", "let _ = dependent;",
     "r08_what_is_made_from_a_secret_stays_too"),
    ("unstored-results-forgotten", "src/wrapper/unstored.rs",
     "let _ = task.common().store.add_carriers(&outputs(), &carried);", "let _ = (outputs, carried);",
     "r08_what_was_made_from_a_run_that_is_not_stored_stays"),
    ("snapshots-of-withheld-entries", "src/remote/operations/snapshots.rs", "&& !is_withheld(lookup);",
     "|| is_withheld(lookup);", "r08_what_a_build_script_made_from_a_secret_stays_too"),
    ("newer-libc-restored", "src/wrapper/entry_hit.rs", "(here < Some(needed)).then(", "(here > Some(needed)).then(",
     "x14_what_needs_a_newer_libc_is_compiled_before_cargo_loads_it"),
]


def passes(copy, test):
    """Whether the test passes. Exits if the mutant does not compile."""
    command = ["cargo", "test", "--locked", "--test", "it", "--", test, "--include-ignored"]
    environ = os.environ | {"RUSTFLAGS": "-A warnings", "RUST_BACKTRACE": "0"}
    done = subprocess.run(command, cwd=copy, env=environ, capture_output=True, text=True, errors="replace")
    if "test result:" not in done.stdout or " 0 passed; 0 failed" in done.stdout:
        sys.exit(f"{test} did not run:\n{done.stdout[-500:]}{done.stderr[-3000:]}")
    return done.returncode == 0


def mutated(text, name, old, new):
    """Returns the text with each old part replaced by its new one."""
    for old, new in zip(old, new) if isinstance(old, tuple) else [(old, new)]:
        if text.count(old) != 1:
            sys.exit(f"{name}: the file contains {old!r} {text.count(old)} times")
        text = text.replace(old, new)
    return text


def main():
    root = Path(__file__).resolve().parent.parent
    os.environ.setdefault("CARGO_TARGET_DIR", str(root / "target/mutants"))
    unknown = set(sys.argv[1:]) - {name for name, *_ in MUTANTS}
    if unknown or "--help" in sys.argv:
        sys.exit(__doc__)
    unnoticed = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as parent:
        copy = Path(parent) / "kache"
        subprocess.run(["git", "clone", "-q", root, copy], check=True)
        for name, file, old, new, test in MUTANTS:
            if sys.argv[1:] and name not in sys.argv[1:]:
                continue
            path = copy / file
            text = path.read_text()
            path.write_text(mutated(text, name, old, new))
            is_noticed = not passes(copy, test)
            print(f"{name}: {'noticed' if is_noticed else 'NOT NOTICED'} by {test}", flush=True)
            path.write_text(text)
            unnoticed += [] if is_noticed else [name]
    sys.exit(1 if unnoticed else 0)


if __name__ == "__main__":
    main()
