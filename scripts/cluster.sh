# shellcheck shell=bash
# Throwaway PostgreSQL clusters. Sourced by the other scripts, never run.
#
#   base=$(cluster_base NAME)      a directory for clusters: target/NAME, or one under /tmp where that will not do
#   cluster_init DIR               a new cluster in DIR: data/, socket/, log
#   cluster_start DIR [SETTING…]   start it (name=value), and point PGHOST and PGUSER at it
#   cluster_stop DIR
#   cluster_stop_all BASE          every cluster below BASE, however it was started
#   cluster_remove BASE            the same, and away with BASE

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

pg_bin() { printf '%s/%s' "$("$PG_CONFIG" --bindir)" "$1"; }

# PostgreSQL refuses to run as root. It also wants a working directory that it may enter.
as_postgres() {
    if is_root; then
        (cd / && exec runuser -u postgres -- "$@")
    else
        (cd / && exec "$@")
    fi
}

# The server must be able to reach its files, and a socket's path has to fit into 107 bytes: a
# checkout under /root or deep in a build tree fails one of the two. There target/NAME becomes a
# link, so that later commands find the place again.
cluster_base() {
    local base=$ROOT/target/$1 elsewhere
    # A link whose directory was swept from /tmp is no use.
    if [[ -L $base && ! -d $base ]]; then rm "$base"; fi
    mkdir -p "$base"
    if [[ ! -L $base ]]; then
        # 40 bytes are for what the callers append: cluster/NNN/socket/.s.PGSQL.5432
        if ((${#base} > 67)) || ! as_postgres test -x "$base"; then
            rmdir "$base" || return 1
            elsewhere=$(mktemp -d "/tmp/jit_rls.XXXXXX")
            chmod 755 "$elsewhere"
            ln -s "$elsewhere" "$base"
        fi
    fi
    elsewhere=$(readlink -f "$base")
    [[ $elsewhere == "$base" ]] || printf 'clusters of %s are in %s\n' "$base" "$elsewhere" >&2
    printf '%s\n' "$elsewhere"
}

cluster_init() {
    local dir=$1
    cluster_stop "$dir"
    rm -rf "$dir"
    mkdir -p "$dir/socket"
    chmod 700 "$dir/socket"
    if is_root; then chown -R postgres "$dir"; fi
    # "trust", and no TCP at all: whoever gets through the socket's directory (mode 0700) is us.
    as_postgres "$(pg_bin initdb)" -D "$dir/data" -U postgres --encoding=UTF8 --no-locale --no-sync \
        --auth-local=trust --auth-host=reject >"$dir/initdb.log" 2>&1 ||
        { cat "$dir/initdb.log" >&2; die "initdb failed in $dir"; }
    cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = ''
port = 5432
unix_socket_directories = '$dir/socket'
unix_socket_permissions = 0700
fsync = off
# Workers: one for each database that has the extension.
max_worker_processes = 32
CONF
}

cluster_start() {
    local dir=$1 setting
    shift
    : >"$dir/data/throwaway.conf"
    for setting in "$@"; do printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}" >>"$dir/data/throwaway.conf"; done
    grep -q throwaway.conf "$dir/data/postgresql.conf" || echo "include = 'throwaway.conf'" >>"$dir/data/postgresql.conf"
    as_postgres "$(pg_bin pg_ctl)" -D "$dir/data" -l "$dir/log" -w -t 60 start >/dev/null ||
        { tail -n 30 "$dir/log" >&2; die "the cluster in $dir did not start"; }
    export PGHOST=$dir/socket PGPORT=5432 PGUSER=postgres
}

cluster_stop() {
    local data pid
    [[ -f $1/data/postmaster.pid ]] || return 0
    data=$(readlink -f "$1/data")
    read -r pid <"$data/postmaster.pid" || return 0
    # A killed server leaves its file behind, and the number may be somebody else's by now. A server sits in its data directory.
    [[ $(readlink "/proc/$pid/cwd") == "$data" ]] || return 0
    as_postgres "$(pg_bin pg_ctl)" -D "$data" -m immediate -w -t 60 stop >/dev/null || die "the cluster in $1 does not stop"
}

cluster_stop_all() {
    local pidfile
    while IFS= read -r pidfile; do
        cluster_stop "$(dirname "$(dirname "$pidfile")")"
    done < <(find -L "$1" -maxdepth 4 -path '*/data/postmaster.pid' 2>/dev/null)
}

cluster_remove() {
    local elsewhere
    cluster_stop_all "$1"
    elsewhere=$(readlink -f "$1")
    # Only what cluster_base made there.
    [[ $elsewhere != /tmp/jit_rls.* ]] || rm -rf "$elsewhere"
    rm -rf "$1"
}
