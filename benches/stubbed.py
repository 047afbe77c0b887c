#!/usr/bin/env python3
"""Compares warm builds with the floor: an oracle that replays compiles, without the time that build scripts take.

    benches/stubbed.py KACHE ORACLE CHECKOUT [--reps N] [--dir DIR]

KACHE is the program under test. ORACLE is a wrapper that replays the outputs of a compile by its arguments alone; it
stores the output files of each compile in a directory `f` (below its `ORACLE_DIR`). CHECKOUT is a git repository. Both
tools build a clone of it once. Then a stub replaces the oracle's copy of each build script: it links the recorded
`OUT_DIR` into place and prints the recorded output. (The build script follows the stub in the file, so that the oracle
restores as many bytes as in a real build.) Afterwards both tools build in turns into an empty target directory. Prints
medians of wall and processor time, and their ratios.
"""
import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUB = r"""
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void link_tree(const char *from, const char *to) {
    DIR *dir = opendir(from);
    struct dirent *entry;
    char source[4096], target[4096];
    while (dir && (entry = readdir(dir))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(source, sizeof source, "%s/%s", from, entry->d_name);
        snprintf(target, sizeof target, "%s/%s", to, entry->d_name);
        if (entry->d_type != DT_DIR) {
            if (link(source, target)) perror(target);
        } else if (!mkdir(target, 0755)) {
            link_tree(source, target);
        }
    }
    if (dir) closedir(dir);
}

int main(void) {
    const char *out = getenv("OUT_DIR"), *runs = getenv("STUBBED_RUNS");
    char name[4096], path[8400], bytes[65536];
    snprintf(name, sizeof name, "%s", out);
    for (char *at = name; *at; at++)
        if (*at == '/') *at = '_';
    snprintf(path, sizeof path, "%s/%s/out", runs, name);
    link_tree(path, out);
    snprintf(path, sizeof path, "%s/%s/output", runs, name);
    int file = open(path, O_RDONLY);
    if (file < 0) { perror(path); return 1; }
    for (ssize_t n; (n = read(file, bytes, sizeof bytes)) > 0;)
        if (write(1, bytes, n) != n) return 1;
    return 0;
}
"""
BUILD = ["cargo", "build", "--locked", "--offline"]


def build(checkout, env):
    """Builds, and returns wall and processor seconds."""
    processor = lambda used: used.ru_utime + used.ru_stime
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ended = subprocess.run(BUILD, cwd=checkout, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ended.returncode:
        sys.exit(ended.stdout[-3000:])
    wall = time.monotonic() - began
    return wall, processor(resource.getrusage(resource.RUSAGE_CHILDREN)) - processor(before)


def put_stubs(checkout, oracle_dir, runs):
    """Records the results of each script, and replaces the oracle's scripts with stubs. Returns their number."""
    stub = oracle_dir.parent / "stub"
    subprocess.run(["cc", "-O2", "-static", "-x", "c", "-o", stub, "-"], input=STUB, text=True, check=True)
    for out in checkout.glob("target/debug/build/*/out"):
        kept = runs / str(out).replace("/", "_")
        shutil.copytree(out, kept / "out", symlinks=True)
        shutil.copy(out.parent / "output", kept / "output")
    scripts = [file for file in oracle_dir.glob("*/f/build_script_*") if file.suffix != ".d"]
    for script in scripts:
        whole = stub.read_bytes() + script.read_bytes()
        script.unlink()
        script.write_bytes(whole)
        script.chmod(0o755)
    return len(scripts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("kache", "oracle", "checkout"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--reps", type=int, default=9)
    parser.add_argument("--dir", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as base:
        base = Path(base)
        checkouts = [base / "one" / "work", base / "two" / "work"]
        for checkout in checkouts:
            subprocess.run(["git", "clone", "-q", arguments.checkout.resolve(), checkout], check=True)
        env = {name: value for name, value in os.environ.items() if name != "RUSTC_WRAPPER"}
        env["CARGO_INCREMENTAL"] = "0"
        oracle_dir, runs = base / "oracle", base / "runs"
        oracle_env = env | {"RUSTC_WRAPPER": str(arguments.oracle.resolve()), "ORACLE_DIR": str(oracle_dir),
                            "ORACLE_PROBE": "1", "STUBBED_RUNS": str(runs)}
        kache_env = env | {"RUSTC_WRAPPER": str(arguments.kache.resolve()), "KACHE_CACHE_DIR": str(base / "cache"),
                           "KACHE_CONFIG": str(base / "none.toml")}
        envs = [oracle_env, kache_env]
        for checkout, its in zip(checkouts, envs):
            build(checkout, its)
        print(put_stubs(checkouts[0], oracle_dir, runs), "build scripts stubbed", flush=True)
        rows = []
        for rep in range(arguments.reps):
            for checkout in checkouts:
                shutil.rmtree(checkout / "target")
            # The tools take turns at being first: the file system is slower for the one that creates its files later.
            turn = list(zip(checkouts, envs))[:: 1 if rep % 2 else -1]
            row = [build(checkout, its) for checkout, its in turn]
            rows.append(row if rep % 2 else row[::-1])
            print(*(f"{wall:.2f} {processor:.2f}" for wall, processor in rows[-1]), file=sys.stderr, flush=True)
        for at, what in enumerate(("wall", "processor")):
            oracle, kache = (statistics.median(row[side][at] for row in rows) for side in (0, 1))
            print(f"{what:9}  oracle {oracle:.2f} s  kache {kache:.2f} s  ratio {kache / oracle:.2f}")


if __name__ == "__main__":
    main()
