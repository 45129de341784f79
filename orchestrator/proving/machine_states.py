"""The state machine itself: every state that one service over three centres can come to, and no harm in any. Pure.

Actions as the table has them, each under the licence that the gates of the shipped runbooks give it, judged by the
shipped checks; faults as the table has them, at most `FAULTS_MAX` in force at once. No plan is asked: whatever may be
done is done, in any order. What an action promises is not believed: its licence is what was seen.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.checks.conditions import Evidence, judge
from orchestrator.machine.faults import Fault, heal, strike
from orchestrator.machine.invariants import ALWAYS, ON_ACTION
from orchestrator.machine.looks import look
from orchestrator.machine.table import Act, apply, refusal
from orchestrator.machine.world import HERE, Ground, Node, Power, World, can_acknowledge, family
from orchestrator.model.certificate import MachineStates, Transition
from orchestrator.model.observation import Reach, Snapshot, Verdict
from orchestrator.model.plan import Condition, Fact, Verb
from orchestrator.model.topology import (
    Centre,
    CentreRole,
    CopyMode,
    Instance,
    Nature,
    Objective,
    Replication,
    Role,
    Service,
    Site,
    System,
    Text,
    Topology,
)
from orchestrator.proving.worlds import AT

CENTRES = ("a", "b", "c")
FAULTS_MAX = 1
"""Centres that are down, frozen or dark, and links that are cut, at once."""
SERVICE = "s/db"


class _Done(NamedTuple):
    world: World
    label: str
    wrong: str


def enumerate_machine(states_max: int | None = None) -> MachineStates:
    """Reachable states, with their counts by class.

    Args:
        states_max: only the first so many, nearest to the beginning; None: all.
    """
    ground = Ground(_topology(), ["s"])
    first = _plain(ground.declared())
    seen, todo = {first}, deque([first])
    transitions, violations = 0, list[str]()
    edges: Counter[tuple[str, str, str]] = Counter()
    while todo and (states_max is None or len(seen) <= states_max):
        world = todo.popleft()
        for done in _nexts(ground, world):
            transitions += 1
            edges[_class(ground, world), done.label, _class(ground, done.world)] += 1
            wrong = done.wrong or next((t for p in ALWAYS.values() if (t := p(ground, done.world))), "")
            if wrong:
                violations.append(f"{done.label}: {wrong}")
            elif done.world not in seen:
                seen.add(done.world)
                todo.append(done.world)
    return MachineStates(
        states=len(seen),
        transitions=transitions,
        violations=tuple(violations),
        faults_at_once=FAULTS_MAX,
        classes=tuple(sorted({_class(ground, w) for w in seen})),
        moves=tuple(Transition(source=a, label=b, target=c, times=n) for (a, b, c), n in sorted(edges.items())),
    )


def _nexts(ground: Ground, world: World) -> Iterator[_Done]:
    snapshot = look(ground, world, AT)
    for act in _acts(ground):
        if refusal(ground, world, act):
            continue
        for accepted in (False, True):
            if _licensed(ground, world, snapshot, act, accepted):
                broken = (t for p in ON_ACTION.values() if (t := p(ground, world, act, accepted)))
                yield _Done(_plain(apply(ground, world, act)), act.verb.value, next(broken, ""))
                break
    if _in_force(world) < FAULTS_MAX:
        for name in ("kill-centre", "freeze-centre", "darken"):
            for centre in CENTRES:
                yield _Done(_plain(strike(ground, world, Fault(name=name, place=centre))), name, "")
        for link in ("a-b", "b-c", "a-c"):
            yield _Done(_plain(strike(ground, world, Fault(name="cut-link", place=link))), "cut-link", "")
    for centre in sorted({n.centre for n in world.nodes if n.power is Power.FROZEN}):
        yield _Done(_plain(strike(ground, world, Fault(name="thaw-centre", place=centre))), "thaw-centre", "")
    yield _Done(_plain(heal(ground, world)), "heal", "")


def _acts(ground: Ground) -> Iterator[Act]:
    for node in ground.index:
        others = [c for c in CENTRES if not node.endswith(f"@{c}")]
        for verb in (Verb.FENCE, Verb.UNFENCE, Verb.PROMOTE, Verb.DEMOTE, Verb.STOP, Verb.START):
            yield Act(verb=verb, instance=node)
        yield Act(verb=Verb.REPOINT, instance=node)
        for centre in others:
            yield Act(verb=Verb.REPOINT, instance=node, towards=(centre,))
            yield Act(verb=Verb.DEMOTE, instance=node, towards=(centre,))
            yield Act(verb=Verb.REJOIN, instance=node, towards=(centre,))
            if node.rpartition("@")[2] != "c":  # synchronous copying across cities is never switched on
                yield Act(verb=Verb.REJOIN, instance=node, towards=(centre,), mode="sync")


def _licensed(ground: Ground, world: World, now: Snapshot, act: Act, accepted: bool) -> bool:
    licence = LICENCES.get(act.verb)
    return not accepted if licence is None else licence(ground, world, now, act, accepted)


def _promotion(ground: Ground, world: World, now: Snapshot, act: Act, accepted: bool) -> bool:
    """As the runbooks gate it: nobody else can acknowledge, and everything is held or the old one is fenced first."""
    olds = [n.id for n in family(ground, world, SERVICE) if n.id != act.instance and n.role is Role.PRIMARY]
    asked = [Condition(fact=Fact.CANNOT_ACK, instance=o, others=(act.instance,)) for o in olds]
    if accepted:
        asked += [Condition(fact=Fact.FENCED, instance=o) for o in olds]
        asked.append(Condition(fact=Fact.DETACHED, instance=act.instance))
    else:
        asked.append(Condition(fact=Fact.HOLDS_ALL, instance=act.instance, others=tuple(olds)))
    return bool(olds) and _pass(ground, world, now, asked)


def _rejoin(ground: Ground, world: World, now: Snapshot, act: Act, accepted: bool) -> bool:
    """Towards what is seen to be the one primary; what comes back loses what it has beyond it."""
    source = f"{SERVICE}@{act.towards[0]}"
    asked = [Condition(fact=Fact.WRITABLE_PRIMARY, instance=source)]
    return not accepted and _pass(ground, world, now, asked) and _no_other_leads(world, now, source)


def _release(ground: Ground, world: World, now: Snapshot, act: Act, accepted: bool) -> bool:
    """A primary is demoted at will; to stop waiting for a standby needs to know that nobody else leads."""
    if accepted:
        return False
    if not act.towards:
        return True
    source = f"{SERVICE}@{act.towards[0]}"
    return _pass(ground, world, now, [Condition(fact=Fact.WRITABLE_PRIMARY, instance=source)]) and _no_other_leads(
        world, now, source
    )


def _unfence(ground: Ground, world: World, now: Snapshot, act: Act, accepted: bool) -> bool:
    """Undone only while nothing was promoted instead, as seen."""
    return not accepted and _no_other_leads(world, now, act.instance)


def _no_other_leads(world: World, now: Snapshot, instance: str) -> bool:
    """Every other instance answers, and is a standby; what does not answer may lead."""
    others = [now.of(n.id) for n in world.nodes if n.id != instance]
    return all(r.reach is Reach.ANSWERED and r.role is Role.STANDBY for r in others)


def _pass(ground: Ground, world: World, now: Snapshot, conditions: list[Condition]) -> bool:
    fenced = frozenset(n.id for n in world.nodes if n.fenced)
    evidence = Evidence(topology=ground.topology, now=now, before=None, fenced=fenced, epoch=0)
    return all(judge(c, evidence).verdict is Verdict.PASS for c in conditions)


LICENCES = {
    Verb.PROMOTE: _promotion,
    Verb.REJOIN: _rejoin,
    Verb.DEMOTE: _release,
    Verb.UNFENCE: _unfence,
}


def _in_force(world: World) -> int:
    centres = {n.centre for n in world.nodes if n.power is not Power.UP and not n.fenced}
    dark = {c for pair in world.cut for c in pair if HERE in pair} - {HERE}
    links = {tuple(sorted(pair)) for pair in world.cut if HERE not in pair}
    return len(centres | dark) + len(links)


def _plain(world: World) -> World:
    """Timelines counted anew, so that they stay few: only which is older than which matters. Losses are forgotten."""
    ranks = {t: n for n, t in enumerate(sorted({n.timeline for n in world.nodes}), 1)}
    return replace(
        world, nodes=tuple(replace(n, timeline=ranks[n.timeline], epoch=0) for n in world.nodes), lost=frozenset()
    )


def _class(ground: Ground, world: World) -> str:
    """A state as a person names it: each centre's role and standing."""
    return " ".join(_word(ground, world, n) for n in world.nodes)


def _word(ground: Ground, world: World, node: Node) -> str:
    if node.fenced:
        return f"{node.centre}:fenced"
    if node.power is Power.DOWN:
        return f"{node.centre}:down"
    if node.role is Role.PRIMARY:
        return f"{node.centre}:{'primary' if can_acknowledge(ground, world, node) else 'mute primary'}"
    return f"{node.centre}:standby"


def _topology() -> Topology:
    instances = tuple(
        Instance(
            id=f"{SERVICE}@{c}", service=SERVICE, centre=c, role=Role.PRIMARY if c == "a" else Role.STANDBY, address=""
        )
        for c in CENTRES
    )
    service = Service(
        id=SERVICE,
        system="s",
        name="db",
        kind="data",
        nature=Nature.REPLICATED,
        instances=instances,
        replications=(
            Replication(source="a", target="b", mode=CopyMode.SYNC, lag_max_s=0.0),
            Replication(source="b", target="c", mode=CopyMode.ASYNC, lag_max_s=30.0),
        ),
    )
    target = Objective(rto_s=60.0, rpo_s=0.0)
    system = System(
        id="s",
        name=_same("s"),
        tier=1,
        owner=_same("s"),
        filing="",
        centre_loss=target,
        site_loss=target,
        depends_on=(),
        services=(service,),
    )
    roles: Mapping[str, tuple[str, CentreRole]] = {
        "a": ("near", CentreRole.PRODUCTION),
        "b": ("near", CentreRole.METRO),
        "c": ("far", CentreRole.REMOTE),
    }
    return Topology(
        id="three-centres",
        name=_same("three centres"),
        sites=(Site(id="near", name=_same("near")), Site(id="far", name=_same("far"))),
        centres=tuple(Centre(id=c, site=s, role=r, name=_same(c)) for c, (s, r) in roles.items()),
        links=(),
        systems=(system,),
    )


def _same(text: str) -> Text:
    return Text(en=text, zh=text)
