#!/usr/bin/env python3
"""Surveys the runs of build scripts of popular crates: is the run stored, is it shared with a second checkout, and if
not, why? Are its results those of plain cargo?

    benches/scripts.py KACHE [--dir DIR] [--only GROUP]... [--json FILE] [--recheck]

KACHE is the program under test. For each group of crates, the script generates a package in a git repository and checks
it out three times: plain cargo builds P; kache builds A and then B, with one cache that is empty at first. The script
compares the results of each run in A and in B with those in P, byte by byte, except for the path of the checkout.
--recheck builds each package with a difference once more with plain cargo, at another path: results that differ there,
too, are `not reproducible`. Prints a Markdown table and counts, and fails if any result differs that is not known to be
irreproducible.

Needs git, C and C++ compilers, binutils, cmake, nasm, perl, libclang, pkg-config and the headers of OpenSSL, libcurl
and libudev. Connects to crates.io before the first build of a group. All groups take about an hour and a half on 2
cores.
"""
import argparse
import collections
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The crates to survey: name, exact version, features (`-`: without the default features).
GROUPS = {
    "basic": """anyhow 1.0.104, camino 1.2.6, crc32fast 1.5.4, crossbeam-utils 0.8.23, generic-array 0.14.9,
        getrandom 0.3.4, getrandom 0.4.3, httparse 1.10.1, indexmap 1.9.3, libc 0.2.191, libm 0.2.16, lock_api 0.4.13,
        memoffset 0.9.1, num-bigint 0.4.4, num-integer 0.1.45, num-traits 0.2.19, parking_lot_core 0.9.12, paste 1.0.15,
        portable-atomic 1.15.0, proc-macro2 1.0.107, quote 1.0.47, rayon-core 1.13.0, ref-cast 1.0.27, rustix 0.38.44,
        rustix 1.1.6, rustversion 1.0.23, semver 1.0.26, serde 1.0.229, serde_core 1.0.229, serde_json 1.0.154,
        slab 0.4.9, syn 1.0.109, target-lexicon 0.13.5, thiserror 1.0.69, thiserror 2.0.21, typenum 1.17.0,
        zerocopy 0.8.63, zmij 1.0.23""",
    "generating": """ahash 0.8.12, chrono-tz 0.10.4, cookie 0.18.2, cranelift-codegen 0.135.8, crunchy 0.2.4 limit_128,
        curve25519-dalek 5.0.0, doc-comment 0.3.4, encoding_rs 0.8.44, erased-serde 0.4.11, eyre 0.6.14,
        icu_normalizer_data 2.4.0, icu_properties_data 2.4.0, matrixmultiply 0.3.11, mime_guess 2.0.5, native-tls 0.2.18,
        nix 0.31.3, oid-registry 0.8.1, prettyplease 0.3.0, proc-macro-error 1.0.4, proc-macro-hack 0.5.20,
        protobuf 3.7.2, pyo3-ffi 0.30.1, rust_decimal 1.43.0, rustls 0.23.46 - ring, signal-hook 0.4.6,
        tiny-keccak 2.0.2 sha3, typeid 1.0.3, unicase 2.6.0, valuable 0.1.1, wasm-bindgen 0.2.130, web_atoms 0.3.0, winapi 0.3.9""",
    "compression": """libz-sys 1.1.31 static, libz-ng-sys 1.1.31, zstd-sys 2.1.2, bzip2-sys 0.1.13 static,
        liblzma-sys 0.4.9 static, lz4-sys 1.11.1, libdeflate-sys 1.26.1, brotli-sys 0.3.2, snappy_src 0.2.7""",
    "crypto": """aws-lc-sys 0.47.0, ring 0.17.14, blake3 1.8.7, secp256k1-sys 0.14.1, libsodium-sys-stable 1.24.3,
        sha1-asm 0.5.3, sha2-asm 0.6.4, md5-asm 0.5.2, psm 0.1.32, stacker 0.1.25""",
    "net": """openssl-sys 0.9.118 vendored, libgit2-sys 0.18.8 vendored, libssh2-sys 0.3.4 vendored-openssl,
        curl-sys 0.4.91 static-curl, libnghttp2-sys 0.1.13, rdkafka-sys 4.10.0 cmake-build""",
    "storage": """libsqlite3-sys 0.39.1 bundled buildtime_bindgen, lmdb-master-sys 0.2.6, sqlite-vec 0.1.9,
        mlua-sys 0.13.0 lua54 vendored, rquickjs-sys 0.14.0""",
    "rocksdb": "librocksdb-sys 0.17.3",  # Takes longer than all the others together.
    "media": """freetype-sys 0.23.0 bundled, expat-sys 2.1.6, harfbuzz-sys 0.8.0 bundled, libwebp-sys 0.14.4,
        mozjpeg-sys 2.2.3, minimp3-sys 0.6.0, audiopus_sys 0.2.2 static, meshopt 0.7.0, onig_sys 69.9.3, esaxx-rs 0.1.10 cpp""",
    "system": """tikv-jemalloc-sys 0.7.1, libmimalloc-sys 0.1.49, snmalloc-sys 0.7.6, cxx 1.0.205, link-cplusplus 1.0.12,
        libffi-sys 4.2.2, hidapi 2.6.7, libusb1-sys 0.7.0 vendored, tree-sitter 0.27.1, tree-sitter-bash 0.25.1,
        tree-sitter-c 0.24.2, tree-sitter-rust 0.24.2, ittapi-sys 0.5.0, tracy-client-sys 0.30.1, tinyfiledialogs 3.9.1""",
}

# Differences that do not count.
HARMLESS = ("debug-info", "order")
# Occurs in the paths of kache and its cache, which are below the directory of a group.
OURS = b"/kache/"


def crates(group):
    return [words.split() for words in GROUPS[group].split(",")]


def run(command, cwd, **env):
    """Runs a program in a directory, without the caller's settings for cargo and kache. Returns its output."""
    settings = re.compile(r"KACHE_|RUSTC|RUSTFLAGS|CARGO_(BUILD|TARGET|ENCODED)_")
    inherited = {name: value for name, value in os.environ.items() if not settings.match(name)}
    # Builds Expat even if the system has one.
    ours = {"CARGO_INCREMENTAL": "0", "CARGO_TERM_COLOR": "never", "EXPAT_NO_PKG_CONFIG": "1", "PWD": str(cwd)}
    env = inherited | ours | env
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode(errors="replace")
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} in {cwd}:\n{said[-6000:]}")
    return said


def generate(group, path):
    """Creates a package that depends on all crates of the group, as a git repository with a lock file."""
    manifest = '[package]\nname = "survey"\nversion = "0.1.0"\nedition = "2021"\nrust-version = "1.95"\nresolver = "3"\n'
    manifest += "\n[workspace]\n\n[dependencies]\n"
    for n, (name, version, *features) in enumerate(crates(group)):
        default, features = json.dumps("-" not in features), json.dumps([it for it in features if it != "-"])
        manifest += f'd{n} = {{ package = "{name}", version = "={version}", features = {features}, '
        manifest += f"default-features = {default} }}\n"
    if (path / ".git").exists() and (path / "Cargo.toml").read_text() == manifest:
        return
    shutil.rmtree(path, ignore_errors=True)
    (path / "src").mkdir(parents=True)
    (path / "Cargo.toml").write_text(manifest)
    (path / "src/main.rs").write_text("".join(f"use d{i} as _;\n" for i in range(n + 1)) + "\nfn main() {}\n")
    (path / ".gitignore").write_text("/target\n")
    for command in ("cargo generate-lockfile", "cargo fetch --locked", "git init -q", "git add -A",
                    "git -c user.name=survey -c user.email=survey@localhost commit -qm survey"):
        run(command.split(), path)


def build(source, checkout, packages=(), **env):
    """Builds a fresh checkout. Returns the seconds, and the packages that a second cargo builds again."""
    shutil.rmtree(checkout, ignore_errors=True)
    checkout.parent.mkdir(parents=True, exist_ok=True)
    run(["git", "clone", "-q", source, checkout], "/")
    command = ["nice", "-n", "10", "cargo", "build", "--locked", "--offline", *(f"-p{name}" for name in packages)]
    started = time.monotonic()
    run(command, checkout, **env)
    seconds = round(time.monotonic() - started, 1)
    return seconds, re.findall(r"^ +Compiling (\S+ v\S+)", run(command, checkout, **env), re.M)


def events(cache, target):
    """Returns the event of the first run of each unit in this target directory, from kache's log."""
    with open(cache / "events/events.jsonl", encoding="utf-8") as log:
        runs = [event for event in map(json.loads, log) if event.get("kind") == "run"]
    return {event["unit"]: event for event in reversed(runs) if event["target"] == str(target)}


def aside(data, checkout):
    return data.replace(os.fsencode(checkout), b"{ROOT}")


def tree(directory, checkout):
    """Lists a directory tree: the type of each path, its target or its owner's permissions, and the file to read."""
    found = {}
    for path in (Path(at, name) for at, names, files in os.walk(directory) for name in names + files):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            node = ("link", aside(os.fsencode(os.readlink(path)), checkout), None)
        else:
            node = (stat.filemode(mode)[0], stat.filemode(mode & stat.S_IRWXU), path if stat.S_ISREG(mode) else None)
        found[str(path.relative_to(directory))] = node
    return found


def stripped(path, checkout):
    """Returns an object or archive without debug info and data derived from it. `None`: it is another kind of file."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "copy")
        command = ["objcopy", "--strip-debug", "--enable-deterministic-archives", "-R", ".note.gnu.build-id", path, copy]
        fits = subprocess.run(command, capture_output=True).returncode == 0
        return aside(copy.read_bytes(), checkout) if fits else None


def compare_bytes(sides):
    """Returns both contents without the paths of the checkouts, and how they compare. `None`: they differ."""
    contents = [aside(path.read_bytes(), checkout) for path, checkout in sides]
    if contents[0] == contents[1]:
        return contents, "same"
    return contents, "names kache" if OURS in contents[1] and OURS not in contents[0] else None


def compare_files(*sides):
    contents, how = compare_bytes(sides)
    if not how and contents[0].startswith((b"!<arch>\n", b"\x7fELF")):
        contents = [stripped(path, checkout) for path, checkout in sides]
        how = "debug-info" if contents[0] and contents[0] == contents[1] else None
    return how or "differs"


def compare_streams(*sides):
    """Compares script outputs: directives in order, other lines (of compilers that run in parallel) in any order."""
    texts, how = compare_bytes(sides)
    lines = [re.sub(rb"(?m)^\[ *\d+%\]", b"", text).split(b"\n") for text in texts]
    directives = [[line for line in text if line.lstrip().startswith(b"cargo:")] for text in lines]
    return how or ("order" if directives[0] == directives[1] and sorted(lines[0]) == sorted(lines[1]) else "differs")


def compare(unit, *checkouts):
    """Returns how the results of a run differ between two checkouts: path -> how."""
    places = [checkout / "target/debug/build" / unit for checkout in checkouts]
    if not all((place / "output").exists() for place in places):
        return {"[run]": "not in both"}
    one, other = (tree(place / "out", checkout) for place, checkout in zip(places, checkouts))
    found = {f"[{name}]": compare_streams(*((place / name, checkout) for place, checkout in zip(places, checkouts)))
             for name in ("output", "stderr")}
    for key in sorted(one.keys() | other.keys()):
        a, b = one.get(key), other.get(key)
        if not a or not b:
            found[key] = "missing" if a else "extra"
        elif a[:2] != b[:2]:
            found[key] = f"{a[:2]} -> {b[:2]}"
        elif a[2]:
            found[key] = compare_files(*zip((a[2], b[2]), checkouts))
    return {key: how for key, how in found.items() if how != "same"}


def survey(group, options):
    """Builds one group three times. Returns its rows and facts."""
    base = options.dir / group
    source, plain, wrapper, cache = base / "source", base / "plain/p", base / "kache/bin/kache", base / "kache/cache"
    first, second, third = base / "a/proj", base / "other/deeper/b", base / "one/more/plain/checkout"
    generate(group, source)
    shutil.rmtree(cache, ignore_errors=True)
    # Copies the program, because it may be rebuilt while the survey runs.
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(options.kache, wrapper)
    with_kache = {"RUSTC_WRAPPER": str(wrapper), "KACHE_CACHE_DIR": str(cache), "KACHE_CONFIG": str(base / "none")}
    facts = {}
    for name, checkout, env in [("P", plain, {}), ("A", first, with_kache), ("B", second, with_kache)]:
        facts[name], facts["stale " + name] = build(source, checkout, **env)
        print(f"{group} {name}: {facts[name]} s; not fresh after it: {facts['stale ' + name]}", file=sys.stderr)
    in_a, in_b = (events(cache, checkout / "target") for checkout in (first, second))
    units = {path.parent.name for path in plain.glob("target/debug/build/*/output")}
    rows = []
    for unit in sorted(units | in_a.keys() | in_b.keys()):
        a, b = in_a.get(unit, {}), in_b.get(unit, {})
        row = {"group": group, "unit": unit, "package": a.get("package") or b.get("package") or unit, "A": a, "B": b}
        is_hit = b.get("outcome", "").startswith("hit")
        row |= {"P -> A": compare(unit, plain, first), "P -> B": compare(unit, plain, second), "P -> P": {},
                "A -> B": compare(unit, first, second) if is_hit else {}}
        rows.append(row)
    suspects = [row for row in rows if wrong(row)]
    if options.recheck and suspects:
        build(source, third, sorted({row["package"].replace(" ", "@") for row in suspects}))
        # Built alone, some packages get other features of their dependencies, which makes another unit.
        if not all((third / "target/debug/build" / row["unit"]).exists() for row in suspects):
            build(source, third)
        for row in suspects:
            row["P -> P"] = compare(row["unit"], plain, third)
    return rows, facts


def unlike_plain(row):
    return {key: how for key, how in (row["P -> A"] | row["P -> B"]).items() if how not in HARMLESS}


def wrong(row):
    """Returns results that differ from plain cargo's (unless known to be irreproducible) or from the stored ones."""
    known = {key for key, how in row["P -> P"].items() if how not in HARMLESS}
    unlike = [key for key, how in unlike_plain(row).items() if key not in known or how == "names kache"]
    return unlike + [f"restored {key}" for key in row["A -> B"]]


def brief(names, most=4):
    names = [f"`{name}`" for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def describe(row):
    """Returns the cells of a row: stored, shared, same, ms of the run, ms of the hit."""
    a, b = row["A"], row["B"]
    outcome = a.get("outcome", "not seen by kache")
    stored = "yes" if outcome.startswith("hit") or a.get("stored") == "stored" else a.get("stored") or outcome
    if stored != "yes" and a.get("detail"):
        stored += f": `{a['detail']}`"
    shared = b.get("outcome", "not seen by kache")
    shared = "hit" if shared.startswith("hit") else shared
    if shared != "hit" and b.get("differs"):
        shared += ": " + brief(f"{it['kind']} {it['name']}" for it in b["differs"])
    bad = wrong(row)
    known = [key for key in unlike_plain(row) if key not in bad]
    same = [f"**differs**: {brief(bad)}"] if bad else []
    same += [f"not reproducible: {brief(known)}"] if known else []
    same += ["debug info"] if "debug-info" in (row["P -> A"] | row["P -> B"]).values() else []
    times = (a.get("ms", ""), b["ms"] if shared == "hit" else "")
    return stored, shared, "; ".join(same) or "same", *(ms and f"{ms:.0f}" for ms in times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kache", type=lambda path: Path(path).absolute())
    parser.add_argument("--dir", type=lambda path: Path(path).absolute(), default=Path("/tmp/scripts-survey"))
    parser.add_argument("--only", metavar="GROUP", action="append", choices=GROUPS, help=", ".join(GROUPS))
    parser.add_argument("--json", metavar="FILE", type=Path)
    parser.add_argument("--recheck", action="store_true")
    options = parser.parse_args()
    rows, facts, absent = [], {}, []
    for group in options.only or GROUPS:
        of_group, facts[group] = survey(group, options)
        wanted = {f"{name} {version}" for name, version, *_ in crates(group)}
        absent += sorted(wanted - {row["package"].split("+")[0] for row in of_group})
        rows += [row | {"asked": row["package"].split("+")[0] in wanted} for row in of_group]
        if options.json:
            options.json.write_text(json.dumps({"rows": rows, "groups": facts, "no run": absent}, indent=1, default=str))

    print("| crate | run stored | second checkout | OUT_DIR like plain cargo's | ms of the run | ms of the hit |")
    print("|---|---|---|---|---|---|")
    counts, quiet = collections.Counter(), 0
    for row in rows:
        cells = describe(row)
        counts.update({"runs": 1, "stored": cells[0] == "yes", "shared": cells[1] == "hit"})
        counts["different" if wrong(row) else cells[2].split(":")[0]] += 1
        if row["asked"] or cells[:3] != ("yes", "hit", "same"):
            print("|", row["package"] + ("" if row["asked"] else " (dependency)"), "|", " | ".join(cells), "|")
        else:
            quiet += 1
    stale = {name for of in facts.values() for name in of["stale B"] if name not in of["stale P"]}
    print(f"\nNot listed: {quiet} runs of dependencies that were stored, shared and the same.")
    print(f"No build script: {', '.join(absent) or 'none'}. Built again by a second cargo in B, but not in P: "
          f"{', '.join(sorted(stale)) or 'none'}.\nSummary:", ", ".join(f"{n} {what}" for what, n in counts.items()))
    sys.exit(1 if any(map(wrong, rows)) else 0)


if __name__ == "__main__":
    main()
