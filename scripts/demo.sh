#!/usr/bin/env bash
# jit_rls on a million bank accounts, step by step, in a cluster of its own ("make demo"). Every result is
# checked: the exit status tells whether the promises were kept.
#
#   scripts/demo.sh                 build, run, leave the cluster running to look around in
#   scripts/demo.sh stop            stop that cluster and remove it
#
#   --no-build      use what is installed
#   --stop-at-end   leave nothing running
#   --name NAME     the cluster's folder in target/, if not demo
set -euo pipefail
# shellcheck source=cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

build=yes keep=yes name=demo command=run
while (($#)); do
    case $1 in
        stop) command=stop ;;
        --no-build) build='' ;;
        --stop-at-end) keep='' ;;
        --name) name=${2:?--name needs a name}; shift ;;
        *) die "unknown argument $1" ;;
    esac
    shift
done

# A demo that never ran has nothing to stop; finding out needs no server, no tools.
if [[ $command == stop ]]; then
    [[ -e target/$name/cluster ]] || { echo "no demo cluster here"; exit 0; }
    cluster_remove "target/$name"
    echo "stopped and removed"
    exit
fi

if [[ $build ]]; then
    scripts/deps.sh
    scripts/install.sh
fi
base=$(cluster_base "$name")
cluster=$base/cluster
finished=''

leave() {
    local status=$?
    trap - EXIT
    # Closes the sessions: psql ends with its input.
    local fd
    for fd in "${session_in[@]}"; do exec {fd}>&-; done
    wait
    if [[ ! $finished ]]; then
        printf '\nThe demo stopped early. Server log: %s/log\n' "$cluster" >&2
        ((status)) || status=1
    fi
    if [[ ! $finished || ! $keep ]]; then cluster_stop "$cluster"; fi
    exit "$status"
}
declare -A session_in=() session_out=() prompt=()
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---------------------------------------------------------------- sessions that stay open

# open_session WHO [ROLE]: one psql, connected as ROLE (WHO, if not given) until the end, fed and read through pipes.
open_session() {
    local who=$1 role=${2:-$1} in out
    mkfifo "$base/$who.in" "$base/$who.out"
    "$(pg_bin psql)" -X -q -U "$role" -d bank <"$base/$who.in" >"$base/$who.out" 2>&1 &
    exec {in}>"$base/$who.in" {out}<"$base/$who.out"
    rm "$base/$who.in" "$base/$who.out"
    session_in[$who]=$in session_out[$who]=$out
    prompt[$who]="$who=>"
    [[ $who != postgres ]] || prompt[$who]="$who=#"
}

# ask WHO SQL: runs it in WHO's session; what came back is in $result, its SQLSTATE in $state.
ask() {
    local who=$1 line
    result='' state=''
    printf '%s\n\\echo == :SQLSTATE\n' "$2" >&"${session_in[$who]}"
    while IFS= read -r -t 60 -u "${session_out[$who]}" line; do
        if [[ $line == "== "* ]]; then
            state=${line#== }
            # psql ends a table with an empty line.
            while [[ $result == *$'\n' ]]; do result=${result%$'\n'}; done
            return
        fi
        result+=$line$'\n'
    done
    die "the session of $who gave no answer to: $2"
}

# The same for everybody to see.
run() {
    printf '\n%s %s\n' "${prompt[$1]}" "$2"
    ask "$1" "$2"
    [[ -z $result ]] || printf '    %s\n' "${result//$'\n'/$'\n'    }"
}

# The same in a session that the server has ended: psql says why, and leaves. Another one takes its place.
run_in_vain() {
    local who=$1 line fd=${session_in[$1]}
    printf '\n%s %s\n' "${prompt[$who]}" "$2"
    printf '%s\n' "$2" >&"$fd"
    result=''
    while IFS= read -r -t 60 -u "${session_out[$who]}" line; do result+=$line$'\n'; done
    printf '    %s\n' "${result//$'\n'/$'\n'    }"
    exec {fd}>&-
    open_session "$who"
}

title() { printf '\n\n--- %s\n' "$*"; }
# expect PATTERN MEANING [SQLSTATE]: what the last statement must have brought.
expect() {
    grep -Eq -- "$1" <<<"$result" || die "NOT AS PROMISED: $2"
    [[ $state == "${3:-00000}" ]] || die "NOT AS PROMISED: $2 (SQLSTATE $state)"
    printf '    [ok] %s\n' "$2"
}
# said PATTERN MEANING: of a statement whose session is no more.
said() { grep -Eq -- "$1" <<<"$result" || die "NOT AS PROMISED: $2"; printf '    [ok] %s\n' "$2"; }
rows() { expect "^ *$1\$" "$2"; }
refused() { expect '^ERROR:' "$2" "$1"; }
# For statements that only have to work.
done_by() { run "$@"; [[ $state == 00000 ]] || die "NOT AS PROMISED: SQLSTATE $state"; }
number() { grep -Em1 -o '^ +[0-9]+$' <<<"$result" | tr -d ' '; }

# until_true SECONDS WHO SQL PATTERN: asks again until the answer fits. No fixed waits: what is waited for may come early.
until_true() {
    local deadline=$((SECONDS + $1))
    while ask "$2" "$3"; ! grep -Eq -- "$4" <<<"$result"; do
        ((SECONDS < deadline)) || die "NOT AS PROMISED: after $1 seconds still: $result"
        sleep 0.1
    done
}

# ---------------------------------------------------------------- the bank

cluster_init "$cluster"
cluster_start "$cluster" shared_preload_libraries=jit_rls
printf 'A new cluster in %s; pgbench makes a million accounts in 10 branches.\n' "$cluster"
"$(pg_bin createdb)" bank
"$(pg_bin pgbench)" -i -s 10 -q bank >"$base/pgbench.log" 2>&1 || { cat "$base/pgbench.log" >&2; die "pgbench failed"; }
open_session postgres

title "The administrator: people, rules, and one policy on the table"
done_by postgres "CREATE EXTENSION jit_rls;"
done_by postgres "CREATE ROLE tellers; CREATE ROLE branch_manager;"
done_by postgres "CREATE ROLE teller_tina LOGIN IN ROLE tellers; CREATE ROLE teller_tom LOGIN IN ROLE tellers; CREATE ROLE manager_max LOGIN IN ROLE branch_manager;"
done_by postgres "GRANT SELECT ON pgbench_accounts, pgbench_branches TO tellers;"
done_by postgres "SELECT jit.create_scope('branch', '{\"description\": \"accounts of one branch\", \"key_type\": \"int\", \"approvers\": {\"branch_manager\": 1}, \"requesters\": [\"tellers\"]}');"
done_by postgres "ALTER TABLE pgbench_accounts ENABLE ROW LEVEL SECURITY;"
done_by postgres "CREATE POLICY by_branch ON pgbench_accounts FOR SELECT USING (jit_active('branch', bid));"
run postgres "SELECT count(*) FROM pgbench_accounts;"
rows 1000000 "the data is there"

open_session teller_tina
open_session teller_tina.2 teller_tina
open_session teller_tom
open_session manager_max

title "Tina, a teller, sees nothing until somebody lets her"
run teller_tina "SELECT count(*) FROM pgbench_accounts;"
rows 0 "0 rows"
run teller_tina "SELECT jit_request('branch', 'complaint 4711: fees booked twice', key => '7', duration => '6 seconds');"
first=$(number) || die "no request was made"
run teller_tina "SELECT count(*) FROM pgbench_accounts;"
rows 0 "asking changes nothing"
run teller_tina "SELECT jit_approve($first);"
refused 42501 "she may not approve it herself"

title "Max, the branch manager, decides"
run manager_max "SELECT id, login, scope, key, reason, duration FROM jit.pending;"
expect 'complaint 4711' "he sees what is waiting for him, and why"
run manager_max "SELECT jit_approve($first, 'ok, only the fees');"
expect approved "approved; the window of 6 seconds begins"

title "Tina's session was open all the time"
run teller_tina "SELECT count(*) FROM pgbench_accounts;"
rows 100000 "the 100,000 accounts of branch 7, no others"
run teller_tom "SELECT count(*) FROM pgbench_accounts;"
rows 0 "and nobody else sees them"

title "The first grant ends by itself"
until_true 30 teller_tina "SELECT count(*) FROM pgbench_accounts;" '^ *0$'
run teller_tina "SELECT count(*) FROM pgbench_accounts;"
rows 0 "its window is over, and nobody had to do anything"

title "A second grant is revoked under open transactions that cannot see new data"
run teller_tina "SELECT jit_request('branch', 'cover for Tom, who is ill', key => '3', duration => '1 hour');"
second=$(number) || die "no request was made"
run manager_max "SELECT jit_approve($second);"
expect approved "approved for an hour"
done_by teller_tina "BEGIN ISOLATION LEVEL REPEATABLE READ;"
run teller_tina "SELECT count(*) FROM pgbench_accounts WHERE bid = 3;"
rows 100000 "the rows are there"
done_by teller_tina.2 "BEGIN ISOLATION LEVEL REPEATABLE READ;"
run teller_tina.2 "SELECT count(*) FROM pgbench_branches;"
rows 10 "Tina's other window has a snapshot as well, and has read no account yet"
done_by manager_max "SELECT jit_revoke($second, 'Tom is back');"
until_true 10 postgres "SELECT count(*) FROM jit.in_use;" '^ *0$'
run_in_vain teller_tina "SELECT count(*) FROM pgbench_accounts WHERE bid = 3;"
said "request $second has ended" "the session that idled in a transaction with those rows has been ended: it says which grant has ended"
said "revoked by manager_max" "by whose hand"
said "HINT:.*jit_request\\('branch'" "and how to ask again"
run teller_tina.2 "SELECT count(*) FROM pgbench_accounts WHERE bid = 3;"
rows 0 "the other goes on, and sees none of them: the snapshot is old, the check is not"
done_by teller_tina.2 "COMMIT;"

title "All of it is on record"
until_true 10 postgres "SELECT count(*) FROM jit.events WHERE kind LIKE '%expired%' AND request_id = $first;" '^ *1$'
run postgres "SELECT id, at, kind, request_id, scope, login FROM jit.events ORDER BY id;"
expect "revoked.*\| *$second \|" "the revocation of request $second"
expect "expired.*\| *$first \|" "the expiry of request $first"

finished=yes
[[ $keep ]] || { printf '\nAll as promised.\n'; exit; }
psql=$(pg_bin psql)
cat <<END

All as promised. The cluster is still running; look around:

  $psql -h $PGHOST -U teller_tina bank
  $psql -h $PGHOST -U manager_max bank
  $psql -h $PGHOST -U postgres bank

Stop it and remove it:

  scripts/demo.sh stop
END
