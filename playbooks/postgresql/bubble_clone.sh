# Clone the standby as a backup does, cut the clone off from everything, start and promote it. Begins anew each time.
main() {
  discard_bubble
  mkdir -m 755 "$bubble"
  if [ "$(id -u)" = 0 ]; then chown --reference="$data" "$bubble"; fi
  free_port >"$bubble/db.port"
  pg pg_basebackup -h "$DRCTL_HOST_ADDRESS" -p "$DRCTL_PORT" -U "$DRCTL_USER" -D "$clone" -X stream -c fast --no-sync >&2 \
    || fail "the backup of $DRCTL_INSTANCE failed"
  cut_off
  changed "cloned $DRCTL_INSTANCE"
  (cd "$clone" && pg pg_ctl -D "$clone" -l "$bubble/log" -s -w -t 60 start >&2) \
    || fail "the clone did not start: $(tail -n 3 "$bubble/log" 2>/dev/null | tr '\n' ' ')"
  [ "$(sql 'SELECT pg_promote()')" = t ] || fail "the clone was not promoted"
  fact bubble_port "$(port_of db)"
  fact bubble_position "$(sql 'SELECT pg_current_wal_lsn()')"
}

# No upstream, no downstream, no slot, loopback only; its own settings come last, so that they win.
cut_off() {
  rm -rf "$clone"/pg_replslot/* "$clone/drctl.fenced"
  touch "$clone/standby.signal"
  cat >"$clone/postgresql.auto.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $(port_of db)
unix_socket_directories = ''
cluster_name = 'bubble'
primary_conninfo = ''
primary_slot_name = ''
synchronous_standby_names = ''
archive_mode = off
dynamic_shared_memory_type = mmap
fsync = off
CONF
  if [ "$(id -u)" = 0 ]; then chown -R --reference="$data" "$clone"; fi
}
main </dev/null
