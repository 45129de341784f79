# What the bubble's scripts share; put before each of them. bash; needs coreutils and ipcrm (util-linux), curl-free: the
# app is asked by bash.
# Lines that begin with drctl-fact:, drctl-changed: and drctl-error: are read by drctl.
set -euo pipefail
data=${DRCTL_PGDATA:?no pgdata: set the parameter of the instance}
data=${data%/}
bubble=$data.bubble                  # everything of the exercise lies below, so that removing it leaves nothing
clone=$bubble/data
read -r -a owner <<<"$DRCTL_OS_USER_PREFIX" || true

fail() { echo "drctl-error: $*" >&2; exit 1; }
fact() { echo "drctl-fact: $1=$2"; }
changed() { echo "drctl-changed: $*"; }
program() { if [ -n "$DRCTL_BINDIR" ]; then echo "$DRCTL_BINDIR/$1"; else echo "$1"; fi; }
pg() { local name=$1; shift; "${owner[@]}" "$(program "$name")" "$@" </dev/null; }
port_of() { cat "$bubble/$1.port"; }
sql() { pg psql -X -A -t -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$(port_of db)" -U "$DRCTL_USER" -d "$DRCTL_DATABASE" -c "$1"; }

# A port on loopback that nobody has now, below the range of outgoing connections.
free_port() {
  local port
  for _ in $(seq 200); do
    port=$((20000 + RANDOM % 12000))
    if ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return 0; fi
  done
  fail "no free port on loopback"
}

# Every process that works in the bubble's folders, whoever started it. No program is run for each process of the host.
bubble_processes() {
  local dir folder
  for dir in /proc/[0-9]*; do
    for folder in "$clone" "$bubble/app" "$bubble"; do
      if [ "$dir/cwd" -ef "$folder" ]; then echo "${dir#/proc/}"; fi
    done
  done
  return 0
}

kill_bubble() {
  local pids
  for _ in $(seq 200); do
    pids=$(bubble_processes)
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null || true
    sleep 0.05
  done
  fail "processes of the bubble outlive SIGKILL: $(bubble_processes | tr '\n' ' ')"
}

# A server's shared memory does not lie below the bubble, and a host has room for 4,096 segments: a server that stops
# frees its own; that of one that was killed, which nobody is attached to any more, is freed for it.
stop_clone() {
  local pid
  [ -r "$clone/postmaster.pid" ] && read -r pid <"$clone/postmaster.pid" || return 0
  [ "/proc/$pid/cwd" -ef "$clone" ] || return 0 # the number of a server that is gone may be another's by now
  (cd "$clone" && pg pg_ctl -D "$clone" -s -w -t 10 -m immediate stop >&2) || true
}

free_memory() {
  local lines key id segment number size attached
  mapfile -t lines <"$clone/postmaster.pid"
  read -r key id <<<"${lines[6]:-}" || return 0
  while read -r segment number _ size _ _ attached _; do
    if [ "$number" = "$id" ] && [ "$((segment & 0xffffffff))" = "$((key & 0xffffffff))" ] && [ "$attached" = 0 ]; then
      "${owner[@]}" ipcrm -m "$id" || fail "$size bytes of shared memory ($id) are still there"
    fi
  done < <(tail -n +2 /proc/sysvipc/shm)
}

discard_bubble() {
  if [ ! -e "$bubble" ] && [ -z "$(bubble_processes)" ]; then return 0; fi
  changed "discarded $bubble"
  stop_clone
  kill_bubble
  if [ -r "$clone/postmaster.pid" ]; then free_memory; fi
  rm -rf -- "$bubble"
  [ ! -e "$bubble" ] || fail "$bubble is still there"
}
