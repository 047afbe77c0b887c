#!/usr/bin/env python3
"""Measures builds of a whole workspace, for plain cargo and for wrappers of rustc, one after the other.

    benches/builds.py (--src REPOSITORY | --crate NAME@VERSION) --tools TOOL,... [--args ARGS] [--reps N]
                      [--incremental VALUE] [--root DIR] [--out FILE]

A TOOL is one of:

    plain               cargo alone
    oracle[=PATH]       the wrapper in benches/oracle, the floor for any wrapper: it replays outputs by arguments alone,
                        and does not check any input. Build it first:
                        cargo build --release --manifest-path benches/oracle/Cargo.toml
    kache=PATH          the kache at this path
    NAME=wrapper:PATH   any other wrapper; its settings, such as the place of its cache, come from the environment

Each tool builds in two clones of the repository: A, and B at another path and depth. The oracle and kache begin with an
empty cache. For each tool, builds.py prints one line of JSON, with times in seconds:

    cold                        a build in A
    warm                        a build in A after its target directory was removed (the median of N)
    noop                        one more build in A
    cross                       a build in B with an empty target directory (the median of N); before that, the oracle
                                records B once, because the arguments contain the paths of B
    noopB, noopA                one more build in B, then in A: B must not make A stale
    units, noop_compiled, ...   how many units cargo compiled in the cold build and in later ones: 0 if all were fresh
    disk_added_mb               megabytes that B adds to the cache and the target directory of A together
    disk_target_mb              megabytes of the target directory of B

FILE also contains the times of the single builds.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ORACLE = Path(__file__).resolve().parent / "oracle/target/release/oracle"
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
GIT = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
PROBE = '[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n{} = "={}"\n[workspace]\n'


def wrapper(name, value, cache):
    """Returns the variables by which cargo uses a tool. `cache` is the directory for its cache."""
    if name == "plain":
        return {}
    if name == "oracle":
        path = Path(value or os.environ.get("ORACLE") or ORACLE)
        settings = {"ORACLE_DIR": str(cache), "ORACLE_PROBE": "1"}
    elif name == "kache" and value:
        path, settings = Path(value), {"KACHE_CACHE_DIR": str(cache), "KACHE_CONFIG": str(cache / "none.toml")}
    elif value.startswith("wrapper:"):
        path, settings = Path(value.removeprefix("wrapper:")), {}
    else:
        sys.exit(f"error: unknown tool {name}={value}: see {sys.argv[0]} --help")
    return settings | {"RUSTC_WRAPPER": str(path.absolute())}


def sizes(*roots):
    """Returns the bytes on disk of every file below these directories, by device and inode."""
    found = {}
    for path in (Path(at, name) for root in roots for at, _, names in os.walk(root) for name in names):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return found


def megabytes(found):
    return round(sum(found.values()) / 1e6, 1)


class Tool:
    """One tool with its cache and its two clones of the repository."""

    def __init__(self, text, options):
        self.name, _, value = text.partition("=")
        base = options.root / self.name
        shutil.rmtree(base, ignore_errors=True)
        self.cache = base / "cache"
        self.cache.mkdir(parents=True)
        self.first, self.second = base / "a" / "proj", base / "other" / "deeper" / "checkout"
        for checkout in (self.first, self.second):
            subprocess.run(["git", "clone", "-q", options.src, checkout], check=True)
        self.env = {key: it for key, it in os.environ.items() if key != "RUSTC_WRAPPER"} | {"CARGO_TERM_COLOR": "never"}
        if options.incremental != "default":
            self.env["CARGO_INCREMENTAL"] = options.incremental
        self.env |= wrapper(self.name, value, self.cache)
        self.command, self.reps = ["cargo", *options.args.split()], options.reps

    def build(self, checkout):
        """Builds, and returns the seconds and the number of units that cargo compiled."""
        began = time.monotonic()
        done = subprocess.run(self.command, cwd=checkout, env=self.env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
        seconds = time.monotonic() - began
        if done.returncode:
            sys.exit(f"{done.stdout[-3000:]}\nfailed: {' '.join(self.command)} in {checkout}")
        lines = [line.lstrip() for line in done.stdout.splitlines()]
        return seconds, sum(line.startswith(("Compiling ", "Checking ")) for line in lines)

    def rebuild(self, checkout):
        """Builds with an empty target directory, several times, and returns the seconds of each build."""
        times = []
        for _ in range(self.reps):
            shutil.rmtree(checkout / "target", ignore_errors=True)
            times.append(self.build(checkout)[0])
        return times

    def measure(self):
        """Runs all builds, and returns the row of this tool."""
        row = {}
        row["cold"], row["units"] = self.build(self.first)
        if self.name == "plain":
            row["noop"], row["noop_compiled"] = self.build(self.first)
            return row
        row["warm_all"] = self.rebuild(self.first)
        row["warm"] = statistics.median(row["warm_all"])
        row["noop"], row["noop_compiled"] = self.build(self.first)
        return row | self.measure_second()

    def measure_second(self):
        """Runs the builds in the second clone, and one more in the first."""
        row = {}
        targets = self.first / "target", self.second / "target"
        before = sizes(self.cache, targets[0])
        if self.name == "oracle":
            self.build(self.second)
        row["cross_all"] = self.rebuild(self.second)
        row["cross"] = statistics.median(row["cross_all"])
        after = sizes(self.cache, *targets)
        row["disk_added_mb"] = megabytes({inode: size for inode, size in after.items() if inode not in before})
        row["disk_target_mb"] = megabytes(sizes(targets[1]))
        row["noopB"], row["noopB_compiled"] = self.build(self.second)
        row["noopA"], row["noopA_compiled"] = self.build(self.first)
        return row


def import_crate(spec, into):
    """Makes a git repository of the sources of a published crate, with the `Cargo.lock` that it was published with."""
    name, _, version = spec.partition("@")
    repository, probe = into / f"{name}-{version}", into / "probe"
    if repository.exists():
        return repository
    # cargo downloads the sources of a dependency.
    shutil.rmtree(probe, ignore_errors=True)
    (probe / "src").mkdir(parents=True)
    (probe / "src/lib.rs").write_text("")
    (probe / "Cargo.toml").write_text(PROBE.format(name, version))
    subprocess.run(["cargo", "fetch"], cwd=probe, **QUIET)
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    found = list((home / "registry/src").glob(f"*/{name}-{version}"))
    if not found:
        sys.exit(f"error: cannot fetch {spec}")
    shutil.copytree(found[0], repository)
    (repository / ".cargo-ok").unlink(missing_ok=True)
    subprocess.run(["cargo", "fetch", "--locked"], cwd=repository, check=True, stdout=subprocess.DEVNULL)
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-qm", "import"]):
        subprocess.run([*GIT, *command], cwd=repository, check=True)
    return repository


def shown(row):
    """Returns the cells of a row that are printed: without the single times, and with two digits after the point."""
    cells = {name: cell for name, cell in row.items() if not name.endswith("_all")}
    return {name: round(cell, 2) if isinstance(cell, float) else cell for name, cell in cells.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--src", metavar="REPOSITORY")
    source.add_argument("--crate", metavar="NAME@VERSION")
    parser.add_argument("--tools", metavar="TOOL,...", required=True)
    parser.add_argument("--args", default="build --locked --offline", help="the arguments of cargo (%(default)s)")
    parser.add_argument("--reps", metavar="N", type=int, default=3,
                        help="how often to build with an empty target directory (%(default)s)")
    parser.add_argument("--incremental", metavar="VALUE", default="0",
                        help="the value of CARGO_INCREMENTAL (%(default)s); with 'default', builds.py does not set it")
    parser.add_argument("--root", metavar="DIR", type=lambda path: Path(path).absolute(),
                        default=Path(tempfile.gettempdir(), "builds"),
                        help="the directory for clones and caches (%(default)s)")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write all results to this file, as JSON")
    options = parser.parse_args()
    if options.crate:
        options.src = str(import_crate(options.crate, options.root / "src"))
    rows = {}
    for text in filter(None, options.tools.split(",")):
        tool = Tool(text, options)
        rows[tool.name] = tool.measure()
        print(tool.name, json.dumps(shown(rows[tool.name])), flush=True)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
