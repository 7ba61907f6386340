#!/usr/bin/env bash
# Everything that must hold before a change goes in ("make test"), stopping at the first step that fails.
#
#   tests/run.sh                          all of it
#   tests/run.sh --only KIND [NAME]       one suite, or one test of it; KIND is
#                                           unit       NAME: a filter as for cargo test
#                                           regress    NAME: a file of tests/pg_regress/sql
#                                           isolation  NAME: a file of tests/isolation/specs
#                                           cluster    NAME: a pytest node below tests/cluster
#                                           differential  NAME: a pytest node below tests/differential
#                                           model      NAME: a pytest node below tests/model
#   tests/run.sh --no-build …             against what is installed already
set -euo pipefail
# shellcheck source=../scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/cluster.sh"

only='' name='' build=yes
while (($#)); do
    case $1 in
        --only) only=${2:?--only needs a suite}; shift
                if [[ ${2:-} && $2 != --* ]]; then name=$2; shift; fi ;;
        --no-build) build='' ;;
        *) die "unknown argument $1" ;;
    esac
    shift
done
[[ $only =~ ^(unit|regress|isolation|cluster|differential|model)?$ ]] ||
    die "unknown suite '$only': unit, regress, isolation, cluster, differential or model"

current='dependencies' base='' passed=0
summary=()

finish() {
    local status=$?
    trap - EXIT
    [[ -z $base ]] || cluster_stop_all "$base"
    printf '\n'
    if ((${#summary[@]})); then printf '%s\n' "${summary[@]}"; fi
    if ((status)); then
        # "failed" counts steps: the run ends at the first.
        printf 'FAILED: %s\n%d passed, 1 failed\n' "$current" "$passed"
    else
        printf '%d passed, 0 failed\n' "$passed"
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

begin() { current=$1; SECONDS=0; step "$1"; }
# done_with [TESTS]: a step is one check, a suite counts its tests.
done_with() {
    passed=$((passed + ${1:-1}))
    summary+=("$(printf 'ok   %-28s %5s  %4ds' "$current" "${1:-}" "$SECONDS")")
}

run_unit() {
    begin "unit tests"
    local log=$base/unit.log
    # Without --lib cargo would try doc tests, which a cdylib cannot have.
    cargo test --quiet --lib "${features[@]}" -- ${name:+"$name"} 2>&1 | tee "$log"
    local count
    count=$(sed -nE 's/^test result: ok\. ([0-9]+) passed.*/\1/p' "$log")
    ((count > 0)) || die "no unit test ran"
    done_with "$count"
}

# every_pair INPUT EXPECTED: an input without expected output would be reported as a failure, but an
# expected output that no input produces goes unnoticed.
every_pair() {
    local inputs=$1 suffix=$2 expected=$3
    diff <(cd "$inputs" && shopt -s nullglob && printf '%s\n' *".$suffix" | sed "s/\.$suffix$//" | sort) \
         <(cd "$expected" && shopt -s nullglob && printf '%s\n' *.out | sed -E 's/(_[0-9])?\.out$//' | sort -u) ||
        die "$inputs and $expected do not pair up (< has no .out, > has no .$suffix)"
}

# PostgreSQL's own drivers. Each file has a database to itself, with the extension in it; roles belong to the cluster.
run_pg_regress() {
    local kind=$1 suite=$2 driver=$3 inputs=$4 suffix=$5
    local dir=$base/$kind file test database failed=() files=()
    begin "$suite"
    every_pair "$inputs" "$suffix" "${inputs%/*}/expected"
    # An outcome that was accepted by mistake: the server died, or isolationtester could not read the spec (it ends a block at
    # the first closing brace: write jsonb_build_object(…) there).
    ! grep -lE 'connection to server was lost|closed the connection unexpectedly|^syntax error at line' "${inputs%/*}"/expected/*.out ||
        die "the files above expect a broken test"
    if [[ $name ]]; then
        [[ -f $inputs/$name.$suffix ]] || die "no such test: $inputs/$name.$suffix"
        files=("$inputs/$name.$suffix")
    else
        files=("$inputs"/*".$suffix")
        [[ -f ${files[0]} ]] || die "no tests in $inputs"
    fi

    cluster_init "$dir"
    # A statement that hangs fails its test, not the whole run.
    cluster_start "$dir" shared_preload_libraries=jit_rls statement_timeout=60s
    run_psql postgres -f tests/pg_regress/roles.sql
    for file in "${files[@]}"; do
        test=$(basename "$file" ".$suffix")
        database=${kind}_$test
        run_psql postgres -c "CREATE DATABASE \"$database\""
        run_psql "$database" -f tests/pg_regress/setup.sql
        # Written by us, read by us: the driver runs as whoever runs this script.
        mkdir -p "$dir/out/$test"
        # In the inputs' directory: since 16 the expected output is looked for in the current one, by an option that 15 does not know.
        if (cd "${inputs%/*}" && "$driver" --use-existing --dbname="$database" --bindir="$("$PG_CONFIG" --bindir)" \
            --inputdir=. --outputdir="$dir/out/$test" --host="$PGHOST" --user=postgres \
            "$test" >"$dir/out/$test/log" 2>&1)
        then
            printf 'ok      %s\n' "$test"
            # A worker that would not leave shows up here.
            run_psql postgres -c "DROP DATABASE \"$database\" WITH (FORCE)"
        else
            printf 'not ok  %s\n' "$test"
            failed+=("$test")
            # No diffs: the driver itself failed.
            head -n 200 "$dir/out/$test/regression.diffs" 2>/dev/null || cat "$dir/out/$test/log"
        fi
    done
    cluster_stop "$dir"
    if ((${#failed[@]})); then
        printf '%s of %s failed; results and server log: %s\n' "${#failed[@]}" "${#files[@]}" "$dir"
        die "$suite: ${failed[*]}"
    fi
    done_with "${#files[@]}"
}
run_psql() { "$(pg_bin psql)" -X -q -v ON_ERROR_STOP=1 -d "$@" >/dev/null; }

pgxs_test() { printf '%s/../test/%s' "$(dirname "$("$PG_CONFIG" --pgxs)")" "$1"; }
run_regress() {
    run_pg_regress regress "pg_regress" "$(pgxs_test regress/pg_regress)" tests/pg_regress/sql sql
}
run_isolation() {
    run_pg_regress isolation "isolation specs" "$(pgxs_test isolation/pg_isolation_regress)" tests/isolation/specs spec
}

run_cluster() { run_pytest "cluster tests" cluster "$base/cluster" --durations=5; }
# Random worlds and queries against a plain reference; it fails as well when too few cases are of a kind.
run_differential() { run_pytest "differential tests" differential "$base/different"; }
# Random histories of requests, rules and roles against a plain reference; the same.
run_model() { run_pytest "model tests" model "$base/model"; }

run_pytest() {
    local suite=$1 folder=$2 servers=$3
    shift 3
    begin "$suite"
    local log=$base/$folder.log
    # No plug-ins of the machine's, no caches in the checkout.
    JIT_TEST_BASE=$servers PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONDONTWRITEBYTECODE=1 \
        target/venv/bin/pytest -p no:cacheprovider -ra --color=no "$@" \
        -o faulthandler_timeout=900 -o faulthandler_exit_on_timeout=true \
        "tests/$folder${name:+/$name}" 2>&1 | tee "$log"
    done_with "$(sed -nE 's/.*[^0-9]([0-9]+) passed.*/\1/p' "$log" | tail -n 1)"
}

# Every finding is either fixed or has an exception with a reason; an exception that nothing needs any more goes.
run_pgspot() {
    begin "pgspot"
    local version script report=$base/pgspot.log
    version=$(sed -nE 's/^version *= *"(.*)"/\1/p' Cargo.toml | head -n 1)
    script=$("$PG_CONFIG" --sharedir)/extension/jit_rls--$version.sql
    target/venv/bin/pgspot "$script" >"$report" 2>&1 || true
    grep -q '^ *Errors: .* Unknown: 0 *$' "$report" || { cat "$report"; die "pgspot could not read all of $script"; }
    awk '/^#/ { reason = 1; next } NF && !reason { print; bad = 1 } !NF { reason = 0 } END { exit bad }' tests/pgspot.ignore ||
        die "tests/pgspot.ignore: the exceptions above have no reason (a # line above them)"
    diff <(grep -vE '^(#|$)' tests/pgspot.ignore | sort -u) \
         <(grep -E '^PS[0-9]+:' "$report" | sed -E 's/ at line [0-9]+$//' | sort -u) ||
        die "pgspot (> is a new finding, < an exception that is not needed)"
    done_with
}

scripts/deps.sh --tests
# Several runs side by side need a name each.
base=$(cluster_base "${JIT_TEST_NAME:-test}")
mapfile -t features < <(cargo_features)

install_build() {
    begin "build and install"
    scripts/install.sh
    done_with
}

if [[ $only ]]; then
    [[ -z $build || $only == unit ]] || install_build
    "run_$only"
    exit
fi

begin "formatting";      cargo fmt --check; done_with
begin "clippy";          cargo clippy --quiet --all-targets "${features[@]}" -- -D warnings; done_with
begin "PostgreSQL 16 to 18"; scripts/check-versions.sh; done_with
begin "rustdoc";         RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --document-private-items "${features[@]}"; done_with
run_unit
[[ -z $build ]] || install_build
run_pgspot
run_regress
run_isolation
run_cluster
run_differential
run_model
