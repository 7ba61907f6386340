#!/usr/bin/env bash
# Stops the throwaway clusters, which may be elsewhere than in target/, and removes all of it.
set -euo pipefail
# shellcheck source=cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

for base in target/*; do
    [[ -d $base ]] || continue
    cluster_stop_all "$base"
    # Only what cluster_base made there.
    elsewhere=$(readlink -f "$base")
    [[ $elsewhere != /tmp/jit_rls.* ]] || rm -rf "$elsewhere"
done
rm -rf target
