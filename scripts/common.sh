# shellcheck shell=bash
# What every script here needs. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$ROOT" || exit 1

# Settings of the caller's that would send our psql to a server of theirs.
unset PGSERVICE PGSERVICEFILE PGHOSTADDR PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE \
      PGOPTIONS PGAPPNAME PGSSLMODE PGTZ PGDATESTYLE PGCLIENTENCODING

# PostgreSQL 15 as Debian packages it, unless the caller names another server. Where that package is not
# there, the server of the pg_config in PATH, if it is one to build for (Debian's libpq-dev has a pg_config without).
DEFAULT_PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config
if [[ -z ${PG_CONFIG:-} ]]; then
    PG_CONFIG=$DEFAULT_PG_CONFIG
    if [[ ! -x $PG_CONFIG ]] && found=$(command -v pg_config) &&
        [[ -f $("$found" --pgxs) && -x $("$found" --bindir)/initdb ]]
    then
        PG_CONFIG=$found
    fi
fi
export PG_CONFIG

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
is_root() { [[ $EUID -eq 0 ]]; }
step() { printf '\n== %s\n' "$*"; }

# "PostgreSQL 15.20 (Debian …)" and "PostgreSQL 18beta1" are 15 and 18.
pg_major() { "$PG_CONFIG" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/'; }

# Cargo's default feature is pg15. Only another server needs to be named: naming the default as well
# would make cargo build everything a second time.
cargo_features() {
    local major
    major=$(pg_major)
    [[ $major == 15 ]] || printf '%s\n' --no-default-features --features "pg$major"
}
