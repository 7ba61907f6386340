#!/usr/bin/env bash
# Breaks the code on purpose and checks that the tests notice ("make mutants"): each tests/mutants/*.patch is applied to a
# copy of the checkout, built, installed, and the tests that it names must turn red.
#
#   scripts/mutants.sh [NAME…]      all, or those (a file name without .patch)
#
# A patch begins with lines like these; every run must fail:
#   # breaks: promise 2, the next check in any session is denied
#   # run: regress revoke
#   # run: isolation revoke_open_transaction
#   # run: cluster test_readers.py::test_revoke
#   # run: unit quorum
set -euo pipefail
# shellcheck source=cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

work=$ROOT/target/mutants
tree=$work/tree
logs=$work/logs

patches=()
for name in "$@"; do patches+=("$ROOT/tests/mutants/$name.patch"); done
(($#)) || patches=("$ROOT"/tests/mutants/*.patch)
for patch in "${patches[@]}"; do
    [[ -f $patch ]] || die "no such mutant: $patch"
    grep -q '^# run: ' "$patch" || die "$patch names no test ('# run: …')"
done
runs_of() { sed -nE 's/^# run: *//p' "$@" | sort -u; }

scripts/deps.sh --tests

# The copy holds what is in the checkout, committed or not. The build folder stays from run to run, with the last mutant in it: files
# get today's time, or cargo would take what was built from the mutant for what is built from them.
rm -rf "$tree" "$logs"
mkdir -p "$tree/target" "$logs"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done |
    tar --null --files-from=- -cf - | tar -C "$tree" --touch -xf -
ln -s "$ROOT/target/venv" "$tree/target/venv"
export CARGO_TARGET_DIR=$work/build

# Whatever happens, the server gets its proper extension back.
restore() {
    local status=$?
    trap - EXIT
    cluster_remove "$tree/target/test"
    step "installing the unbroken build again"
    env -u CARGO_TARGET_DIR "$ROOT/scripts/install.sh" >"$logs/restore.log" 2>&1 ||
        { tail -n 30 "$logs/restore.log"; echo "the server still has a mutant installed: run 'make install'"; status=1; }
    exit "$status"
}
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Many builds, each used once: a quick one is enough.
build() {
    (cd "$tree" && CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        CARGO_PROFILE_RELEASE_INCREMENTAL=true scripts/install.sh) >"$1" 2>&1
}
# Output goes to a log; a test that hangs is red too.
red() {
    local log=$1 kind=$2 name=${3:-}
    ! (cd "$tree" && timeout --kill-after=60 1200 tests/run.sh --no-build --only "$kind" ${name:+"$name"}) >"$log" 2>&1 </dev/null
}

step "the unbroken tree: every test that a mutant names must be green"
build "$logs/baseline.log" || { tail -n 30 "$logs/baseline.log"; die "the build failed"; }
while read -r kind name; do
    log=$logs/baseline-$kind-${name//[^a-zA-Z0-9_]/_}.log
    if red "$log" "$kind" "$name"; then
        tail -n 40 "$log"
        die "$kind $name is red without any mutant"
    fi
    echo "green   $kind $name"
done < <(runs_of "${patches[@]}")

step "the mutants: the same tests must be red"
killed=0 failures=0
for patch in "${patches[@]}"; do
    mutant=$(basename "$patch" .patch)
    log=$logs/$mutant
    # No fuzz: a hunk that lands elsewhere would break something else than its name says.
    if ! patch -d "$tree" -p1 --fuzz=0 --dry-run -s <"$patch" >"$log.patch.log" 2>&1; then
        echo "INVALID   $mutant: the patch does not apply ($log.patch.log)"
        failures=$((failures + 1))
        continue
    fi
    patch -d "$tree" -p1 --fuzz=0 -s <"$patch"
    if build "$log.build.log"; then
        survived=''
        while read -r kind name; do
            if red "$log.$kind-${name//[^a-zA-Z0-9_]/_}.log" "$kind" "$name"; then
                echo "killed    $mutant: $kind $name"
            else
                echo "SURVIVED  $mutant: $kind $name"
                survived=yes
            fi
        done < <(runs_of "$patch")
        if [[ $survived ]]; then failures=$((failures + 1)); else killed=$((killed + 1)); fi
    else
        # It proves nothing about the tests.
        echo "INVALID   $mutant: does not compile ($log.build.log)"
        failures=$((failures + 1))
    fi
    patch -d "$tree" -p1 --fuzz=0 -s -R <"$patch"
done

printf '\n%d killed, %d not; logs: %s\n' "$killed" "$failures" "$logs"
((failures == 0))
