"""Who takes part in a plan: lost centres, the one that takes over, systems, and how each service moves. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from orchestrator.errors import Refused, guess
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Verb
from orchestrator.model.request import Request
from orchestrator.model.runbook import LostRule, Runbook, SystemRule, TargetRule
from orchestrator.model.topology import CentreRole, Frozen, Nature, Service, System, Topology
from orchestrator.planning.situation import (
    DataMove,
    Feed,
    Standing,
    declared_primary,
    home_feeds,
    interim_feeds,
    stand,
    streams,
)
from orchestrator.planning.system_view import Movement, data_behind


class Decision(Frozen, kw_only=True):
    """What the scenario comes to in this estate."""

    movement: Movement
    systems: tuple[str, ...]
    """In the plan; those that others depend on come first."""
    moves: Mapping[str, DataMove]
    """Every replicated service that a system in the plan stands on, by id."""


def decide(topology: Topology, snapshot: Snapshot | None, runbook: Runbook, request: Request) -> Decision:
    """Settle the words of the request against the estate as it stands.

    Raises:
        Refused: a word names nothing, the words do not fit the scenario, nothing is affected, or it cannot be told how
            a service stands.
    """
    _check_words(topology, runbook, request)
    asked = [topology.system_by_id[s] for s in sorted(set(request.systems))] or list(topology.systems)
    standings = _standings(topology, asked, snapshot)
    target = _target(topology, runbook, request, [s for s in standings.values() if s.service.system in _ids(asked)])
    lost = tuple(sorted(set(request.lost)))
    movement = Movement(
        topology=topology,
        snapshot=snapshot,
        lost=lost,
        target=target,
        fault=bool(request.fault),
        attested=tuple(sorted(set(request.attested))),
    )
    chosen = [s for s in asked if _affected(s, standings, runbook, movement, request)]
    idle = sorted(set(request.systems) - _ids(chosen))
    if idle or not chosen:
        _nothing_to_do(runbook, idle)
    ids = _ids(chosen)
    moves = {
        key: _move(standing, runbook.scope.target if standing.service.system in ids else None, movement, request.target)
        for key, standing in standings.items()
    }
    return Decision(movement=movement, systems=_ordered(topology, chosen), moves=moves)


def _check_words(topology: Topology, runbook: Runbook, request: Request) -> None:
    centres = list(topology.centre_by_id)
    for centre in (*request.lost, *([request.target] if request.target else [])):
        _known("centre", centre, centres)
    for system in request.systems:
        _known("system", system, topology.system_by_id)
    if request.target in request.lost and request.target:
        raise Refused(f"centre {request.target} is lost and cannot take over", hint="name a surviving centre with --to")
    if request.mode not in runbook.scope.modes:
        modes = ", ".join(m.value for m in runbook.scope.modes)
        raise Refused(f"{runbook.id} cannot be carried out as {request.mode.value}", hint=f"--mode takes: {modes}")
    if runbook.scope.systems is SystemRule.NAMED and not request.systems:
        raise Refused(f"{runbook.id} needs --system", hint="name one or more systems")
    if runbook.scope.target is TargetRule.NAMED and not request.target:
        raise Refused(f"{runbook.id} needs --to", hint=f"name the centre that takes over: {', '.join(sorted(centres))}")
    if request.fault and not any(s.verb is Verb.INJECT for s in runbook.steps):
        raise Refused(f"{runbook.id} injects no fault", hint="leave --fault out, or drill `centre-lost`")
    for centre in request.attested:
        if centre not in request.lost:
            raise Refused(
                f"centre {centre} is attested to be off and not named as lost",
                hint=f"add --lost {centre}, or leave it out",
            )
    _check_lost(topology, runbook, request)


def _check_lost(topology: Topology, runbook: Runbook, request: Request) -> None:
    lost, rule = set(request.lost), runbook.scope.lost
    if rule is LostRule.NONE and lost:
        raise Refused(f"{runbook.id} takes no --lost", hint="a lost centre needs `centre-lost` or `site-lost`")
    if rule is not LostRule.NONE and not lost:
        raise Refused(f"{runbook.id} needs --lost", hint=f"name the lost centre: {', '.join(topology.centre_by_id)}")
    if lost and lost >= set(topology.centre_by_id):
        raise Refused("every centre is lost: there is none to take over")
    cities = [{c.id for c in topology.centres if c.site == site.id} for site in topology.sites]
    whole = any(len(city) > 1 and city <= lost for city in cities)
    if rule is LostRule.CENTRE and whole:
        raise Refused(f"a whole city is lost ({', '.join(sorted(lost))})", hint="use the scenario `site-lost`")
    if rule is LostRule.SITE and not any(city and city <= lost for city in cities):
        raise Refused(f"{', '.join(sorted(lost))}: no whole city is lost", hint="use the scenario `centre-lost`")


def _known(what: str, name: str, known: Iterable[str]) -> None:
    names = set(known)
    if name not in names:
        raise Refused(f"no {what} {name!r}", hint=guess(name, names))


def _standings(topology: Topology, systems: Sequence[System], snapshot: Snapshot | None) -> dict[str, Standing]:
    """How every replicated service stands that these systems hold or call."""
    wanted: dict[str, Service] = {}
    for system in systems:
        for service in system.services:
            key = data_behind(topology, service)
            if key:
                wanted[key] = topology.service_by_id[key]
    found, reasons = {}, []
    for key in sorted(wanted):
        try:
            found[key] = stand(wanted[key], snapshot)
        except Refused as refusal:
            reasons.append(refusal.message)
    if reasons:
        raise Refused(
            "\n  ".join(["it cannot be told how the estate stands", *reasons]), hint="`drctl check` tells more"
        )
    return found


def _target(topology: Topology, runbook: Runbook, request: Request, standings: Sequence[Standing]) -> str:
    """The centre that takes over; empty where the scenario has none, or each service goes to its own."""
    rule = runbook.scope.target
    if request.target or rule in {TargetRule.NONE, TargetRule.NAMED}:
        return request.target
    centres = sorted(topology.centres, key=lambda c: (list(CentreRole).index(c.role), c.id))
    if rule is TargetRule.REMOTE:
        return next((c.id for c in centres if c.role is CentreRole.REMOTE), "")
    if rule is TargetRule.HOME:
        homes = {declared_primary(s.service) for s in standings if declared_primary(s.service) != s.primary}
        return homes.pop() if len(homes) == 1 else ""
    lost = set(request.lost)
    sync = Counter(c for s in standings if s.primary in lost for c in s.sync)
    sites = {topology.centre_by_id[c].site for c in lost}
    there = [c for c in centres if c.id not in lost]
    return min(there, key=lambda c: (-sync[c.id], c.site not in sites, there.index(c))).id


def _affected(
    system: System, standings: Mapping[str, Standing], runbook: Runbook, movement: Movement, request: Request
) -> bool:
    lost, target = set(movement.lost), movement.target
    own = [standings[s.id] for s in system.services if s.nature is Nature.REPLICATED]
    match runbook.scope.target:
        case TargetRule.SURVIVOR:
            called = [standings[k] for s in system.services if (k := data_behind(movement.topology, s))]
            here = {i.centre for s in system.services for i in s.instances} | {s.primary for s in called}
            return bool(here & lost)
        case TargetRule.NAMED:
            named = bool(request.systems)
            return any(s.primary != target and (named or s.service.at(target) is not None) for s in own)
        case TargetRule.HOME:
            return any(_goes_home(s, request.target) for s in own)
        case TargetRule.REMOTE:
            return any(s.primary != target and s.service.at(target) is not None for s in own)
        case TargetRule.NONE:
            return any(_move(s, TargetRule.NONE, movement).missing for s in own)


def _goes_home(standing: Standing, only: str) -> bool:
    home = declared_primary(standing.service)
    return home != standing.primary and only in {"", home}


def _missing(standing: Standing, home: Sequence[Feed], snapshot: Snapshot | None) -> tuple[str, ...]:
    """Centres whose copy does not stream, or is to be sync and is not; none where nobody looked."""
    if snapshot is None:
        return ()
    idle = {f.target for f in home if streams(snapshot.of(f"{standing.service.id}@{f.target}")) is not True}
    degraded = {f.target for f in home if f.sync and f.target not in standing.sync}
    return tuple(sorted(idle | degraded))


def _move(standing: Standing, rule: TargetRule | None, movement: Movement, only: str = "") -> DataMove:
    """How one service moves; `rule` None: it is not in the plan, `only`: the one centre to which primaries go home."""
    primary = _new_primary(standing, rule, movement, only)
    known = primary or standing.primary  # none survives: the gate `candidate-ready` says so
    home = home_feeds(movement.topology, standing, known, movement.lost)
    missing = _missing(standing, home, movement.snapshot)
    returning = missing if rule is TargetRule.NONE else movement.lost
    return DataMove(
        standing=standing,
        new_primary=primary,
        lost=movement.lost,
        home=home,
        interim=interim_feeds(standing, known, returning, home),
        missing=missing,
    )


def _new_primary(standing: Standing, rule: TargetRule | None, movement: Movement, only: str) -> str:
    """Where the primary is to stand; one without a copy there is refused by the gate `candidate-ready`."""
    if rule is TargetRule.SURVIVOR and standing.primary in movement.lost:
        return _survivor(standing, movement)
    if rule is TargetRule.NAMED:
        return movement.target
    if rule is TargetRule.HOME and _goes_home(standing, only):
        return declared_primary(standing.service)
    return standing.primary


def _survivor(standing: Standing, movement: Movement) -> str:
    """The target; for a service without a copy there its sync standby, one in the same city, or any; empty: none."""
    topology, primary = movement.topology, standing.primary
    there = sorted(i.centre for i in standing.service.instances if i.centre not in movement.lost)
    if movement.target in there:
        return movement.target
    return min(there, key=lambda c: (c not in standing.sync, not topology.same_site(c, primary), c), default="")


def _nothing_to_do(runbook: Runbook, idle: Sequence[str]) -> None:
    if idle:
        raise Refused(f"{runbook.id} does not concern {', '.join(idle)}", hint="leave it out of --system")
    raise Refused(f"{runbook.id}: no system is affected", hint="`drctl check` shows how the estate stands")


def _ids(systems: Iterable[System]) -> set[str]:
    return {s.id for s in systems}


def _ordered(topology: Topology, systems: Collection[System]) -> tuple[str, ...]:
    """Ids of systems, those that others depend on first; by id where neither depends on the other."""
    depth: dict[str, int] = {}

    def measure(system: str, above: tuple[str, ...]) -> int:
        if system not in depth and system not in above:
            below = topology.system_by_id[system].depends_on
            depth[system] = 1 + max((measure(d, (*above, system)) for d in below), default=-1)
        return depth.get(system, 0)

    return tuple(sorted(_ids(systems), key=lambda s: (measure(s, ()), s)))
