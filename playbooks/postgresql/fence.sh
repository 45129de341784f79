# Fence: mark, refuse clients, kill, cut the route. Takes no lock: it must not wait for a rejoin that hangs, which
# itself looks for the marker and the epoch before it starts a server.
main() {
  [ -d "$data" ] || fail "no folder $data on this host"
  guard_epoch
  note_epoch
  if [ ! -e "$marker" ]; then
    changed "marked"
    printf '%s\n' "run=$DRCTL_RUN" "step=$DRCTL_STEP" "epoch=$DRCTL_EPOCH" "at=$(date -u +%Y-%m-%dT%H:%M:%SZ)" | replace "$marker" 644
  fi
  refuse_clients
  kill_all
  if [ -n "$DRCTL_STOP_COMMAND" ]; then      # a service manager may have started it again
    timeout 20 bash -c "$DRCTL_STOP_COMMAND" >&2 || true
    kill_all
  fi
  route "$DRCTL_FENCE_ROUTE"
}
main </dev/null
