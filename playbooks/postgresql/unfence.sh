# Unfence: everything that the fence did, back again, in reverse order.
main() {
  guard_epoch
  one_at_a_time
  if [ -n "$DRCTL_FORBID_PRIMARY" ] && [ ! -e "$data/standby.signal" ]; then
    fail "$DRCTL_INSTANCE would be a second primary: $DRCTL_FORBID_PRIMARY"
  fi
  note_epoch
  route "$DRCTL_UNFENCE_ROUTE"
  accept_clients
  if [ -e "$marker" ]; then changed "unmarked"; rm -f "$marker"; fi
  if running; then pg pg_ctl -D "$data" reload >&2; fi
  start_server
}
main </dev/null
