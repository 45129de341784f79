# What the scripts share; put before each of them. bash; needs coreutils, util-linux (flock) and /proc.
# Lines that begin with drctl-fact:, drctl-changed: and drctl-error: are read by drctl.
set -euo pipefail
data=${DRCTL_PGDATA:?no pgdata: set the parameter of the instance}
data=${data%/}
beside=$data.drctl                   # what must outlive pg_rewind, which deletes what the source has not
marker=$data/drctl.fenced
rewinding=$beside/rewinding
auto=$data/postgresql.auto.conf
hba=${DRCTL_HBA_FILE:-$data/pg_hba.conf}
log=${DRCTL_LOG_FILE:-$data.log}
read -r -a owner <<<"$DRCTL_OS_USER_PREFIX" || true
FENCE_HBA='# drctl: fenced'

fail() { echo "drctl-error: $*" >&2; exit 1; }
fact() { echo "drctl-fact: $1=$2"; }
changed() { echo "drctl-changed: $*"; }

program() { if [ -n "$DRCTL_BINDIR" ]; then echo "$DRCTL_BINDIR/$1"; else echo "$1"; fi; }

# Run one of PostgreSQL's programs as the owner of the data. Descriptor 9 is the lock: a server must not inherit it.
pg() { local name=$1; shift; "${owner[@]}" "$(program "$name")" "$@" 9>&- </dev/null; }

# Files that root writes belong to the owner of the data all the same.
own() {
  local like=$data
  if [ ! -e "$like" ]; then like=$beside/old; fi
  if [ "$(id -u)" = 0 ] && [ -e "$like" ]; then chown -R --reference="$like" "$@"; fi
}

# Replace a file by standard input in one move, on disk.
replace() {
  local part=$1.drctl-part
  cat >"$part"; chmod "${2:-600}" "$part"; own "$part"; sync "$part"; mv -f "$part" "$1"; sync "$(dirname "$1")"
}

make_beside() { mkdir -p "$beside"; own "$beside"; }

# The highest epoch that this data folder has seen: of its settings and of a fence.
seen_epoch() {
  { sed -n "s/^ *drctl\.epoch *=\{0,1\} *'\{0,1\}\([0-9]\{1,\}\).*/\1/p" "$auto" 2>/dev/null || true
    sed -n 's/^epoch=\([0-9]\{1,\}\)$/\1/p' "$marker" "$beside/epoch" 2>/dev/null || true; echo 0; } | sort -n | tail -n 1
}

guard_epoch() {
  local seen; seen=$(seen_epoch)
  if [ "$seen" -gt "$DRCTL_EPOCH" ]; then
    fail "$DRCTL_INSTANCE has seen epoch $seen, and this run's is $DRCTL_EPOCH: a later run took over"
  fi
}

# Note the epoch beside the data: the settings may be the source's for a moment, or written by a server that runs.
note_epoch() { make_beside; echo "epoch=$DRCTL_EPOCH" | replace "$beside/epoch"; }

one_at_a_time() { make_beside; exec 9>"$beside/lock"; flock -w "$DRCTL_WITHIN_S" 9 || fail "another playbook works on $data"; }

# Every process of this server, frozen ones too: PostgreSQL's processes all work in the data folder.
processes() {
  local dir name
  for dir in /proc/[0-9]*; do
    { read -r name <"$dir/comm"; } 2>/dev/null || continue
    case $name in postgres|postmaster) [ "$dir/cwd" -ef "$data" ] && echo "${dir#/proc/}" ;; esac
  done
  return 0
}

# SIGKILL until none is left, at most 10 s. A frozen process dies of it too.
kill_all() {
  local pids try
  for try in $(seq 200); do
    pids=$(processes)
    [ -n "$pids" ] || { rm -f "$data/postmaster.pid"; return 0; }
    changed "killed $(echo "$pids" | wc -w) processes"
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null || true
    sleep 0.05
  done
  fail "processes of $data outlive SIGKILL: $(processes | tr '\n' ' ')"
}

running() { [ -n "$(processes)" ]; }

frozen() {
  local pid
  for pid in $(processes); do
    if grep -qE '^State:[[:space:]]+[Tt]' "/proc/$pid/status" 2>/dev/null; then return 0; fi
  done
  return 1
}

stop_server() {
  if ! running; then return 0; fi
  changed "stopped"
  if frozen; then kill_all; return 0; fi     # it would not hear of it, and thawed it might serve for a moment
  if [ -n "$DRCTL_STOP_COMMAND" ]; then
    timeout 60 bash -c "$DRCTL_STOP_COMMAND" >&2 </dev/null || true
  else
    pg pg_ctl -D "$data" -m fast -w -t 20 stop >&2 || pg pg_ctl -D "$data" -m immediate -w -t 5 stop >&2 || true
  fi
  kill_all
}

start_server() {
  guard_epoch
  if [ -e "$marker" ]; then fail "$DRCTL_INSTANCE is fenced: unfence or rejoin it"; fi
  if [ -e "$rewinding" ]; then fail "a rejoin of $DRCTL_INSTANCE was interrupted: rejoin it"; fi
  if [ -n "$DRCTL_FORBID_PRIMARY" ] && [ ! -e "$data/standby.signal" ]; then
    fail "$DRCTL_INSTANCE would be a second primary: $DRCTL_FORBID_PRIMARY"
  fi
  if running; then return 0; fi
  rm -f "$data/postmaster.pid"       # nobody runs here, and its number may be another process's by now
  changed "started"
  if [ -n "$DRCTL_START_COMMAND" ]; then
    timeout 120 bash -c "$DRCTL_START_COMMAND" >&2 </dev/null 9>&- || fail "$DRCTL_START_COMMAND failed"
  else
    pg pg_ctl -D "$data" -l "$log" -s -w -t "$DRCTL_WITHIN_S" start >&2 || fail "the server did not start: $(tail -n 3 "$log" 2>/dev/null | tr '\n' ' ')"
  fi
}

refuse_clients() {
  if [ "$(head -n 1 "$hba" 2>/dev/null)" = "$FENCE_HBA" ]; then return 0; fi
  changed "refuses its clients"
  make_beside
  if [ -e "$hba" ]; then cp -p "$hba" "$beside/pg_hba.conf"; fi
  printf '%s\n' "$FENCE_HBA" 'local all all reject' 'local replication all reject' \
    'host all all all reject' 'host replication all all reject' | replace "$hba"
}

accept_clients() {
  if [ "$(head -n 1 "$hba" 2>/dev/null)" != "$FENCE_HBA" ]; then return 0; fi
  [ -e "$beside/pg_hba.conf" ] || fail "the access rules from before the fence are gone: $beside/pg_hba.conf"
  changed "lets its clients in"
  replace "$hba" <"$beside/pg_hba.conf"
}

route() {
  local said
  if [ -z "$1" ]; then return 0; fi
  said=$(timeout 20 bash -c "$1" 2>&1 </dev/null 9>&-) || fail "the route command failed: $1: $(tr '\n' ' ' <<<"$said")"
}
