# Rejoin: whatever this data folder is (fenced, killed, cleanly stopped, still running, a primary or a standby, empty),
# it comes back as a standby of the source. DRCTL_AT_LEAST = rewind or basebackup rules the lighter ways out.
source_conninfo="host=$DRCTL_SOURCE_HOST port=$DRCTL_SOURCE_PORT user=$DRCTL_SOURCE_USER"
kept=$beside/conf                    # this node's own configuration, while the source's is in its place
discarded=$beside/discarded-$DRCTL_RUN

control() { pg pg_controldata -D "$data" | sed -n "s/^$1: *//p"; }

keep_configuration() {
  if [ -d "$kept" ]; then return 0; fi   # an interrupted rejoin: what stands in pgdata may be the source's
  rm -rf "$kept.part"; mkdir -p "$kept.part"
  local name
  for name in postgresql.conf pg_hba.conf pg_ident.conf postgresql.auto.conf; do
    if [ -f "$data/$name" ]; then cp -p "$data/$name" "$kept.part/"; fi
  done
  own "$kept.part"; mv "$kept.part" "$kept"
}

restore_configuration() {
  local name
  for name in postgresql.conf pg_hba.conf pg_ident.conf; do
    if [ -f "$kept/$name" ]; then replace "$data/$name" <"$kept/$name"; fi
  done
  if [ -n "$DRCTL_CONF" ] && ! grep -qF "$(basename "$DRCTL_CONF")" "$data/postgresql.conf"; then
    { cat "$data/postgresql.conf"; echo "include_if_exists '$DRCTL_CONF'"; } | replace "$data/postgresql.conf"
  fi
  { grep -vE '^ *(primary_conninfo|primary_slot_name|synchronous_standby_names|default_transaction_read_only|drctl\.epoch)\b' \
      "$kept/postgresql.auto.conf" 2>/dev/null || true
    echo "primary_conninfo = '$source_conninfo application_name=$DRCTL_CENTRE'"
    echo "primary_slot_name = '$DRCTL_CENTRE'"
    echo "synchronous_standby_names = ''"
    echo "default_transaction_read_only = 'off'"
    echo "drctl.epoch = '$DRCTL_EPOCH'"
  } | replace "$auto"
  replace "$data/standby.signal" </dev/null
  rm -rf "$kept"
}

# pg_rewind wants a server that was shut down. A killed primary recovers in single-user mode, as pg_rewind itself would
# let it; a killed standby recovers as a standby that receives from nobody.
shut_down_cleanly() {
  case $(control 'Database cluster state') in "shut down"|"shut down in recovery") return 0 ;; esac
  if [ -e "$data/standby.signal" ]; then
    echo "primary_conninfo = ''" >>"$auto"
    pg pg_ctl -D "$data" -l "$log" -s -w -t "$DRCTL_WITHIN_S" start >&2 && pg pg_ctl -D "$data" -m fast -s -w stop >&2
  else
    pg postgres --single -F -D "$data" -c archive_mode=off template1 >&2
  fi
}

# What only this node holds will be discarded: count it, and where transactions are among it, keep their log beside the
# data (the first eight segments), for the people who may want to enter them again by hand.
keep_discarded() {
  local fork=$1 timeline=$2 end count segment size first last per name copied=0
  end=$(further "$(control 'Latest checkpoint location')" "$(control 'Minimum recovery ending location')")
  mkdir -p "$discarded"
  timeout 30 "${owner[@]}" "$(program pg_waldump)" -p "$data/pg_wal" -t "$timeline" -s "$fork" -r Transaction \
    </dev/null 9>&- 2>/dev/null | grep -E 'desc: COMMIT' >"$discarded/transactions.txt" || true
  count=$(wc -l <"$discarded/transactions.txt")
  fact fork "$(lsn "$fork")"; fact end "$(lsn "$end")"
  fact discarded_bytes "$(( $(lsn "$end") - $(lsn "$fork") ))"; fact discarded_transactions "$count"
  if [ "$count" = 0 ]; then rm -rf "$discarded"; return 0; fi
  size=$(control 'Bytes per WAL segment'); per=$(( 0x100000000 / size ))
  first=$(( $(lsn "$fork") / size )); last=$(( $(lsn "$end") / size ))
  for (( segment = first; segment <= last && segment < first + 8; segment++ )); do
    name=$(printf '%08X%08X%08X' "$timeline" $(( segment / per )) $(( segment % per )))
    if [ -f "$data/pg_wal/$name" ]; then cp -p "$data/pg_wal/$name" "$discarded/"; copied=$((copied + 1)); fi
  done
  own "$discarded"
  fact discarded_kept "$discarded"; fact discarded_segments "$copied of $((last - first + 1))"
}

further() { if [ "$(lsn "$1")" -ge "$(lsn "$2")" ]; then echo "$1"; else echo "$2"; fi; }

lsn() { local high=${1%/*} low=${1#*/}; echo $(( (0x$high << 32) + 0x$low )); }

rewind() {
  local told fork timeline
  shut_down_cleanly || return 1
  told=$(pg pg_rewind -D "$data" --source-server="$source_conninfo dbname=postgres" --no-ensure-shutdown --dry-run 2>&1) ||
    { echo "$told" >&2; return 1; }
  fork=$(sed -n 's/.*diverged at WAL location \([0-9A-F/]*\) on timeline.*/\1/p' <<<"$told")
  timeline=$(sed -n 's/.*diverged at WAL location .* on timeline \([0-9]*\).*/\1/p' <<<"$told")
  if [ -z "$fork" ] || grep -q 'no rewind required' <<<"$told"; then fact method start; return 0; fi
  keep_discarded "$fork" "$timeline"
  keep_configuration
  make_beside; replace "$rewinding" </dev/null
  pg pg_rewind -D "$data" --source-server="$source_conninfo dbname=postgres" --no-ensure-shutdown >&2 || return 1
  fact method rewind
}

basebackup() {
  local old=$beside/old
  keep_configuration
  replace "$rewinding" </dev/null
  if [ -d "$data" ] && [ ! -d "$old" ]; then mv "$data" "$old"; else rm -rf "$data"; fi
  install -d -m 700 "$data"
  if [ "$(id -u)" = 0 ] && [ -d "$old" ]; then chown --reference="$old" "$data"; fi
  if ! pg pg_basebackup -D "$data" -d "$source_conninfo" -X stream -c fast -S "$DRCTL_CENTRE" >&2; then
    fail "no rewind is possible and the base backup failed; the old data is in $old"
  fi
  rm -rf "$old"
  fact method basebackup
}

rebuild() {
  if [ "$DRCTL_AT_LEAST" = basebackup ] || [ -e "$rewinding" ] || [ ! -e "$data/PG_VERSION" ]; then basebackup; return; fi
  if [ -e "$data/standby.signal" ] && [ -z "$DRCTL_AT_LEAST" ]; then fact method start; return; fi
  rewind || basebackup
}

main() {
  guard_epoch
  one_at_a_time
  note_epoch
  if [ -e "$data/PG_VERSION" ]; then stop_server; kill_all; fi
  route "$DRCTL_UNFENCE_ROUTE"
  accept_clients
  rebuild
  guard_epoch                        # a later run may have fenced it meanwhile
  keep_configuration
  restore_configuration
  rm -f "$rewinding" "$marker"
  changed "is a standby of $DRCTL_SOURCE_HOST:$DRCTL_SOURCE_PORT"
  start_server
}
main </dev/null
