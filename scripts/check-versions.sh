#!/usr/bin/env bash
# Type-checks the code for the PostgreSQL versions that are not installed here. pgrx carries the bindings of every version that it
# supports, for its documentation; with DOCS_RS it makes none of its own from a server's headers.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export DOCS_RS=1 CARGO_TARGET_DIR=$ROOT/target/versions
bindings=$(cargo metadata --format-version 1 --locked |
    grep -oE '"manifest_path":"[^"]*/pgrx-pg-sys-[^"/]*/Cargo.toml"' | head -n 1 | cut -d '"' -f 4)
bindings=$(dirname "$bindings")/src/include

for version in 16 17 18; do
    check=(cargo check --quiet --locked --no-default-features --features "pg$version")
    # The first try builds what it can, and leaves the folder into which the bindings belong.
    "${check[@]}" >/dev/null 2>&1 || true
    for folder in "$CARGO_TARGET_DIR"/debug/build/pgrx-pg-sys-*/out; do
        cp "$bindings/pg$version.rs" "$bindings/pg${version}_oids.rs" "$folder/"
    done
    "${check[@]}" || die "does not compile for PostgreSQL $version"
    echo "compiles for PostgreSQL $version"
done
