#!/usr/bin/env bash
# A whole run by Landfall against the same steps done by the docker command, on
# this machine, in turn (A B A B …). Each round is a new commit; all that can be
# cached is warm. Prints both, and the ratio of the medians.
#
#   examples/bench.sh [ROUNDS]     default 7

set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
ROUNDS=${1:-7}
TARGET="${CARGO_TARGET_DIR:-$ROOT/target}/release"
WORK=$(mktemp -d "${TMPDIR:-/tmp}/landfall-bench.XXXXXX")

# BuildKit should build for both sides. Since 23 the docker command has it in buildx, a package of its own, so
# the first command that can build with it is taken.
export DOCKER_BUILDKIT=0
DOCKER=$(type -P docker) BUILDER='the old builder: buildx is missing'
while read -r docker; do
    if "$docker" buildx version >/dev/null 2>&1 \
        || [[ $("$docker" version --format '{{.Client.Version}}' | cut -d. -f1) -lt 23 ]]; then
        DOCKER=$docker DOCKER_BUILDKIT=1 BUILDER=BuildKit
        break
    fi
done < <(type -aP docker)
PATH=$(dirname "$DOCKER"):$PATH

SERVER='' REGISTRY='' REGISTRY_PORT='' BARE=''
DEPS=landfall-bench-deps-$$
clean_up() {
    trap - EXIT
    [[ -z $SERVER ]] || { kill "$SERVER" && wait "$SERVER"; } 2>/dev/null || true # first: it would start its proxy anew
    [[ ! -f $WORK/data/proxy/proxy.pid ]] || kill "$(cat "$WORK/data/proxy/proxy.pid")" 2>/dev/null || true
    [[ -z $REGISTRY ]] || kill "$REGISTRY" 2>/dev/null || true
    remove_what_docker_has >/dev/null 2>&1 || true
    rm -rf "$WORK"
}
remove_what_docker_has() {
    local log label
    [[ -z $BARE ]] || docker rm -f "$BARE"
    docker volume rm -f "$DEPS"
    docker image ls -q "127.0.0.1:$REGISTRY_PORT/*" | sort -u | xargs -r docker rmi -f
    log=$(grep -aoE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' "$WORK/data/META" | head -n 1) || return 0
    label="label=landfall.log=$log"
    docker ps -aq --filter "$label" | xargs -r docker rm -fv
    docker image ls -q --filter "$label" | sort -u | xargs -r docker rmi -f
    docker volume ls -q --filter "$label" | xargs -r docker volume rm -f
    docker network ls -q --filter "$label" | xargs -r docker network rm
}
trap clean_up EXIT
trap 'echo "error: line $LINENO failed: $BASH_COMMAND" >&2; tail -n 5 "$WORK"/*.log >&2' ERR
set -o errtrace

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
now_ms() { date +%s%3N; }
until_answers() {
    local give_up_at=$((SECONDS + 30))
    until curl -fsS -o /dev/null "$1" 2>/dev/null; do
        ((SECONDS < give_up_at)) || { echo "error: $1 does not answer; see $WORK" >&2 && exit 1; }
        sleep 0.005
    done
}

cargo build --quiet --release -p landfall

REGISTRY_PORT=$(free_port) PORT=$(free_port) PROXY_PORT=$(free_port)
export REGISTRY_PASSWORD=bench-password LANDFALL_TOKEN=bench-token-for-this-machine
# The login of the docker command is for this registry alone and stays in here.
export DOCKER_CONFIG=$WORK/docker
export DEVELOPER_WEBHOOK=http://127.0.0.1:9/ OPS_WEBHOOK=http://127.0.0.1:9/
htpasswd -nbB ci "$REGISTRY_PASSWORD" >"$WORK/htpasswd" 2>/dev/null
cat >"$WORK/registry.yml" <<YML
version: 0.1
storage: { filesystem: { rootdirectory: $WORK/blobs } }
http: { addr: 127.0.0.1:$REGISTRY_PORT }
auth: { htpasswd: { realm: bench, path: $WORK/htpasswd } }
YML
docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
REGISTRY=$!

cp -r "$ROOT/examples/hello-flask" "$WORK/app"
cd "$WORK/app"
sed -i "s/127.0.0.1:5000/127.0.0.1:$REGISTRY_PORT/" landfall.toml
git init --quiet --initial-branch=main
git config user.name Bench && git config user.email bench@example.com
git add --all && git commit --quiet -m start

"$TARGET/landfall" serve --data "$WORK/data" --listen "127.0.0.1:$PORT" --proxy-listen "127.0.0.1:$PROXY_PORT" \
    >"$WORK/server.log" 2>&1 &
SERVER=$!
until_answers "http://127.0.0.1:$PORT/healthz"
docker login --username ci --password-stdin "127.0.0.1:$REGISTRY_PORT" <<<"$REGISTRY_PASSWORD" >/dev/null 2>&1

COMMITS=0
new_commit() {
    COMMITS=$((COMMITS + 1))
    echo "9.0.$COMMITS" >VERSION
    git commit --quiet --all -m "version 9.0.$COMMITS"
}

# What a careful shell script does: cached dependencies, test, build, push, start beside, wait, check, release.
docker volume create "$DEPS" >/dev/null
bare() {
    local image=127.0.0.1:$REGISTRY_PORT/bare:$1 former=$BARE
    docker run --rm --init -v "$WORK/app":/src -v "$DEPS":/deps -w /src python:3.12-slim sh -c \
        '[ -e /deps/.ok ] || { python -m venv /deps/venv && /deps/venv/bin/pip install -q -r requirements-dev.txt && touch /deps/.ok; }
         PYTHONDONTWRITEBYTECODE=1 PATH=/deps/venv/bin:$PATH python -m pytest -q -p no:cacheprovider' >/dev/null
    docker build --quiet --tag "$image" . >/dev/null 2>"$WORK/build.log"
    docker push --quiet "$image" >/dev/null
    BARE=landfall-bench-bare-$$-$1
    docker run --detach --init --name "$BARE" --publish "127.0.0.1:$BARE_PORT:8000" "$image" >/dev/null
    until_answers "http://127.0.0.1:$BARE_PORT/healthz"
    curl -fsS "http://127.0.0.1:$BARE_PORT/" | grep -q Hello
    curl -fsS "http://127.0.0.1:$BARE_PORT/api/greet?name=Ada" | grep -q Ada
    [[ -z $former ]] || docker rm -f "$former" >/dev/null 2>&1
}

# The push ends when its run does; how it ended is in what the server said.
ours() {
    git push --quiet "http://bench:$LANDFALL_TOKEN@127.0.0.1:$PORT/git/hello.git" HEAD:main >"$WORK/push.log" 2>&1
    grep -q LIVE "$WORK/push.log"
}

# Alone on its line always: behind && or || a step that fails would not end the script.
timed() {
    local side=$1 began
    shift
    began=$(now_ms)
    "$@"
    echo $(($(now_ms) - began)) >>"$WORK/$side"
}

median() { sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

echo "warming up"
for round in 1 2; do
    new_commit
    ours
    new_commit
    BARE_PORT=$(free_port)
    bare "warm-b$round"
done
for round in $(seq "$ROUNDS"); do
    new_commit
    timed a ours
    new_commit
    BARE_PORT=$(free_port) # the former version is still at its own
    timed b bare "b$round"
    printf 'round %s: landfall %s ms, docker command %s ms\n' "$round" "$(tail -n1 "$WORK/a")" "$(tail -n1 "$WORK/b")"
done
LIVE=$("$TARGET/landfall" runs --data "$WORK/data" --json --limit 1000 | grep -c '"state":"live"')
[[ $LIVE -eq $((ROUNDS + 2)) ]] || { echo "error: only $LIVE of $((ROUNDS + 2)) runs went live" >&2 && exit 1; }

A=$(median <"$WORK/a") B=$(median <"$WORK/b")
printf '\n%-34s %8s %8s %8s\n' 'a whole run, push to live (ms)' median min max
printf '%-34s %8s %8s %8s\n' 'landfall (durable, with the proxy)' "$A" "$(sort -n "$WORK/a" | head -n1)" "$(sort -n "$WORK/a" | tail -n1)"
printf '%-34s %8s %8s %8s\n' 'docker command in a shell script' "$B" "$(sort -n "$WORK/b" | head -n1)" "$(sort -n "$WORK/b" | tail -n1)"
awk -v a="$A" -v b="$B" 'BEGIN { printf "%-34s %8.2f\n", "ratio of the medians", a / b }'
printf '(the docker command builds with %s)\n' "$BUILDER"
