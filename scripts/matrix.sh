#!/usr/bin/env bash
# The tests on PostgreSQL versions that are not installed here ("make test-matrix"): for each one a chroot with the Debian release
# that packages it, in which a copy of the checkout is built, installed and tested. The versions run side by side.
#
#   MATRIX_VERSIONS   default: 17 18
#   MATRIX_SUITES     default: regress isolation differential; what tests/run.sh --only takes
#   MATRIX_MIRROR     default: the mirror that this machine's packages come from
#
# Exits with 75 where it could not be tried: no root, no namespaces, or a mirror that gives no chroot.
#
# Needs root, and stays in target/matrix/: a chroot is made once and kept there, and whatever is mounted or started belongs to
# namespaces that end with this script. Just debootstrap is installed where it is missing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

read -ra versions <<<"${MATRIX_VERSIONS:-17 18}"
export MATRIX_SUITES=${MATRIX_SUITES:-regress isolation differential}
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
work=$ROOT/target/matrix

# Testing rather than unstable for 18: what is there can be installed on any day.
release_of() {
    case $1 in
        17) echo trixie ;;
        18) echo forky ;;
        *) die "no Debian release packages PostgreSQL $1: MATRIX_VERSIONS can be 17 and 18" ;;
    esac
}
for version in "${versions[@]}"; do release_of "$version" >/dev/null; done

# Whoever calls this can tell a test that fails from a machine or a mirror that cannot run them.
export NOT_POSSIBLE=75
cannot() { printf '%s: %s\n' "$(basename "$0")" "$1" >&2; exit "$NOT_POSSIBLE"; }
is_root || cannot "needs root, for debootstrap and chroot: run it as root, with this user's ~/.cargo and ~/.rustup (CARGO_HOME, RUSTUP_HOME)"
unshare --mount --pid --ipc --fork true 2>/dev/null || cannot "may not make namespaces here: in a container, it has to be a privileged one"
[[ -x $CARGO_HOME/bin/cargo-pgrx && -d $RUSTUP_HOME/toolchains ]] ||
    die "no cargo-pgrx in $CARGO_HOME, or no toolchain in $RUSTUP_HOME: run 'make deps'"
if ! command -v debootstrap >/dev/null; then
    command -v apt-get >/dev/null || cannot "needs debootstrap"
    step "installing debootstrap"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap; } ||
        cannot "could not install debootstrap"
fi

# The mirror of this machine's release, if it is Debian.
if [[ -z ${MATRIX_MIRROR:-} ]]; then
    release=$(. /etc/os-release && [[ $ID == debian ]] && printf '%s' "$VERSION_CODENAME") || release=''
    # shellcheck disable=SC2016 # apt's variables
    MATRIX_MIRROR=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        sed -nE "s/^${release:-none} main (http.*)/\1/p" | head -n 1)
fi
export MATRIX_MIRROR=${MATRIX_MIRROR:-http://deb.debian.org/debian}

mkdir -p "$work"
exec {lock}>"$work/lock"
flock --nonblock "$lock" || die "another run is under way"

# One state of the checkout for all versions, committed or not.
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done |
    tar --null --files-from=- -cf "$work/checkout.tar"
# The chroots build offline, from what is here then.
cargo fetch --quiet --locked

declare -A jobs=()
leave() {
    local status=$?
    trap - EXIT
    # The death of a namespace's first process is that of everything in it.
    if ((${#jobs[@]})); then kill -KILL "${jobs[@]}" 2>/dev/null || true; wait || true; fi
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# setpriv: should this script be killed, they are too.
for version in "${versions[@]}"; do
    setpriv --pdeathsig KILL \
        unshare --mount --propagation private --pid --mount-proc --ipc --fork --kill-child \
        scripts/matrix-version.sh "$version" "$(release_of "$version")" </dev/null &
    jobs[$version]=$!
done
failed=0
for version in "${versions[@]}"; do
    status=0
    wait "${jobs[$version]}" || status=$?
    # A test that fails outweighs a version that could not be tried.
    if ((status != 0)) && ((failed == 0 || failed == NOT_POSSIBLE)); then failed=$status; fi
    unset "jobs[$version]"
done

printf '\n'
for version in "${versions[@]}"; do cat "$work/$version/summary"; done
exit "$failed"
