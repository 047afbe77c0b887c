#!/usr/bin/env python3
"""The hit of a build script that leaves many files in `OUT_DIR`.

    benches/tree.py KACHE [--files N] [--bytes N] [--hits N] [--dir DIR]

KACHE is the program under test. Generates a package whose build script writes N files, builds it once, and then N times
after the target directory was removed. Prints how long kache took for each hit of the run, in milliseconds, by its event
log, and the median. On ext4, the time depends on how many files were removed in the last minute.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = """fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    for n in 0..%d {
        let text = format!("{n} ").repeat(%d);
        std::fs::write(format!("{out}/file{n}.txt"), &text[..%d]).unwrap();
    }
    println!("cargo::rerun-if-changed=build.rs");
}
"""


def generate(package, files, size):
    (package / "src").mkdir(parents=True)
    (package / "Cargo.toml").write_text('[package]\nname = "tree"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n')
    (package / "src/lib.rs").write_text("")
    (package / "build.rs").write_text(SCRIPT % (files, size // 2 + 1, size))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kache", type=lambda path: Path(path).resolve())
    for name, default in (("files", 1000), ("bytes", 2000), ("hits", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dir", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as base:
        base = Path(base)
        package = base / "package"
        generate(package, options.files, options.bytes)
        env = {name: value for name, value in os.environ.items() if not re.match("KACHE_|RUSTC|CARGO_BUILD", name)}
        env |= {"RUSTC_WRAPPER": str(options.kache), "KACHE_CACHE_DIR": str(base / "cache"),
                "KACHE_CONFIG": str(base / "none.toml")}
        for _ in range(options.hits + 1):
            shutil.rmtree(package / "target", ignore_errors=True)
            time.sleep(2)
            subprocess.run(["cargo", "build", "--quiet", "--offline"], cwd=package, env=env, check=True)
        events = [json.loads(line) for line in (base / "cache/events/events.jsonl").read_text().splitlines()]
        runs = [event for event in events if event["kind"] == "run"][1:]
        if any(event["outcome"] != "hit.local" for event in runs):
            sys.exit(f"not all hits: {runs}")
        times = [event["ms"] for event in runs]
        print(*(f"{ms:.1f}" for ms in times), f"  median {statistics.median(times):.1f} ms")


if __name__ == "__main__":
    main()
