#!/usr/bin/env bash
# Builds the extension and installs it into the server that PG_CONFIG belongs to. Nothing is restarted.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ -x $PG_CONFIG ]] || die "no pg_config at $PG_CONFIG: run 'make deps', or name one: make install PG_CONFIG=/path/to/pg_config"
for directory in "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)/extension"; do
    # Under sudo, make would miss this user's cargo and build everything as root; cargo-pgrx asks for root just to copy.
    [[ -w $directory ]] || die "may not write to $directory; run: cargo pgrx install --release --sudo --pg-config $PG_CONFIG (for the tests, then: tests/run.sh --no-build)"
done
cargo pgrx install --release --pg-config "$PG_CONFIG"
