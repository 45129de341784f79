"""The live scenarios that are crashed: what is called, from which state, and where it must end."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model.topology import Frozen

RATE = ("--rate", "50")
"""A quarter of the usual canary: enough to miss a lost write, and the machine is for the executors."""
ONE = ("--system", "legal-person", *RATE)
"""One system: every kind of step is in it, and a case takes a third of the time."""
BOTH_CITY = "cut-link a-c; cut-link b-c; kill-centre a; kill-centre b"
ACCEPTED = ("--accept-loss", "--approved-by", "Li Wei", "--approved-by", "Chen Yu")
HOME = {"legal-person": "a", "sharing": "a", "open-data": "b"}
"""Where each system's primary stands in a fresh lab."""


class Scenario(Frozen, kw_only=True):
    """One live scenario."""

    name: str
    words: tuple[str, ...]
    """The command that is killed."""
    start: str = "fresh"
    """The kept state that it begins in."""
    moved: Mapping[str, str] = {}
    """Systems whose primary ends in another centre than it began in."""
    sync: str = "a"
    """Centre of the sync standby of what moved; empty for none."""
    zero_loss: bool = True
    ends: tuple[str, ...] = ("done",)
    codes: tuple[int, ...] = (0,)
    """Exit codes that the last command may have."""
    recover: tuple[str, ...] = ("runs", "resume", "last")
    promotions: int = 1
    """How often the timeline of what moved goes up: a promotion that was carried out twice counts twice."""


def _drill(scenario: str, *words: str, mode: str = "live") -> tuple[str, ...]:
    return ("drill", "run", scenario, *words, "--mode", mode)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="centre-killed",
        words=_drill("centre-lost", "--lost", "a", *ONE, "--fault", "kill-centre a"),
        moved={"legal-person": "b"},
    ),
    Scenario(
        name="centre-frozen",
        words=_drill("centre-lost", "--lost", "a", *ONE, "--fault", "freeze-centre a"),
        moved={"legal-person": "b"},
    ),
    Scenario(name="switchover", words=("switchover", "--to", "b", *ONE), moved={"legal-person": "b"}),
    Scenario(name="failback", words=("failback", *ONE), start="moved", moved={"legal-person": "a"}, sync="b"),
    Scenario(
        name="site-lost",
        words=_drill("site-lost", "--lost", "a", "--lost", "b", "--to", "c", *ONE, "--fault", BOTH_CITY, *ACCEPTED),
        moved={"legal-person": "c"},
        sync="",
        zero_loss=False,
        codes=(0, 3),
    ),
    Scenario(name="isolated", words=_drill("isolated", *ONE, mode="isolated"), promotions=0),
    Scenario(
        name="undone",
        words=("runs", "abort", "last"),
        start="half-moved",
        ends=("aborted",),
        codes=(7,),
        promotions=0,
    ),
    Scenario(
        name="whole-estate",
        words=_drill("centre-lost", "--lost", "a", "--fault", "kill-centre a", *RATE),
        moved={"legal-person": "b", "sharing": "b"},
    ),
)
BY_NAME = {s.name: s for s in SCENARIOS}
HALF_MOVED = ("gate_judged:legal-person/db@b:promote:before", ("switchover", "--to", "b", *ONE))
"""What leaves the state `half-moved`: writes are stopped, the copies held, nothing is promoted, nobody is there."""
