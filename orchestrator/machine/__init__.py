"""The state machine of a service over three centres: states, actions, faults and invariants as tables. Pure.

Planner, prover, executor and simulator share it: there is one place that says what an action needs and does.
"""
