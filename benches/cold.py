#!/usr/bin/env python3
"""Cold builds in turns: plain cargo and kache, each with an empty cache and an empty target directory.

    benches/cold.py KACHE CHECKOUT [--rounds N] [--incremental] [--dir DIR]

KACHE is the program under test, CHECKOUT a git repository with a lock file. Each round clones CHECKOUT and builds it with
each tool; the tool that begins changes from round to round. Prints wall and processor seconds of each build, then the
medians, and the median of the ratios of the rounds. Two equal builds on a shared machine differ by up to 25 %, so a
single round means little.
"""
import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOOLS = ("plain", "kache")


def environment(tool, kache, base, incremental):
    settings = re.compile(r"KACHE_|RUSTC|RUSTFLAGS|CARGO_(BUILD|TARGET|ENCODED|INCREMENTAL)")
    env = {name: value for name, value in os.environ.items() if not settings.match(name)}
    env["CARGO_INCREMENTAL"] = "1" if incremental else "0"
    if tool == "kache":
        env |= {"RUSTC_WRAPPER": str(kache), "KACHE_CACHE_DIR": str(base / "cache"),
                "KACHE_CONFIG": str(base / "none.toml")}
    return env


def build(tool, options, base):
    """Builds a fresh clone below `base`, and returns wall and processor seconds."""
    checkout = base / "checkout"
    subprocess.run(["git", "clone", "-q", options.checkout, checkout], check=True)
    os.sync()
    time.sleep(3)
    processor = lambda used: used.ru_utime + used.ru_stime
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ended = subprocess.run(["cargo", "build", "--locked", "--offline"], cwd=checkout, text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, env=environment(tool, options.kache, base, options.incremental))
    wall = time.monotonic() - began
    if ended.returncode:
        sys.exit(f"{tool}:\n{ended.stdout[-3000:]}")
    return wall, processor(resource.getrusage(resource.RUSAGE_CHILDREN)) - processor(before)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kache", type=lambda path: Path(path).resolve())
    parser.add_argument("checkout", type=lambda path: Path(path).resolve())
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--incremental", action="store_true")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()) / "cold")
    options = parser.parse_args()
    subprocess.run(["cargo", "fetch", "--locked"], cwd=options.checkout, check=True)
    rounds = []
    for number in range(options.rounds):
        row = {}
        for tool in TOOLS if number % 2 == 0 else TOOLS[::-1]:
            # The same path every time: the length of a path alone changes outputs.
            shutil.rmtree(options.dir, ignore_errors=True)
            options.dir.mkdir(parents=True)
            row[tool] = build(tool, options, options.dir)
        rounds.append(row)
        print(*(f"{tool} {row[tool][0]:.2f} s ({row[tool][1]:.2f})" for tool in TOOLS),
              f"ratio {row['kache'][0] / row['plain'][0]:.3f}", sep="   ", flush=True)
    shutil.rmtree(options.dir)
    for at, what in enumerate(("wall", "processor")):
        plain, kache = (statistics.median(row[tool][at] for row in rounds) for tool in TOOLS)
        neighbours = statistics.median(row["kache"][at] / row["plain"][at] for row in rounds)
        print(f"{what:9}  plain {plain:.2f} s  kache {kache:.2f} s  ratio {kache / plain:.3f}, of rounds {neighbours:.3f}")


if __name__ == "__main__":
    main()
