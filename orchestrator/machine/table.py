"""Actions: what each verb needs of the world, and what it does to it. One table; pure.

The precondition is the technology's own (a primary cannot be repointed, a dead server cannot be promoted), not the
gate of a step: what licenses a step stands in its plan. Every action is idempotent, and a node that has seen a later
epoch refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from orchestrator.machine.world import (
    HERE,
    Ground,
    Node,
    Power,
    World,
    at,
    connected,
    family,
    settle,
    streams,
    would_take,
)
from orchestrator.model.plan import Step, Undo, Verb
from orchestrator.model.topology import Frozen, Nature, Role


class Act(Frozen, kw_only=True):
    """An action on one node."""

    verb: Verb
    instance: str
    towards: tuple[str, ...] = ()
    """Centres."""
    mode: str = ""
    """Of `rejoin`: `sync` makes the source wait for it."""
    epoch: int = 0


Needs = Callable[[Ground, World, Node, Act], str]
"""Why it cannot act now; empty where it can."""
Effect = Callable[[Ground, World, Node, Act], dict[str, Node]]
"""The nodes that are another one afterwards, by id."""


class Action(Frozen, kw_only=True):
    """A row of the table."""

    needs: Needs
    effect: Effect
    natures: frozenset[Nature] = frozenset(Nature)
    """What has such an action at all."""
    host: bool = False
    """Acts on the host, so that the instance need not run."""


def act_of(ground: Ground, step: Step | Undo, epoch: int = 0) -> Act:
    """The action of a step, or of its way back."""
    centres = tuple(ground.topology.instance_by_id[t].centre for t in step.towards)
    mode = next((s.value for s in step.params if s.name == "mode"), "")
    return Act(verb=step.verb, instance=step.instance, towards=centres, mode=mode, epoch=epoch)


def refusal(ground: Ground, world: World, act: Act) -> str:
    """Why an action has no effect now; empty where it has one."""
    action, node = ACTIONS[act.verb], world.nodes[ground.index[act.instance]]
    if node.nature not in action.natures:
        return f"{node.id} has no {act.verb.value}"
    if not connected(world, HERE, node.centre) and not _at_source(act, node):
        return f"{node.id} is dark"
    if node.epoch > act.epoch:
        return f"{node.id} has seen epoch {node.epoch}"
    if not action.host and node.power is not Power.UP and not _at_source(act, node):
        return f"{node.id} is {node.power.value}"
    return action.needs(ground, world, node, act)


def apply(ground: Ground, world: World, act: Act) -> World:
    """The world after an action; unchanged where it is refused."""
    if refusal(ground, world, act):
        return world
    node = world.nodes[ground.index[act.instance]]
    changed = ACTIONS[act.verb].effect(ground, world, node, act)
    touched = _touched(act, node, changed)
    after = (changed.get(n.id, n) for n in world.nodes)
    nodes = tuple(_marked(n, act.epoch) if n.id in touched else n for n in after)
    lost = world.lost | {node.service} if act.verb is Verb.PROMOTE and _gives_up(node) else world.lost
    return settle(ground, replace(world, nodes=nodes, lost=lost))


def failure(ground: Ground, world: World, act: Act) -> str:
    """Why an action is told to have failed though it took effect; empty where it has not.

    Whom a copy receives from is set at once, and then its stream is waited for: its source is asked for it (and, for
    `sync`, told to wait for the copy), so a source that does not answer us makes a failure of what took effect.
    """
    node = world.nodes[ground.index[act.instance]]
    waits = act.verb in {Verb.REPOINT, Verb.REJOIN} and node.nature is Nature.REPLICATED
    if not waits or not act.towards or refusal(ground, world, act):
        return ""
    source = at(ground, world, node.service, act.towards[0])
    if source is None or source.power is not Power.UP or not connected(world, HERE, source.centre):
        return f"{act.instance} follows {act.towards[0]}, which does not answer"
    after = apply(ground, world, act)
    there = after.nodes[ground.index[act.instance]]
    return "" if streams(ground, after, there) else f"{act.instance} does not stream from {act.towards[0]}"


def _touched(act: Act, node: Node, changed: Mapping[str, Node]) -> set[str]:
    """Who learns the epoch: whom the action reaches. The others only mean something else after a promotion."""
    if act.verb is Verb.PROMOTE:
        return {act.instance}
    return set(changed) if _at_source(act, node) else {act.instance, *changed}


def _gives_up(node: Node) -> bool:
    return node.role is not Role.PRIMARY and not node.holds


def _marked(node: Node, epoch: int) -> Node:
    return replace(node, epoch=max(node.epoch, epoch))


def _at_source(act: Act, node: Node) -> bool:
    """Releasing a sync standby acts at its source; the standby itself may be dead."""
    return act.verb is Verb.DEMOTE and bool(act.towards) and node.nature is Nature.REPLICATED


def _nothing(_: Ground, __: World, ___: Node, ____: Act) -> str:
    return ""


def _standby(_: Ground, __: World, node: Node, act: Act) -> str:
    if node.nature is Nature.REPLICATED and node.role is Role.PRIMARY:
        return f"{node.id} is a primary: it receives from nobody"
    return ""


def _source_runs(ground: Ground, world: World, node: Node, act: Act) -> str:
    source = at(ground, world, node.service, act.towards[0]) if act.towards else None
    if source is None or source.power is not Power.UP or not connected(world, HERE, source.centre):
        return f"the source of {node.id} cannot be reached"
    if source.epoch > act.epoch:
        return f"{source.id} has seen epoch {source.epoch}"
    return ""


def _rejoinable(ground: Ground, world: World, node: Node, act: Act) -> str:
    source = at(ground, world, node.service, act.towards[0]) if act.towards else None
    if source is not None and _only_here(node, source):
        return f"{node.id} takes writes, and {source.id} is no newer primary"
    if _follows_by_itself(node) and source is not None and not _in_reach(world, node, source):
        return ""
    if source is not None and not connected(world, node.centre, source.centre):
        return f"{node.id} does not reach its source"
    return _source_runs(ground, world, node, act)


def _follows_by_itself(node: Node) -> bool:
    """A standby that runs is told whom to follow; nothing is done on its host."""
    return node.role is Role.STANDBY and node.power is Power.UP


def _in_reach(world: World, node: Node, source: Node) -> bool:
    """Whether a standby can begin to follow a source."""
    ways = connected(world, HERE, source.centre) and connected(world, node.centre, source.centre)
    return ways and source.power is Power.UP


def _only_here(node: Node, source: Node) -> bool:
    """Whether a rejoin would throw away what is written: in the one place where it is."""
    elsewhere = source.role is Role.PRIMARY and source.timeline >= node.timeline
    return node.power is Power.UP and would_take(node) and not elsewhere


def _no_second(ground: Ground, world: World, node: Node, _: Act) -> str:
    """What was a primary comes back as one only where every other answers, and is none; unknown is not down."""
    if node.role is not Role.PRIMARY or node.nature is not Nature.REPLICATED:
        return ""
    for other in family(ground, world, node.service):
        silent = other.power is Power.FROZEN or not connected(world, HERE, other.centre)
        leads = other.role is Role.PRIMARY and other.power is Power.UP
        if other.id != node.id and (silent or leads):
            return f"{node.id} would be a second primary: {other.id} {'does not answer' if silent else 'is one'}"
    return ""


def _startable(ground: Ground, world: World, node: Node, act: Act) -> str:
    return f"{node.id} is fenced" if node.fenced else _no_second(ground, world, node, act)


def _release_or_runs(ground: Ground, world: World, node: Node, act: Act) -> str:
    return _source_runs(ground, world, node, act) if _at_source(act, node) else ""


def _fence(_: Ground, __: World, node: Node, ___: Act) -> dict[str, Node]:
    return {node.id: replace(node, power=Power.DOWN, fenced=True)}


def _unfence(_: Ground, __: World, node: Node, ___: Act) -> dict[str, Node]:
    return {node.id: replace(node, power=Power.UP, fenced=False, read_only=False)}


def _promote(ground: Ground, world: World, node: Node, _: Act) -> dict[str, Node]:
    """A new line of history begins; who did not receive through the new primary may hold more than it does."""
    if node.role is Role.PRIMARY:
        return {node.id: replace(node, read_only=False)}
    others = [world.nodes[n] for n in ground.family[node.service].values()]
    newest = max(n.timeline for n in others) + 1
    changed = {
        n.id: replace(n, holds=False, forked=n.forked or not _through(ground, world, n, node.centre))
        for n in others
        if n.id != node.id
    }
    changed[node.id] = replace(
        node, role=Role.PRIMARY, upstream="", sync=(), read_only=False, timeline=newest, holds=True, forked=False
    )
    return changed


def _through(ground: Ground, world: World, node: Node, centre: str) -> bool:
    """Whether all that a standby has came through the standby in `centre`."""
    seen: set[str] = set()
    upstream = node.upstream if node.role is not Role.PRIMARY else ""
    while upstream and upstream != centre and upstream not in seen:
        seen.add(upstream)
        above = at(ground, world, node.service, upstream)
        upstream = above.upstream if above and above.role is not Role.PRIMARY else ""
    return upstream == centre


def _demote(ground: Ground, world: World, node: Node, act: Act) -> dict[str, Node]:
    if _at_source(act, node):
        source = at(ground, world, node.service, act.towards[0])
        assert source is not None
        return {source.id: replace(source, sync=tuple(c for c in source.sync if c != node.centre))}
    return {node.id: replace(node, read_only=True)} if node.role is Role.PRIMARY else {}


def _repoint(_: Ground, __: World, node: Node, act: Act) -> dict[str, Node]:
    return {node.id: replace(node, upstream=act.towards[0] if act.towards else "")}


def _rejoin(ground: Ground, world: World, node: Node, act: Act) -> dict[str, Node]:
    source = at(ground, world, node.service, act.towards[0])
    assert source is not None
    if not _in_reach(world, node, source):
        return {node.id: replace(node, upstream=source.centre)}
    back = replace(
        node,
        role=Role.STANDBY,
        power=Power.UP,
        fenced=False,
        read_only=False,
        upstream=source.centre,
        sync=(),
        timeline=source.timeline,
        holds=False,
        forked=False,
    )
    if act.mode != "sync" or node.centre in source.sync:
        return {node.id: back}
    return {node.id: back, source.id: replace(source, sync=(*source.sync, node.centre))}


def _redirect(_: Ground, __: World, node: Node, act: Act) -> dict[str, Node]:
    return {node.id: replace(node, routes=tuple(sorted(act.towards)))}


def _start(_: Ground, __: World, node: Node, act: Act) -> dict[str, Node]:
    upstream = act.towards[0] if act.towards else node.upstream
    return {node.id: replace(node, power=Power.UP, upstream=upstream)}


def _stop(_: Ground, __: World, node: Node, ___: Act) -> dict[str, Node]:
    """An app that serves nobody stays at hand; a database is stopped."""
    if node.nature is Nature.ACTIVE:
        return {node.id: replace(node, upstream="")}
    return {node.id: replace(node, power=Power.DOWN)}


def _leave(_: Ground, __: World, ___: Node, ____: Act) -> dict[str, Node]:
    """A playbook of the operator's own: its effect is its own business, and no invariant rests on it."""
    return {}


_DATA = frozenset({Nature.REPLICATED})
_PROCESSES = frozenset({Nature.REPLICATED, Nature.ACTIVE})
_ENTRIES = frozenset({Nature.ROUTE})

ACTIONS: Mapping[Verb, Action] = {
    Verb.FENCE: Action(needs=_nothing, effect=_fence, natures=_DATA, host=True),
    Verb.UNFENCE: Action(needs=_no_second, effect=_unfence, natures=_DATA, host=True),
    Verb.PROMOTE: Action(needs=_nothing, effect=_promote, natures=_DATA),
    Verb.DEMOTE: Action(needs=_release_or_runs, effect=_demote, natures=_DATA),
    Verb.REPOINT: Action(needs=_standby, effect=_repoint, natures=_PROCESSES),
    Verb.REJOIN: Action(needs=_rejoinable, effect=_rejoin, natures=_DATA, host=True),
    Verb.REDIRECT: Action(needs=_nothing, effect=_redirect, natures=_ENTRIES),
    Verb.START: Action(needs=_startable, effect=_start, natures=_PROCESSES, host=True),
    Verb.STOP: Action(needs=_nothing, effect=_stop, natures=_PROCESSES, host=True),
    Verb.RUN_PLAYBOOK: Action(needs=_nothing, effect=_leave, host=True),
}
