# The clone takes writes and holds users' tables; the app, where one is declared for bubbles, writes and reads through it.
main() {
  local key="bubble.$DRCTL_RUN" tables
  [ -e "$clone" ] || fail "there is no bubble: clone first"
  [ "$(sql 'SELECT pg_is_in_recovery()')" = f ] || fail "the clone is not promoted"
  tables=$(sql "SELECT count(*) FROM pg_stat_user_tables")
  [ "$tables" -gt 0 ] || fail "the clone holds no table of users"
  fact bubble_tables "$tables"
  fact bubble_rows "$(sql "SELECT coalesce(sum(n), 0) FROM (SELECT (xpath('/row/c/text()', query_to_xml(format('SELECT count(*) AS c FROM %I.%I', schemaname, relname), false, true, '')))[1]::text::bigint AS n FROM pg_stat_user_tables) t")"
  if [ -z "$DRCTL_BUBBLE_APP" ]; then fact bubble_app "none declared"; return 0; fi
  start_app
  [ "$(ask PUT "/records/$key" '{"value":"inside","entry":"bubble"}')" = 201 ] || fail "the app in the bubble took no write"
  [ "$(ask GET "/records/$key" '')" = 200 ] || fail "the app in the bubble did not read its write"
  [ "$(sql "SELECT value FROM drctl_canary WHERE id = '$key'")" = inside ] || fail "the app's write is not in the clone"
  fact bubble_app "wrote and read $key"
}

start_app() {
  if [ -e "$bubble/app.port" ] && [ "$(ask GET /health '')" = 200 ]; then return 0; fi
  free_port >"$bubble/app.port"
  mkdir -p "$bubble/app"
  changed "started the app in the bubble"
  (cd "$bubble/app" && DRCTL_BUBBLE_PORT=$(port_of app) DRCTL_BUBBLE_DATABASE=127.0.0.1:$(port_of db) \
    setsid bash -c "$DRCTL_BUBBLE_APP" </dev/null >"$bubble/app.log" 2>&1 &)
  for _ in $(seq 200); do
    if [ "$(ask GET /ready '')" = 200 ]; then return 0; fi
    sleep 0.05
  done
  fail "the app in the bubble is not ready: $(tail -n 3 "$bubble/app.log" | tr '\n' ' ')"
}

# The status of one HTTP request to the bubble's app; bash alone, for a host has what it has.
ask() {
  local status
  { exec 8<>"/dev/tcp/127.0.0.1/$(port_of app)"; } 2>/dev/null || { echo 0; return 0; }
  printf '%s %s HTTP/1.1\r\nHost: bubble\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n%s' \
    "$1" "$2" "${#3}" "$3" >&8
  read -r -t 10 _ status _ <&8 || status=0
  exec 8<&-
  echo "$status"
}
main </dev/null
