#!/usr/bin/env python3
"""Simulates a day of edits with plain cargo and with kache, in cargo's default settings: compilation is incremental.

    benches/daily.py KACHE [--crates N] [--lines N] [--rounds N] [--source DIR --core FILE --leaf FILE] [--dir DIR]

KACHE is the program under test. Without --source, the script generates a workspace of N crates: each depends on the two
before it, and the last one is a program. With --source, DIR is a git repository; --core and --leaf name sources in it,
from a crate at the bottom and from one at the top, in which the script adds and changes a function. In each round both
tools take the same steps in turns, in separate directories and with a separate cache. Prints medians of wall and
processor seconds, their ratios, and the number of compiled units.
"""
import argparse
import os
import random
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GIT = ["git", "-c", "user.name=daily", "-c", "user.email=daily@localhost"]


def generate(path, crates, lines):
    """Creates a workspace whose crates have `lines` lines in total, as a git repository with a lock file."""
    path.mkdir(parents=True)
    (path / "Cargo.toml").write_text('[workspace]\nresolver = "3"\nmembers = ["crates/*"]\n')
    (path / ".gitignore").write_text("/target\n")
    names = [f"c{n}" for n in range(crates - 1)] + ["app"]
    dice = random.Random(1)
    for n, name in enumerate(names):
        crate = path / "crates" / name
        (crate / "src").mkdir(parents=True)
        below = names[max(0, n - 2):n]
        depends = "".join(f'{dep} = {{ path = "../{dep}" }}\n' for dep in below)
        (crate / "Cargo.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n{depends}')
        is_program = name == "app"
        source = [] if is_program else ["#[cfg(test)]\nmod tests { #[test] fn works() { assert!(super::f0(3) > 0); } }\n"]
        functions = lines // crates // 8
        for f in range(functions):
            calls = "".join(f" + {dep}::f{dice.randrange(functions)}(k)" for dep in below[-1:])
            source.append(f"pub fn f{f}(x: u64) -> u64 {{\n    let mut v: Vec<String> = Vec::new();\n"
                          f"    for k in 0..x % 7 {{\n        v.push(format!(\"{{}}-{{k}}-{f}\", k{calls}));\n    }}\n"
                          f"    v.iter().map(|s| s.len() as u64).sum::<u64>() + {f}\n}}\n")
        if is_program:
            source.append("fn main() { println!(\"{}\", " + " + ".join(f"f{f}(5)" for f in range(functions)) + "); }\n")
        (crate / ("src/main.rs" if is_program else "src/lib.rs")).write_text("\n".join(source))
    for command in (["cargo", "generate-lockfile", "--offline"], [*GIT, "init", "-q"], [*GIT, "add", "-A"],
                    [*GIT, "commit", "-qm", "generated"]):
        subprocess.run(command, cwd=path, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return "crates/c0/src/lib.rs", "crates/app/src/main.rs"


class Tool:
    """A tool with its checkouts, and the measurements of its steps."""

    def __init__(self, name, wrapper, base, source):
        self.name, self.base, self.source = name, base, source
        self.env = {key: value for key, value in os.environ.items() if not re.match("RUSTC|KACHE_|CARGO_(BUILD|INC)", key)}
        self.env["CARGO_TERM_COLOR"] = "never"
        if wrapper:
            self.env |= {"RUSTC_WRAPPER": str(wrapper), "KACHE_CACHE_DIR": str(base / "cache"),
                         "KACHE_CONFIG": str(base / "none.toml")}
        self.steps = {}

    def checkout(self, name):
        path = self.base / name / "work"
        subprocess.run(["git", "clone", "-q", self.source, path], check=True)
        return path

    def compiled(self):
        """Returns how many units kache has compiled so far."""
        log = self.base / "cache/events/events.jsonl"
        return log.read_text().count('"outcome":"miss') if log.exists() else 0

    def step(self, label, checkout, command="build"):
        # Otherwise a step would wait until the kernel has written the files of the other tool.
        os.sync()
        processor = lambda used: used.ru_utime + used.ru_stime
        before, rustc = processor(resource.getrusage(resource.RUSAGE_CHILDREN)), self.compiled()
        began = time.monotonic()
        done = subprocess.run(["cargo", *command.split(), "--offline"], cwd=checkout, env=self.env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wall = time.monotonic() - began
        if done.returncode:
            sys.exit(f"{self.name}, {label}:\n{done.stdout[-3000:]}")
        processor = processor(resource.getrusage(resource.RUSAGE_CHILDREN)) - before
        compiled = self.compiled() - rustc if self.name == "kache" else len(re.findall("^ +(Compiling|Checking) ",
                                                                                       done.stdout, re.M))
        self.steps.setdefault(label, []).append((wall, processor, compiled))

    def interrupted(self, checkout, seconds):
        build = subprocess.Popen(["cargo", "build", "--offline"], cwd=checkout, env=self.env, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(seconds)
        os.killpg(build.pid, signal.SIGINT)
        build.wait()


def edit(checkout, file, value):
    """Adds a public function, or replaces the one that an earlier edit added."""
    path = checkout / file
    time.sleep(0.02)
    text = re.sub(r"\n// daily\n.*", "", path.read_text(), flags=re.S)
    path.write_text(text + f"\n// daily\n#[inline(never)]\npub fn daily(x: u64) -> u64 {{\n    x.wrapping_mul({value})\n}}\n")


def day(tool, core, leaf):
    """Takes all steps of a day. A generator, so that two tools can take each step in turns."""
    one = tool.checkout("one")
    yield tool.step("cold", one)
    for label, file in (("leaf", leaf), ("core", core)):
        for n in range(1, 4):
            edit(one, file, n)
            yield tool.step(f"{label} edit {n}", one)
    subprocess.run(["git", "checkout", "-q", "."], cwd=one, check=True)
    yield tool.step("revert", one)
    subprocess.run(["git", "checkout", "-qb", "other"], cwd=one, check=True)
    for file in (core, leaf):
        edit(one, file, 10)
    subprocess.run([*GIT, "commit", "-qam", "other"], cwd=one, check=True)
    for n in (1, 2):
        for branch, label in (("other", "there"), ("-", "back")):
            if (n, label) != (1, "there"):
                subprocess.run(["git", "checkout", "-q", branch], cwd=one, check=True)
            yield tool.step(f"branch {label} {n}", one)
    yield tool.step("check, the first", one, "check")
    edit(one, core, 20)
    yield tool.step("check after a core edit", one, "check")
    yield tool.step("build beside it", one)
    yield tool.step("test --no-run", one, "test --no-run")
    two = tool.checkout("two/deeper")
    edit(two, core, 20)
    yield tool.step("second checkout of this state", two)
    for n, file in ((21, core), (22, core), (23, leaf)):
        edit(two, file, n)
        which = "leaf edit" if file == leaf else f"core edit {n - 20}"
        yield tool.step(f"second checkout, {which}", two)
    three = tool.checkout("three")
    edit(three, core, 30)
    tool.interrupted(three, tool.steps["cold"][-1][0] / 3)
    yield tool.step("after an interrupted first build", three)
    edit(three, core, 31)
    yield tool.step("core edit after that", three)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kache", type=Path)
    parser.add_argument("--crates", type=int, default=6)
    parser.add_argument("--lines", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    for name in ("source", "core", "leaf", "dir"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args()
    steps = {"plain": {}, "kache": {}}
    if options.dir:
        options.dir.mkdir(parents=True, exist_ok=True)
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.dir) as base:
            base = Path(base)
            source, core, leaf = options.source, options.core, options.leaf
            if not source:
                source = base / "source"
                core, leaf = generate(source, options.crates, options.lines)
            tools = [Tool("plain", None, base / "plain", source.resolve()),
                     Tool("kache", options.kache.resolve(), base / "kache", source.resolve())]
            for tool in tools:
                tool.steps = steps[tool.name]
            for _ in zip(*(day(tool, core, leaf) for tool in (tools if number % 2 else reversed(tools)))):
                pass
    print(f"{'step':36} {'plain':>7} {'kache':>7} {'ratio':>6}   {'cpu':>7} {'cpu':>7} {'ratio':>6}   compiled")
    for label, plain in steps["plain"].items():
        kache = steps["kache"][label]
        middle = lambda rows, at: statistics.median(row[at] for row in rows)
        cells = []
        for at in (0, 1):
            one, other = middle(plain, at), middle(kache, at)
            cells.append(f"{one:7.2f} {other:7.2f} {other / one:6.2f}")
        print(f"{label:36} {cells[0]}   {cells[1]}   {middle(plain, 2):.0f} / {middle(kache, 2):.0f}")


if __name__ == "__main__":
    main()
