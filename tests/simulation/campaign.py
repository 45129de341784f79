"""Many seeds on all cores: counts, coverage and violations, added up from chunks."""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from tests.simulation.driver import Driver, Result
from tests.simulation.situations import situations

CHUNK = 250
"""Seeds that a worker takes at once."""
SWEPT = 16
"""Seeds after which a worker clears away what they left: while it is still in the processor's cache."""
SWEPT_WHOLE = 128
"""One chunk of so many is followed by a search through everything, for states that were forgotten."""
SHOWN = 5
"""Violations that are kept with their seeds, by rule."""


class Tally(msgspec.Struct, kw_only=True):
    """What some seeds came to; tallies add up."""

    runs: int = 0
    lives: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    outcomes: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    reached: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """(action, or refused action; fault in force) → times."""
    struck: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """(fault; state of the run when it struck) → times."""
    states: set[str] = msgspec.field(default_factory=set)
    """Situations that were run."""
    violations: dict[str, list[tuple[int, str]]] = msgspec.field(default_factory=dict)
    """Rule → seeds, with the reason."""
    broken: Counter[str] = msgspec.field(default_factory=Counter)
    """Rule → seeds that broke it."""

    def take(self, result: Result) -> None:
        """Add one seed."""
        self.runs += 1
        self.lives += result.lives
        self.virtual_s += result.virtual_s
        self.outcomes[result.scenario, result.outcome] += 1
        self.reached.update(result.reached)
        self.struck.update(result.struck)
        self.states.add(result.situation)
        for rule, text in dict(result.violations).items():
            self.broken[rule] += 1
            kept = self.violations.setdefault(rule, [])
            if len(kept) < SHOWN:
                kept.append((result.seed, text))

    def add(self, other: Tally) -> None:
        """Add what another process counted."""
        self.runs += other.runs
        self.lives += other.lives
        self.virtual_s += other.virtual_s
        self.cpu_s += other.cpu_s
        self.outcomes.update(other.outcomes)
        self.reached.update(other.reached)
        self.struck.update(other.struck)
        self.states |= other.states
        self.broken.update(other.broken)
        for rule, found in other.violations.items():
            self.violations[rule] = sorted([*self.violations.get(rule, []), *found])[:SHOWN]


def run_chunk(driver: Driver, first: int, count: int) -> Tally:
    """Some seeds in this process."""
    tally, began = Tally(), time.process_time()
    for seed in range(first, first + count):
        tally.take(driver.seed(seed))
        if seed % SWEPT == 0:
            gc.collect(0)
    tally.cpu_s = time.process_time() - began
    return tally


_DRIVER: list[Driver] = []


def _begin() -> None:
    _DRIVER[:] = [Driver()]
    gc.collect()
    gc.freeze()
    gc.disable()  # `run_chunk` knows when


def _work(chunk: tuple[int, int]) -> Tally:
    tally = run_chunk(_DRIVER[0], *chunk)
    if chunk[0] // CHUNK % SWEPT_WHOLE == 0:
        gc.unfreeze()  # states that were forgotten meanwhile
    gc.collect()
    gc.freeze()  # the states that are kept: looked through after each chunk, they cost more than the seeds in the end
    return tally


def campaign(first: int, count: int, cores: int = 0, told: Callable[[Tally], None] = lambda _: None) -> Tally:
    """Seeds `first` to `first + count - 1` on all cores (or on so many); `told` after each chunk."""
    whole = Tally()
    for part in _parts(first, count, cores or os.cpu_count() or 1):
        whole.add(part)
        told(whole)
    return whole


def _parts(first: int, count: int, cores: int) -> Iterator[Tally]:
    chunks = [(n, min(CHUNK, first + count - n)) for n in range(first, first + count, CHUNK)]
    situations()  # made once, before the workers are forked
    if cores == 1:
        _begin()
        try:
            yield from map(_work, chunks)
        finally:
            gc.enable()
            gc.unfreeze()
        return
    with multiprocessing.get_context("fork").Pool(cores, _begin) as pool:
        yield from pool.imap_unordered(_work, chunks)
