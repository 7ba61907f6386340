#!/usr/bin/env bash
# Stops the throwaway clusters, which may be elsewhere than in target/, and removes all of it.
set -euo pipefail
# shellcheck source=cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

for base in target/* target/mutants/tree/target/*; do
    [[ ! -d $base ]] || cluster_remove "$base"
done
rm -rf target
