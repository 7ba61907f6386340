#!/usr/bin/env bash
# One version's part of scripts/matrix.sh, which runs it, in mount, process and IPC namespaces of its own.
#
#   scripts/matrix-version.sh VERSION DEBIAN_RELEASE
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
umask 022

version=$1 release=$2
base=$ROOT/target/matrix/$version
root=$base/root
tree=$root/jit_rls
# Only there is it safe to mount something and to leave it.
[[ $$ -eq 1 ]] || die "run scripts/matrix.sh"
mkdir -p "$base"
: >"$base/summary"

# What is the caller's stays outside, apart from how to reach the network and how many cores to use.
inside() {
    local name passed=()
    for name in {http,https,no}_proxy {HTTP,HTTPS,NO}_PROXY PIP_INDEX_URL CARGO_BUILD_JOBS; do
        [[ ! -v $name ]] || passed+=("$name=${!name}")
    done
    chroot "$root" /usr/bin/env -i "${passed[@]}" PATH="$CARGO_HOME/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root LANG=C.UTF-8 \
        CARGO_HOME="$CARGO_HOME" RUSTUP_HOME="$RUSTUP_HOME" CARGO_NET_OFFLINE=true PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
        PG_CONFIG="/usr/lib/postgresql/$version/bin/pg_config" DEBIAN_FRONTEND=noninteractive "$@"
}

# phase NAME COMMAND…: its output goes to a log, and to everybody only when it fails; a suite's tells how many tests there were.
failed=''
phase() {
    local name=$1 log=$base/$1.log line count status
    shift
    SECONDS=0
    # As the condition of an "if" it would go on after an error.
    set +e
    (set -e; "$@") >"$log" 2>&1
    status=$?
    set -e
    if ((status == 0)); then
        count=$(sed -nE 's/^([0-9]+) passed, 0 failed$/ (\1)/p' "$log" | tail -n 1)
        line="$version: $name ok$count ${SECONDS}s"
    else
        sed "s/^/$version| /" "$log"
        line="$version: $name FAILED ${SECONDS}s, log: $log"
        failed=yes
    fi
    printf '%s\n' "$line" | tee -a "$base/summary"
}
needed() { phase "$@"; [[ ! $failed ]] || exit 1; }
# What has nothing to do with the checkout.
outside() { phase "$@"; [[ ! $failed ]] || exit "$NOT_POSSIBLE"; }

# ---------------------------------------------------------------- the chroot

packages=(
    "postgresql-$version" "postgresql-server-dev-$version" libclang-dev clang pkg-config libssl-dev build-essential
    python3 python3-venv
)
recipe() { printf '%s\n' "$release" "${packages[@]}"; }

make_root() {
    ! grep -F " $root/" /proc/self/mounts || die "something is mounted in $root"
    rm -rf --one-file-system "$root"
    # The releases share one script, and an older debootstrap does not know the name of a newer release.
    debootstrap --variant=minbase "$release" "$root" "$MATRIX_MIRROR" /usr/share/debootstrap/scripts/sid
    network
    mount -t proc proc "$root/proc"

    # Nothing here has to survive a power cut, nobody reads manuals, and no server is to start.
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/matrix"
    printf 'path-exclude=%s\n' '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' >>"$root/etc/dpkg/dpkg.cfg.d/matrix"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mkdir -p "$root/etc/postgresql-common"
    echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"

    # A mirror may keep a state of a release for longer than that is said to be valid.
    inside apt-get -q -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none update
    inside apt-get -q -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${packages[@]}"
    inside apt-get clean
    umount "$root/proc"
    # Its presence says that the chroot is complete.
    recipe >"$root/recipe"
}

# How this machine reaches the network, proxies with certificates of their own included.
network() {
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    mkdir -p "$root/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
}

mount_all() {
    local directory
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    # The same paths as outside: rustup's links are absolute.
    for directory in "$CARGO_HOME" "$RUSTUP_HOME"; do
        mkdir -p "$root$directory"
        mount -o bind,ro "$directory" "$root$directory"
    done
}

# ---------------------------------------------------------------- the checkout

# A file that has not changed keeps its time, so that cargo need not build again. One that has gets today's: its own may be older
# than what was built from the last copy.
copy_checkout() {
    local file new=$root/jit_rls.new
    rm -rf --one-file-system "$new"
    mkdir -p "$new" "$tree/target"
    tar -C "$new" --touch -xf "$base/../checkout.tar"
    while IFS= read -r -d '' file; do
        if cmp -s "$tree/$file" "$new/$file"; then touch -r "$tree/$file" "$new/$file"; fi
    done < <(cd "$new" && find . -type f -print0)
    # Clusters of a run before.
    rm -rf --one-file-system "$tree/target/test"
    mv "$tree/target" "$new/"
    rm -rf --one-file-system "$tree"
    mv "$new" "$tree"
}

# Used once: a quick build will do.
build() {
    network
    inside env --chdir=/jit_rls scripts/deps.sh --tests
    inside env --chdir=/jit_rls CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        scripts/install.sh
}

suite() { inside env --chdir=/jit_rls timeout --kill-after=60 1800 tests/run.sh --no-build --only "$1"; }

cmp -s <(recipe) "$root/recipe" || outside chroot make_root
mount_all
copy_checkout
needed build build
for name in $MATRIX_SUITES; do
    phase "$name" suite "$name"
done
# Gigabytes of clusters; those of a failed test are wanted.
[[ ! $failed ]]
rm -rf --one-file-system "$tree/target/test"
