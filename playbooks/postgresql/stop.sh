# Stop as an administrator would; what does not end within 25 s is killed, which loses nothing that was acknowledged.
main() {
  guard_epoch
  one_at_a_time
  note_epoch
  stop_server
}
main </dev/null
