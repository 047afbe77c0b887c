#!/bin/sh
# Builds whole workspaces with plain cargo, the oracle and kache, side by side, and prints which units kache compiled.
#
#   benches/judge.sh KACHE WORKSPACE...
#
# KACHE is the program under test. WORKSPACE is `ripgrep`, `kache`, `native` (C code in build scripts: bundled SQLite and zstd), `macros` (36 packages
# that use nine crates of derive and attribute macros) or `nextest` (cargo-nextest: 26 proc macros, 58 users; each cold
# build takes about four minutes). JUDGE_DIR (/tmp/judge) receives workspaces, clones and results. Connects to crates.io
# once per workspace, then builds offline.
set -eu
[ $# -ge 2 ] || { echo "usage: benches/judge.sh KACHE WORKSPACE..." >&2 && exit 2; }
kache=$(realpath "$1") here=$(cd "$(dirname "$0")/.." && pwd)
shift
dir=${JUDGE_DIR:-/tmp/judge}
mkdir -p "$dir/src" "$dir/out"
cargo build --release --quiet --manifest-path "$here/benches/oracle/Cargo.toml" --target-dir "$here/benches/oracle/target"

# Turns the files in $1 into a git repository with a lock file.
seal() (
    cd "$1"
    printf 'target\n' > .gitignore
    cargo fetch --quiet
    git init -q
    git add -A
    git -c user.name=judge -c user.email=judge@localhost commit -qm import
)

native() {
    mkdir -p "$1/src"
    cat > "$1/Cargo.toml" <<'END'
[package]
name = "native"
version = "0.1.0"
edition = "2024"
[dependencies]
rusqlite = { version = "=0.37.0", features = ["bundled"] }
zstd = "=0.13.3"
[workspace]
END
    cat > "$1/src/main.rs" <<'END'
fn main() {
    let db = rusqlite::Connection::open_in_memory().unwrap();
    let sum: i64 = db.query_row("select 1 + 2", [], |row| row.get(0)).unwrap();
    let packed = zstd::encode_all(&b"hello hello hello"[..], 3).unwrap();
    println!("{sum} {}", String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap());
}
END
}

macros() {
    mkdir -p "$1/app/src"
    cat > "$1/Cargo.toml" <<'END'
[workspace]
resolver = "3"
members = ["app", "unit/*"]
[workspace.dependencies]
async-trait = "=0.1.92"
bytemuck = { version = "=1.25.2", features = ["derive"] }
clap = { version = "=4.6.7", features = ["derive"] }
derive_more = { version = "=2.1.1", features = ["full"] }
serde = { version = "=1.0.229", features = ["derive"] }
strum = { version = "=0.28.0", features = ["derive"] }
thiserror = "=2.0.21"
tracing = "=0.1.44"
zerocopy = { version = "=0.8.63", features = ["derive"] }
END
    all='async-trait bytemuck clap derive_more serde strum thiserror tracing zerocopy'
    inherit() { for crate in $all; do echo "$crate.workspace = true"; done; }
    n=0
    while [ $n -lt 36 ]; do
        unit=$1/unit/u$n
        mkdir -p "$unit/src"
        { printf '[package]\nname = "u%s"\nversion = "0.1.0"\nedition = "2024"\n[dependencies]\n' $n; inherit; } > "$unit/Cargo.toml"
        # Every fourth package begins a chain. Each of the others depends on the one before it.
        if [ $((n % 4)) -ne 0 ]; then
            echo "u$((n - 1)) = { path = \"../u$((n - 1))\" }" >> "$unit/Cargo.toml"
            below="u$((n - 1))::value()"
        else
            below=1
        fi
        cat > "$unit/src/lib.rs" <<END
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize, clap::Args, derive_more::Display)]
#[display("{name}-{n}")]
pub struct Row { #[arg(long)] pub name: String, #[arg(long)] pub n: u32 }
#[derive(Debug, Clone, Copy, strum::EnumIter, strum::Display, strum::EnumString, derive_more::IsVariant)]
pub enum Kind { One, Two, Three }
#[derive(Debug, thiserror::Error)]
pub enum Error { #[error("no {0}")] No(String), #[error(transparent)] Io(#[from] std::io::Error) }
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
pub struct Raw { pub a: u32, pub b: u32 }
#[async_trait::async_trait]
pub trait Source { async fn next(&mut self) -> Result<Row, Error>; }
#[tracing::instrument]
pub fn value() -> u32 { $below + $n }
END
        n=$((n + 1))
    done
    {
        printf '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2024"\n[dependencies]\n'
        n=3
        while [ $n -lt 36 ]; do echo "u$n = { path = \"../unit/u$n\" }"; n=$((n + 4)); done
    } > "$1/app/Cargo.toml"
    echo 'fn main() { println!("{}", u3::value() + u35::value()); }' > "$1/app/src/main.rs"
}

for workspace; do
    src=$dir/src/$workspace
    case $workspace in
    ripgrep) set -- --crate ripgrep@15.1.0 ;;
    nextest) set -- --crate cargo-nextest@0.9.151 ;;
    kache) set -- --src "$here" ;;
    native | macros)
        [ -d "$src/.git" ] || { rm -rf "$src" && "$workspace" "$src" && seal "$src"; }
        set -- --src "$src"
        ;;
    *) echo "unknown workspace $workspace" >&2 && exit 2 ;;
    esac
    echo "== $workspace"
    python3 "$here/benches/builds.py" "$@" --root "$dir/builds" --tools "plain,oracle,kache=$kache" --out "$dir/out/$workspace.json"
    cache=$dir/builds/kache/cache
    KACHE_CACHE_DIR=$cache KACHE_CONFIG=$cache/none.toml "$kache" stats
    # Lists every outcome of the restored builds that is not a hit.
    python3 - "$cache/events/events.jsonl" <<'END'
import collections, json, sys
events = [json.loads(line) for line in open(sys.argv[1])]
# In each target directory, the first build of A is the cold one, so its misses are expected.
misses = collections.Counter()
seen = collections.Counter()
for event in events:
    unit = (event["target"], event["crate"], event["kind"], event["lookup"])
    seen[unit] += 1
    if not event["outcome"].startswith("hit") and (seen[unit] > 1 or "/other/" in event["target"] or event["outcome"].startswith("bypass")):
        misses[(event["crate"], event["kind"], event["outcome"], event["stored"], event["detail"][:80])] += 1
for unit, count in sorted(misses.items()):
    print("not a hit", count, *unit)
print(sum(misses.values()), "units were no hits in warm and cross builds")
END
done
