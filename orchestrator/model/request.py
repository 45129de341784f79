"""What the operator asks a plan for, and how long actions are expected to take. Pure and frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from orchestrator.model.plan import Mode, Verb
from orchestrator.model.topology import Frozen
from orchestrator.model.view import View

INTERPRETER = "1"
"""Version of what a plan's steps mean; a run is resumed only by a program that means the same."""

FORECAST_UNKNOWN_S = 5.0
"""Forecast of an action that nothing was ever measured of."""


class Request(Frozen, kw_only=True):
    """The operator's words, and what the plan is made from and when (the planner has no clock)."""

    mode: Mode
    lost: tuple[str, ...] = ()
    """Ids of the centres taken as lost."""
    target: str = ""
    """Id of the centre that takes over; empty: as the scenario says."""
    systems: tuple[str, ...] = ()
    """Ids; empty: all that are affected."""
    fault: str = ""
    """Fault to inject, lab only, for example `kill-centre a`."""
    accept_loss: bool = False
    attested: tuple[str, ...] = ()
    """Lost centres that people attest to be off (no power, or cut off from every user) until drctl has fenced them."""
    views: tuple[View, ...] = ()
    """What observers in several places see of the centres; empty where there are none."""
    observers: tuple[str, ...] = ()
    """Everyone who has a vote on whether a centre is lost."""
    created_at: str
    """UTC, RFC 3339."""
    topology_sha256: str
    version: str = INTERPRETER
    """Version of the plan interpreter."""


class Timing(Frozen, kw_only=True):
    """How long one verb takes on one kind of service."""

    verb: Verb
    kind: str = ""
    """Empty: on any kind that has no timing of its own."""
    seconds: float


MEASURED = (
    Timing(verb=Verb.PROMOTE, kind="postgresql", seconds=0.2),
    Timing(verb=Verb.PROMOTE, seconds=1.0),
    Timing(verb=Verb.REPOINT, kind="postgresql", seconds=0.15),
    Timing(verb=Verb.REPOINT, kind="http-app", seconds=0.05),
    Timing(verb=Verb.REPOINT, seconds=0.5),
    Timing(verb=Verb.DEMOTE, seconds=0.15),
    Timing(verb=Verb.REDIRECT, kind="haproxy", seconds=0.25),
    Timing(verb=Verb.REDIRECT, seconds=1.0),
    Timing(verb=Verb.FENCE, seconds=2.5),
    Timing(verb=Verb.UNFENCE, seconds=2.5),
    Timing(verb=Verb.REJOIN, seconds=5.0),
    Timing(verb=Verb.START, seconds=0.5),
    Timing(verb=Verb.STOP, seconds=0.5),
    Timing(verb=Verb.RUN_PLAYBOOK, seconds=3.0),
    Timing(verb=Verb.CONFIRM, seconds=0.2),
    Timing(verb=Verb.ASK, seconds=120.0),
    Timing(verb=Verb.INJECT, seconds=0.3),
    Timing(verb=Verb.HEAL, seconds=2.0),
)
"""From FACTS: promote to first write 0.13 s, repoint by reload 0.07 s, HAProxy moves sessions in 0.25 s, rewind and
back in sync 1.6 s, a playbook 1.2 s and 0.25 s a further task."""


class Timings(Frozen, kw_only=True, dict=True):
    """Forecasts; what was measured later comes first."""

    measured: tuple[Timing, ...] = MEASURED

    @cached_property
    def _table(self) -> Mapping[tuple[Verb, str], float]:
        return {(t.verb, t.kind): t.seconds for t in reversed(self.measured)}

    def forecast_s(self, verb: Verb, kind: str) -> float:
        """Seconds that `verb` takes on a service of `kind`; FORECAST_UNKNOWN_S where nothing is known."""
        found = self._table.get((verb, kind))
        return found if found is not None else self._table.get((verb, ""), FORECAST_UNKNOWN_S)

    def with_history(self, history: Iterable[Timing]) -> Timings:
        """These timings, with what runs measured taking precedence."""
        return Timings(measured=(*history, *self.measured))
