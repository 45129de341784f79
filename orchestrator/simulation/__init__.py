"""A world of virtual time in which the shipped planner, executor and checks run: seeded, replayable, without a thread.

What an action or a fault does to the control plane comes from `machine`, which the prover uses too, so that the two
cannot drift. This package adds what the tables leave out: time, concrete data, lost and late answers, lies, disks.
"""
