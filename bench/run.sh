#!/usr/bin/env bash
# What the check costs ("make bench"): against policies written by hand, in one run, on throwaway servers. Prints a table, and
# writes target/bench/results.json (every sample, statement, policy and plan), results.md and results.svg. A bar that is missed is
# a result, not an error.
#
#   bench/run.sh                    5 million rows: an hour, 10 GB of disk, 8 GB of memory
#   bench/run.sh --rows N           another number of rows
#   bench/run.sh --quick            few repetitions and small populations: to see whether it runs, too few for any verdict
#   bench/run.sh --only CASE[,CASE] some of the cases; --help names them
#   bench/run.sh --no-build         what is installed
#   bench/run.sh --keep             leave the servers' directories in target/bench
set -euo pipefail
# shellcheck source=../scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/cluster.sh"

build=yes keep='' options=()
while (($#)); do
    case $1 in
        --no-build) build='' ;;
        --keep) keep=yes ;;
        *) options+=("$1") ;;
    esac
    shift
done

scripts/deps.sh --bench
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
# A mistake there would be a mistake in every verdict.
target/venv/bin/pytest -q -p no:cacheprovider --doctest-modules bench/measure.py bench/test_measure.py
[[ ! $build ]] || scripts/install.sh

base=$(cluster_base bench)
finish() {
    local status=$?
    trap - EXIT
    cluster_stop_all "$base"
    [[ $keep ]] || rm -rf "$base"/server.*
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
rm -rf "$base"/server.*

target/venv/bin/python -m bench "$base" "${options[@]}"
