# Start, unless fenced, half rewound, or a second primary.
main() {
  guard_epoch
  one_at_a_time
  start_server
  note_epoch
}
main </dev/null
