#!/usr/bin/env bash
# Landfall in three pushes of examples/hello-flask: one goes live, one has a red
# test, one fails its smoke test; a user who clicks all the while notices nothing.
#
#   examples/demo.sh [--keep]     --keep: stay up until Ctrl-C
#
# It is a check as well: it ends with 0 only if each run ended as told here and
# no request failed. Everything is made in a temporary folder and on free ports
# of the loopback interface, and is gone afterwards. `./run demo` installs what it needs.

set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
LANDFALL="${CARGO_TARGET_DIR:-$ROOT/target}/debug/landfall"

READY_TIMEOUT_S=30  # a server on a busy machine answers within two
NOTICE_TIMEOUT_S=15 # the notice follows the end of its run at once
STOP_TIMEOUT_S=15

KEEP=no
case ${1:-} in
    '') ;;
    --keep) KEEP=yes ;;
    *)
        echo "usage: demo.sh [--keep]" >&2
        exit 2
        ;;
esac

BOLD='' DIM='' RED='' GREEN='' PLAIN=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'
fi

heading() { printf '\n%s%s%s\n\n' "$BOLD" "$*" "$PLAIN"; }
note() { printf '%s%s%s\n' "$DIM" "$*" "$PLAIN"; }
good() { printf '%s✓%s %s\n' "$GREEN" "$PLAIN" "$*"; }

DIFFERENCES=0
bad() {
    printf '%s✗ %s%s\n' "$RED" "$*" "$PLAIN"
    DIFFERENCES=$((DIFFERENCES + 1))
}

# Says whether what was found is what was expected.
expect() {
    local what=$1 expected=$2 found=$3
    if [[ $found == "$expected" ]]; then good "$what: $found"; else bad "$what: $found, expected $expected"; fi
}

give_up() {
    bad "$1"
    [[ ! -s $WORK/server.log ]] || { note "the server's last words:" && tail -n 20 "$WORK/server.log"; }
    exit 1
}

# ---- what is started here goes with us ----------------------------------------

WORK=$(mktemp -d "${TMPDIR:-/tmp}/landfall-demo.XXXXXX")
DATA=$WORK/data
SERVER='' REGISTRY='' INBOX='' PROBER='' KEEPER=''

stop() {
    local pid=$1 give_up_at=$((SECONDS + STOP_TIMEOUT_S))
    [[ -n $pid ]] || return 0
    kill "$pid" 2>/dev/null || return 0
    # The traffic process is no child of ours, so there is nothing to wait for but its absence.
    while kill -0 "$pid" 2>/dev/null; do
        if ((SECONDS >= give_up_at)); then
            kill -KILL "$pid" 2>/dev/null || true
            return 0
        fi
        sleep 0.05
    done
}

remove_what_docker_has() {
    local log label
    log=$(grep -aoE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' "$DATA/META" | head -n 1) || return 0
    label="label=landfall.log=$log"
    docker ps -aq --filter "$label" | xargs -r docker rm -fv
    docker image ls -q --filter "$label" | sort -u | xargs -r docker rmi -f
    docker volume ls -q --filter "$label" | xargs -r docker volume rm -f
    docker network ls -q --filter "$label" | xargs -r docker network rm
}

clean_up() {
    trap '' INT TERM
    set +e
    stop "$KEEPER"
    stop "$PROBER"
    stop "$SERVER"
    stop "$(cat "$DATA/proxy/proxy.pid" 2>/dev/null)"
    stop "$INBOX"
    stop "$REGISTRY"
    remove_what_docker_has >/dev/null 2>&1
    rm -rf "$WORK"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Polls a URL until it answers with one of the statuses given.
wait_for() {
    local pid=$1 url=$2 statuses=$3 give_up_at=$((SECONDS + READY_TIMEOUT_S))
    until [[ " $statuses " == *" $(curl -s -o /dev/null -m 2 -w '%{http_code}' "$url") "* ]]; do
        kill -0 "$pid" 2>/dev/null || give_up "nothing will answer at $url: the process has ended"
        ((SECONDS < give_up_at)) || give_up "nothing answers at $url after $READY_TIMEOUT_S s"
        sleep 0.05
    done
}

# ---- the cast -----------------------------------------------------------------

secret() { od -An -N 16 -t x1 /dev/urandom | tr -d ' \n'; }

free_ports() {
    python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(each.getsockname()[1] for each in sockets))
PYTHON
}

start_registry() {
    htpasswd -nbB ci "$REGISTRY_PASSWORD" >"$WORK/htpasswd"
    cat >"$WORK/registry.yml" <<YAML
version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: $WORK/registry } }
http: { addr: "127.0.0.1:$REGISTRY_PORT" }
auth: { htpasswd: { realm: demo, path: $WORK/htpasswd } }
YAML
    docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 </dev/null &
    REGISTRY=$!
    wait_for "$REGISTRY" "http://127.0.0.1:$REGISTRY_PORT/v2/" 401
    note "registry    127.0.0.1:$REGISTRY_PORT, password-protected"
}

start_inbox() {
    python3 "$ROOT/examples/inbox.py" "$INBOX_PORT" >"$WORK/inbox.log" 2>&1 </dev/null &
    INBOX=$!
    wait_for "$INBOX" "http://127.0.0.1:$INBOX_PORT/" 501 # it takes POST alone
    note "inbox       takes the notices for the developer and for ops"
}

start_server() {
    "$LANDFALL" serve --data "$DATA" --listen "127.0.0.1:$PORT" --proxy-listen "127.0.0.1:$PROXY_PORT" \
        >"$WORK/server.log" 2>&1 </dev/null &
    SERVER=$!
    wait_for "$SERVER" "http://127.0.0.1:$PORT/healthz" 200
    note "landfall    http://127.0.0.1:$PORT, the app's traffic on http://127.0.0.1:$PROXY_PORT"
}

make_app() {
    cp -R "$ROOT/examples/hello-flask" "$APP"
    # The one line that differs from examples/hello-flask: this registry has a port of its own.
    sed -i "s/^server = .*/server = \"127.0.0.1:$REGISTRY_PORT\"/" "$APP/landfall.toml"
    in_app init -q -b main
    commit "Hello"
}

in_app() { git -C "$APP" -c user.name=Ada -c user.email=ada@example.com "$@"; }

commit() { in_app add -A && in_app commit -q -m "$1"; }

show_change() {
    in_app --no-pager diff --no-color -U0 HEAD~1 -- app.py | sed -n '/^[+-][^+-]/p'
    echo
}

push() {
    note "\$ git push http://landfall:\$TOKEN@127.0.0.1:$PORT/git/hello.git main"
    # How the run ended is asked of the log below; git only knows that the commit was taken.
    in_app push "http://landfall:$LANDFALL_TOKEN@127.0.0.1:$PORT/git/hello.git" main || bad "git push ended with $?"
    echo
}

# Prints "ID STATE" of the run that the present commit started.
present_run() {
    "$LANDFALL" runs --data "$DATA" --json | python3 -c '
import json, sys
for run in map(json.loads, sys.stdin):
    if run["commit"]["sha"] == sys.argv[1]:
        print(run["id"], run["state"])
        break
else:
    print("none no-run")
' "$(in_app rev-parse HEAD)"
}

wait_for_notice() {
    local audience=$1 give_up_at=$((SECONDS + NOTICE_TIMEOUT_S))
    until grep "^\[inbox\] $audience:" "$WORK/inbox.log"; do
        if ((SECONDS >= give_up_at)); then
            bad "no notice for $audience after $NOTICE_TIMEOUT_S s"
            return
        fi
        sleep 0.05
    done
}

app_version() { curl -fsS -m 5 "http://127.0.0.1:$PROXY_PORT/" | sed -n 's/.*id="version">\([^<]*\)<.*/\1/p'; }

replay() {
    note "\$ landfall replay $1"
    "$LANDFALL" replay "$1" --data "$DATA" || bad "replay of $1 does not verify"
    echo
}

# ---- the play -----------------------------------------------------------------

# Nothing here leaves the machine's own loopback, and no one's git settings matter.
export no_proxy="127.0.0.1,localhost${no_proxy:+,$no_proxy}" NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}"
unset LANDFALL_DATA LANDFALL_SERVER
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_TERMINAL_PROMPT=0
LANDFALL_TOKEN=$(secret)
REGISTRY_PASSWORD=$(secret)
export LANDFALL_TOKEN REGISTRY_PASSWORD
read -r PORT PROXY_PORT REGISTRY_PORT INBOX_PORT < <(free_ports 4)
export DEVELOPER_WEBHOOK="http://127.0.0.1:$INBOX_PORT/developer" OPS_WEBHOOK="http://127.0.0.1:$INBOX_PORT/ops"
APP=$WORK/hello

heading "Landfall, built from this checkout (the first time takes some minutes)"
quiet=()
[[ -t 2 ]] || quiet=(--quiet)
(cd "$ROOT" && cargo build "${quiet[@]}" -p landfall)

start_registry
start_inbox
start_server
make_app

heading "1. The app is pushed for the first time: expected to go live (rows 1 to 8)"
push
read -r run_1 state < <(present_run)
expect "the run" live "$state"
[[ $state == live ]] || give_up "without a live version there is nothing more to show"
first=$(app_version) || give_up "the app does not answer at http://127.0.0.1:$PROXY_PORT/"
good "http://127.0.0.1:$PROXY_PORT/ answers with version $first"

python3 "$ROOT/examples/prober.py" "http://127.0.0.1:$PROXY_PORT/" >"$WORK/prober.json" 2>"$WORK/prober.log" </dev/null &
PROBER=$!
note "from now on a user clicks 50 times a second, until the end"

heading "2. The greeting is changed, and its test is now red: expected to stop there (row 9)"
sed -i 's/Hello, {name}!/Hi {name}/' "$APP/app.py"
commit "A shorter greeting"
show_change
push
read -r run_2 state < <(present_run)
expect "the run" failed "$state"
wait_for_notice developer

heading "3. The page reads a file that is not in the image: tests green, smoke test red (row 10)"
in_app revert --no-edit HEAD >/dev/null
echo '<!-- Have a good day. -->' >"$APP/motd.txt"
sed -i 's|return render_template_string(PAGE,|motd = Path(__file__).with_name("motd.txt").read_text(encoding="utf-8")\n        return motd + render_template_string(PAGE,|' "$APP/app.py"
commit "A message of the day"
show_change
push
read -r run_3 state < <(present_run)
expect "the run" rolled_back "$state"
wait_for_notice ops

heading "What the log says of the three runs"
for run in "$run_1" "$run_2" "$run_3"; do replay "$run"; done

heading "What the user saw meanwhile"
kill "$PROBER"
wait "$PROBER" || bad "the prober ended with $?: $(tail -n 1 "$WORK/prober.log")"
PROBER=''
python3 - "$WORK/prober.json" "$first" <<'PYTHON' || bad "the user noticed something"
import json, sys
with open(sys.argv[1]) as file:
    seen = json.load(file)
first = sys.argv[2]
versions = ", ".join(f"{version} ({count} times)" for version, count in seen["versions"].items())
print(f"  requests         {seen['requests']} in {seen['seconds']} s, the slowest {seen['slowest_ms']} ms")
print(f"  failed           {seen['failed']}")
print(f"  versions served  {versions}")
for failure in seen["failures"]:
    print(f"    {failure}")
print()
sys.exit(seen["failed"] != 0 or list(seen["versions"]) != [first])
PYTHON

if ((DIFFERENCES == 0)); then
    good "as promised: one release went live and stayed so"
else
    bad "$DIFFERENCES things were not as promised"
fi

if [[ $KEEP == yes ]]; then
    heading "Still up, until Ctrl-C"
    cat <<TEXT
  the app      http://127.0.0.1:$PROXY_PORT/
  landfall     http://127.0.0.1:$PORT/   token $LANDFALL_TOKEN
  the code     $APP   (git push http://landfall:$LANDFALL_TOKEN@127.0.0.1:$PORT/git/hello.git main)
  the log      $LANDFALL runs --data $DATA
  the notices  $WORK/inbox.log
TEXT
    sleep infinity &
    KEEPER=$!
    wait "$KEEPER" || true
fi
((DIFFERENCES == 0))
