# Stop what runs in the bubble and remove it; with nothing there, done at once.
discard_bubble </dev/null
