#!/usr/bin/env bash
# Installs what is missing for building and testing; quick and silent when nothing is. System-wide
# things are only installed as root; anybody else gets the commands to run.
#
#   scripts/deps.sh            for a build
#   scripts/deps.sh --tests    and for the tests: a Python environment in target/venv
#   scripts/deps.sh --bench    and for the benchmark: more of it, and valgrind
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

PGRX=0.18.1
missing=()   # commands, one a line, that would install what is missing

want() { missing+=("$*"); }
# Runs what was wanted so far, or (not root) leaves it for the list at the end.
install_wanted() {
    is_root || return 0
    local command
    for command in "${missing[@]}"; do
        printf '+ %s\n' "$command"
        bash -c "$command" </dev/null || die "failed: $command"
    done
    missing=()
}

command -v cargo >/dev/null || die "no Rust toolchain found: install one with rustup (the version is in Cargo.toml)"
for tool in fmt clippy; do
    cargo "$tool" --version >/dev/null 2>&1 || want "rustup component add ${tool/#fmt/rustfmt}"
done

packages=(libclang-dev clang pkg-config libssl-dev build-essential python3-venv)
[[ $PG_CONFIG != "$DEFAULT_PG_CONFIG" ]] || packages+=(postgresql-15 postgresql-server-dev-15)
if command -v dpkg-query >/dev/null; then
    absent=()
    for package in "${packages[@]}"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || absent+=("$package")
    done
    if ((${#absent[@]})); then
        want "apt-get update -q"
        # Debian may create and start a cluster of its own with the server. Nothing here uses it.
        want "DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends ${absent[*]}"
        install_wanted
    fi
elif [[ ! -x $PG_CONFIG ]]; then
    die "these scripts install packages on Debian only; here, install PostgreSQL 15 with its server headers, libclang, OpenSSL headers and a C compiler, and set PG_CONFIG"
fi

[[ $(cargo pgrx --version 2>/dev/null) == "cargo-pgrx $PGRX" ]] ||
    want "cargo install --locked cargo-pgrx@$PGRX"
install_wanted

# cargo-pgrx builds against the pg_config that its own configuration names. Debian's /usr/bin/pg_config is a wrapper, so what
# counts is the server that it leads to, not its path.
pgrx_knows_server() {
    local config=${PGRX_HOME:-$HOME/.pgrx}/config.toml named
    [[ -f $config ]] || return 1
    named=$(sed -nE "s/^pg$(pg_major) *= *[\"']([^\"']+)[\"'].*/\1/p" "$config")
    [[ -n $named && $("$named" --pkglibdir 2>/dev/null) == "$("$PG_CONFIG" --pkglibdir)" ]]
}
if [[ ! -x $PG_CONFIG ]]; then
    want "cargo pgrx init --pg15 $PG_CONFIG"
elif ! pgrx_knows_server; then
    want "cargo pgrx init --pg$(pg_major) $PG_CONFIG"
fi
install_wanted

if ((${#missing[@]})); then
    echo "Missing on this machine. Run (apt-get as root):" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 1
fi

if [[ ${1:-} == --tests || ${1:-} == --bench ]]; then
    # The system's Python where there is one: a version manager's may lack venv or vanish from PATH.
    python=/usr/bin/python3
    [[ -x $python ]] || python=$(command -v python3) || die "no python3 found"
    if ! cmp -s tests/requirements.txt target/venv/requirements.txt; then
        echo "+ Python environment in target/venv"
        rm -rf target/venv
        mkdir -p target
        "$python" -m venv target/venv
        target/venv/bin/pip install -q --disable-pip-version-check -r tests/requirements.txt
        # Copied last: its presence says that the environment is complete.
        cp tests/requirements.txt target/venv/requirements.txt
    fi
fi

if [[ ${1:-} == --bench ]] && ! cmp -s bench/requirements.txt target/venv/bench.txt; then
    echo "+ the benchmark's Python packages in target/venv"
    target/venv/bin/pip install -q --disable-pip-version-check -r bench/requirements.txt
    cp bench/requirements.txt target/venv/bench.txt
fi
