"""What goes wrong in one seed: faults of the world, of the means and of the executors, each at its time."""

from __future__ import annotations

from random import Random

import msgspec

from orchestrator.machine.faults import Fault
from orchestrator.model.topology import Topology
from orchestrator.simulation.chance import Chance
from tests.simulation.lives import NEVER, Death

CENTRES = ("a", "b", "c")
LINKS = ("a-b", "a-c", "b-c", "a>b", "b>a", "b>c", "c>b")


class Blow(msgspec.Struct, frozen=True, kw_only=True):
    """One fault, and how long it lasts."""

    at_s: float
    kind: str
    """Of `machine.faults`, or `lie`, `loss`, `slow`, `answers`, `clock`, `full`, `store`, `pause`, `abort`, `kill`,
    `freeze`."""
    place: str = ""
    size: float = 0.0
    lasts_s: float = 0.0


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that goes wrong in one run."""

    blows: tuple[Blow, ...] = ()
    deaths: tuple[Death, ...] = ()
    """Of the first process, the second …"""
    befallen_s: float = 0.0
    """What had happened before the plan was made is gone after so long; 0: it stays."""
    resumed_s: float = 0.0
    """So long after a death somebody resumes; 0: drawn by the seed."""

    def death(self, life: int) -> Death:
        """How process number `life` (from 1) dies."""
        return self.deaths[life - 1] if life <= len(self.deaths) else NEVER


CALM = Weather()
WORLD = ("kill-centre", "freeze-centre", "darken", "blackout", "cut-link", "stop-service", "cut-link", "darken")
MEANS = ("lie", "loss", "slow", "answers", "answers")
OWN = ("clock", "full", "store", "pause", "abort", "freeze", "kill", "hand")


def weather_of(chance: Chance, topology: Topology, steps: int) -> Weather:
    """Draw the weather of a seed; a quarter of all seeds has none but deaths."""
    source = chance.of("weather")
    blows: list[Blow] = []
    for kinds, odds in ((WORLD, 0.55), (MEANS, 0.45), (OWN, 0.40)):
        again = odds
        while source.random() < again and len(blows) < 6:
            blows.append(_blow(source, source.choice(kinds), topology))
            again *= 0.6
    deaths: list[Death] = []
    while source.random() < 0.5 and len(deaths) < 4:
        deaths.append(_death(source, steps))
    befallen_s = source.choice((0.0, 0.0, source.uniform(0, 2), source.uniform(0, 50)))
    ordered = tuple(sorted(blows, key=lambda b: b.at_s))
    return Weather(blows=ordered, deaths=tuple(deaths), befallen_s=befallen_s)


def _death(source: Random, steps: int) -> Death:
    power = source.random() < 0.6
    if source.random() < 0.3:
        return Death(act=source.randint(1, max(2, steps)), power=power)
    how = source.choice(("before", "torn", "after"))
    return Death(operation=source.randint(1, 6 * steps + 4), how=how, power=power)


def _blow(source: Random, kind: str, topology: Topology) -> Blow:
    at_s = source.choice((source.uniform(0, 1), source.uniform(0, 6), source.uniform(0, 20)))
    lasts_s = source.choice((0.3, 2.0, 8.0, 43.0)) * source.uniform(0.5, 1.5)
    place = source.choice(CENTRES)
    size = source.random()
    if kind == "cut-link":
        place = source.choice(LINKS)
    elif kind == "stop-service":
        place = source.choice([i.id for i in topology.instances() if i.centre in CENTRES])
    elif kind == "clock":
        size = source.choice((-7200.0, -30.0, -0.5, 0.5, 30.0, 7200.0))
    return Blow(at_s=at_s, kind=kind, place=place, size=size, lasts_s=lasts_s)


def as_fault(blow: Blow) -> Fault:
    """A blow of the world as the machine's fault."""
    return Fault(name=blow.kind, place=blow.place)
