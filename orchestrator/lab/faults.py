"""Faults, all of them real: killed and stopped processes, cut and slow links, paused replay; and the way back.

Words: `kill-centre a`, `freeze-centre a`, `thaw-centre a`, `cut-link a-b` (both ways), `cut-link a>b` (one way),
`slow-link a-c 200ms`, `narrow-link a-c 10mbit`, `lag c`, `stop-service legal-person/db@a`; several are joined by `;`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

from orchestrator.errors import PartialState, Usage, guess
from orchestrator.lab import buckets, layout, postgres, processes, services, sshd, state
from orchestrator.lab.layout import Place
from orchestrator.lab.processes import Process
from orchestrator.lab.relayctl import Do, RelayOrder, ask
from orchestrator.lab.state import LabState
from orchestrator.model.topology import Frozen

LONGEST_MS = 60_000.0
NARROWEST_KBIT = 64.0
_START_S = 20.0


class FaultKind(StrEnum):
    """The first word of a fault."""

    KILL_CENTRE = "kill-centre"
    FREEZE_CENTRE = "freeze-centre"
    THAW_CENTRE = "thaw-centre"
    CUT_LINK = "cut-link"
    SLOW_LINK = "slow-link"
    NARROW_LINK = "narrow-link"
    LAG = "lag"
    STOP_SERVICE = "stop-service"


class Fault(Frozen):
    """One fault, understood."""

    kind: FaultKind
    centre: str = ""
    ways: tuple[tuple[str, str], ...] = ()
    """Directions between centres: both of a link, or one."""
    delay_ms: float = 0.0
    """One way."""
    kbit_s: float = 0.0
    instance: str = ""


def parse(words: str) -> tuple[Fault, ...]:
    """Understand faults joined by `;`.

    Raises:
        Usage: a fault, centre, link, delay or instance is unknown; the hint guesses what was meant.
    """
    faults = tuple(_parse_one(part.strip()) for part in words.split(";") if part.strip())
    if not faults:
        raise Usage("no fault is named", hint=f"for example: {FaultKind.KILL_CENTRE} a")
    return faults


def _parse_one(text: str) -> Fault:
    head, *rest = text.split()
    try:
        kind = FaultKind(head)
    except ValueError as e:
        raise Usage(f"unknown fault {head!r}", hint=guess(head, tuple(FaultKind))) from e
    wanted = 2 if kind in (FaultKind.SLOW_LINK, FaultKind.NARROW_LINK) else 1
    if len(rest) != wanted:
        raise Usage(f"{kind} takes {wanted} word{'s'[: wanted - 1]}, not {len(rest)}", hint=_example(kind))
    if kind is FaultKind.CUT_LINK:
        return Fault(kind=kind, ways=_ways(rest[0]))
    if kind is FaultKind.SLOW_LINK:
        return Fault(kind=kind, ways=_ways(rest[0]), delay_ms=_delay(rest[1]))
    if kind is FaultKind.NARROW_LINK:
        return Fault(kind=kind, ways=_ways(rest[0]), kbit_s=_rate(rest[1]))
    if kind is FaultKind.STOP_SERVICE:
        known = tuple(p.id for p in (*layout.places(), *layout.state_store()))
        return Fault(kind=kind, instance=_known(rest[0], known, "instance"))
    return Fault(kind=kind, centre=_known(rest[0], layout.CENTRES, "centre"))


def _example(kind: FaultKind) -> str:
    rest = {
        FaultKind.CUT_LINK: "a-b (both ways) or a>b (one way)",
        FaultKind.SLOW_LINK: "a-c 200ms",
        FaultKind.NARROW_LINK: "a-c 10mbit",
        FaultKind.STOP_SERVICE: "legal-person/db@a",
    }.get(kind, "a")
    return f"for example: {kind} {rest}"


def _known(word: str, known: tuple[str, ...], what: str) -> str:
    if word not in known:
        raise Usage(f"the lab has no {what} {word!r}", hint=guess(word, known))
    return word


def _ways(text: str) -> tuple[tuple[str, str], ...]:
    found = re.fullmatch(r"(\w+)([->])(\w+)", text)
    links = tuple("-".join(link.ends) for link in layout.LINKS)
    if found is None or "-".join(sorted(found.group(1, 3))) not in links:
        raise Usage(f"the lab has no link {text!r}", hint=f"there are: {', '.join(links)}; one way: a>b")
    there = (found[1], found[3])
    return (there,) if found[2] == ">" else (there, there[::-1])


def _delay(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text)
    delay_ms = float(found[1]) * (1000 if found[2] == "s" else 1) if found else -1.0
    if not 0 <= delay_ms <= LONGEST_MS:
        raise Usage(f"{text!r} is no delay", hint="a number with its unit, 0ms to 60s: 200ms")
    return delay_ms


def _rate(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(kbit|mbit)", text)
    kbit_s = float(found[1]) * (1000 if found[2] == "mbit" else 1) if found else 0.0
    if kbit_s < NARROWEST_KBIT:
        raise Usage(f"{text!r} is no bandwidth", hint=f"a number with its unit, {NARROWEST_KBIT:g}kbit or more: 10mbit")
    return kbit_s


def inject(lab_dir: Path, fault: str) -> None:
    """Put faults in force; each is in force when this returns. One that already is, is left so.

    Raises:
        Usage: the words are no fault; nothing was done.
        Refused: no lab is up.
        Unreadable: the relays do not answer.
        PartialState: a process would not take its signal, or a database not the order.
    """
    understood = parse(fault)
    lab = state.require(lab_dir)
    for one in understood:
        INJECTORS[one.kind](lab_dir, lab, one)


def _centre(lab_dir: Path, lab: LabState, centre: str) -> Callable[[], tuple[Process, ...]]:
    return lambda: services.of_centre(services.scan(lab_dir), lab, centre)


def _kill(lab_dir: Path, lab: LabState, fault: Fault) -> None:
    processes.kill(_centre(lab_dir, lab, fault.centre))


def _freeze(lab_dir: Path, lab: LabState, fault: Fault) -> None:
    processes.freeze(_centre(lab_dir, lab, fault.centre))


def _thaw(lab_dir: Path, lab: LabState, fault: Fault) -> None:
    processes.thaw(_centre(lab_dir, lab, fault.centre))


def _cut(lab_dir: Path, lab: LabState, fault: Fault) -> None:
    ask(lab.socket, RelayOrder(do=Do.CUT, ways=fault.ways))


def _slow(lab_dir: Path, lab: LabState, fault: Fault) -> None:
    ask(lab.socket, RelayOrder(do=Do.SLOW, ways=fault.ways, delay_ms=fault.delay_ms))


def _narrow(lab_dir: Path, lab: LabState, fault: Fault) -> None:
    ask(lab.socket, RelayOrder(do=Do.NARROW, ways=fault.ways, kbit_s=fault.kbit_s))


def _stop(lab_dir: Path, lab: LabState, fault: Fault) -> None:
    place = layout.place(fault.instance)
    assert place is not None
    services.stop(lab_dir, place)


def _lag(lab_dir: Path, lab: LabState, fault: Fault) -> None:
    import psycopg

    for place in lab.databases:
        if place.centre == fault.centre:
            try:
                _pause_replay(lab, place)
            except psycopg.Error as e:
                raise PartialState(f"replay at {place.id} cannot be paused: {e}", hint="drctl lab status") from e


def _pause_replay(lab: LabState, place: Place) -> None:
    with postgres.session(lab, place) as session:
        session.execute("SELECT pg_wal_replay_pause() WHERE pg_is_in_recovery()")


INJECTORS: dict[FaultKind, Callable[[Path, LabState, Fault], None]] = {
    FaultKind.KILL_CENTRE: _kill,
    FaultKind.FREEZE_CENTRE: _freeze,
    FaultKind.THAW_CENTRE: _thaw,
    FaultKind.CUT_LINK: _cut,
    FaultKind.SLOW_LINK: _slow,
    FaultKind.NARROW_LINK: _narrow,
    FaultKind.LAG: _lag,
    FaultKind.STOP_SERVICE: _stop,
}


def heal(lab_dir: Path) -> tuple[str, ...]:
    """Bring everything back; what was done, a line each.

    Thaws, mends links, resumes replay, and restarts what is dead. A fenced database stays down. One that was a primary
    is restarted only where no other primary of its service lives and none that is dead holds a later timeline;
    else it is left for `rejoin`. Isolated instances stay isolated: that is a fence's.

    Raises:
        Refused: no lab is up, or an instance does not come back within 20 s.
        Unreadable: the relays do not answer.
        PartialState: a process would not take its signal.
    """
    lab = state.require(lab_dir)
    notes: list[str] = []
    frozen = tuple(p for p in services.scan(lab_dir) if p.frozen)
    if frozen:
        processes.thaw(lambda: services.scan(lab_dir))
        notes.append(f"thawed {len(frozen)} processes")
    broken = tuple(w for w in ask(lab.socket, RelayOrder(do=Do.STATUS)).ways if w.cut or w.slowed or w.kbit_s)
    if broken:
        ask(lab.socket, RelayOrder(do=Do.MEND))
        notes.append("mended " + ", ".join(f"{w.source}>{w.target}" for w in broken))
    notes += sshd.ensure(lab) if lab.ssh else []
    notes += buckets.ensure(lab)
    notes += _restart(lab_dir, lab)
    notes += _resume(lab)
    return tuple(notes)


def _restart(lab_dir: Path, lab: LabState) -> list[str]:
    found = services.scan(lab_dir)
    dead = [p for p in lab.places if not services.of_place(found, lab, p)]
    notes = []
    start: list[Place] = []
    for place in dead:
        reason = left_alone(lab, place, dead) if place.service == "db" else ""
        notes.append(f"left {place.id}: {reason}" if reason else f"started {place.id}")
        if not reason:
            start.append(place)
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(lambda place: services.start(lab_dir, place, _START_S), start))
    return notes


def left_alone(lab: LabState, place: Place, dead: Iterable[Place]) -> str:
    """Why a dead database must not be started as it was; empty where it may be."""
    if (postgres.pgdata(lab, place) / postgres.FENCED).exists():
        return "fenced; unfence or rejoin it"
    if not postgres.was_primary(lab, place):
        return ""
    others = [p for p in lab.databases if p.system == place.system and p != place]
    gone = set(dead)
    if any(_lives_as_primary(lab, p) for p in others if p not in gone):
        return "another primary of its service lives; rejoin it"
    timeline = postgres.timeline(lab, place)
    if any(postgres.was_primary(lab, p) and postgres.timeline(lab, p) > timeline for p in others if p in gone):
        return "another one of its service was primary after it; rejoin it"
    return ""


def _lives_as_primary(lab: LabState, place: Place) -> bool:
    """Whether a running database is a primary; one that does not answer is judged by what its folder says."""
    import psycopg

    try:
        with postgres.session(lab, place) as session:
            row = session.execute("SELECT NOT pg_is_in_recovery()").fetchone()
    except psycopg.Error:
        return postgres.was_primary(lab, place)
    return bool(row and row[0])


def _resume(lab: LabState) -> list[str]:
    import psycopg

    notes = []
    for place in lab.databases:
        with contextlib.suppress(psycopg.Error), postgres.session(lab, place) as session:
            paused = session.execute(
                "SELECT pg_wal_replay_resume() WHERE CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END"
            ).fetchone()
            if paused:
                notes.append(f"resumed replay at {place.id}")
    return notes
