"""Parts of the prover: worlds, the courses that a run can take through them, the search, and the story. Pure."""
