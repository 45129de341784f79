"""The safety invariants of the design, each one named predicate. Pure.

A predicate gives what is wrong, in words, or an empty text. Numbers are those of the design. Not here, because no
state shows them: 4 (unknown is not down) is judged on a step's looks, 7 (refused touches nothing) on a whole run, 8
(works with the lost site dark) on a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.machine.table import Act
from orchestrator.machine.world import Ground, Node, Power, World, at, can_acknowledge, family, streams, would_take
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Nature, Role

StatePredicate = Callable[[Ground, World], str]
ActPredicate = Callable[[Ground, World, Act, bool], str]
"""ground, the world in which the action takes effect, the action, whether a loss was accepted."""


def one_acknowledger(ground: Ground, world: World) -> str:
    """1: at most one writable, unfenced primary per service; one that can tell no client "kept" is not writable."""
    for service in ground.data:
        able = [n.id for n in family(ground, world, service) if can_acknowledge(ground, world, n)]
        if len(able) > 1:
            return f"{' and '.join(able)} can both acknowledge writes"
    return ""


def promotion_licensed(ground: Ground, world: World, act: Act, _: bool) -> str:
    """2: nothing is promoted while another could still acknowledge; what is open for writes is not promoted by it."""
    node = world.nodes[ground.index[act.instance]]
    if act.verb is not Verb.PROMOTE or (node.role is Role.PRIMARY and not node.read_only):
        return ""
    able = [n.id for n in _others(ground, world, node) if can_acknowledge(ground, world, n)]
    return f"{node.id} is promoted while {' and '.join(able)} can acknowledge writes" if able else ""


def promotion_keeps_all(ground: Ground, world: World, act: Act, loss_accepted: bool) -> str:
    """3: a promotion without an accepted loss holds everything acknowledged."""
    node = world.nodes[ground.index[act.instance]]
    if act.verb is not Verb.PROMOTE or loss_accepted or node.holds or node.role is Role.PRIMARY:
        return ""
    return f"{node.id} is promoted and may not hold every acknowledged write, and nobody accepted a loss"


def users_led_to_the_primary(ground: Ground, world: World, act: Act, _: bool) -> str:
    """5: an entry is pointed only at apps that call the one primary that takes writes."""
    if act.verb is not Verb.REDIRECT:
        return ""
    entry = world.nodes[ground.index[act.instance]]
    apps = ground.behind.get(entry.service, "")
    for centre in act.towards:
        app = at(ground, world, apps, centre)
        if app is not None and (wrong := _serves_wrongly(ground, world, app)):
            return f"{entry.id} sends users to {app.id}, {wrong}"
    return ""


def _serves_wrongly(ground: Ground, world: World, app: Node) -> str:
    if app.nature is not Nature.ACTIVE:
        return ""
    database = ground.behind.get(app.service, "")
    if not database:
        return ""
    called = at(ground, world, database, app.upstream)
    if called is None:
        return "which calls no database"
    return "" if would_take(called) else f"which calls {called.id}, and that takes no writes"


def three_copies(ground: Ground, world: World) -> str:
    """6: one primary takes writes, and every other instance of the service follows it, a sync one included."""
    for service in ground.data:
        members = family(ground, world, service)
        primaries = [n for n in members if would_take(n) and n.power is Power.UP]
        if len(primaries) != 1:
            return f"{service} has {len(primaries)} primaries"
        apart = [n.id for n in members if n is not primaries[0] and not _follows(ground, world, n, primaries[0])]
        if apart:
            return f"{' and '.join(apart)} do not follow {primaries[0].id}"
        if primaries[0].sync and not can_acknowledge(ground, world, primaries[0]):
            return f"{primaries[0].id} waits for {', '.join(primaries[0].sync)}, which is absent"
    return ""


def _follows(ground: Ground, world: World, node: Node, primary: Node) -> bool:
    seen: set[str] = set()
    while node.id not in seen:
        seen.add(node.id)
        if not streams(ground, world, node):
            return False
        above = at(ground, world, node.service, node.upstream)
        assert above is not None
        if above.id == primary.id:
            return True
        node = above
    return False


def _others(ground: Ground, world: World, node: Node) -> tuple[Node, ...]:
    return tuple(n for n in family(ground, world, node.service) if n.id != node.id)


ALWAYS: Mapping[str, StatePredicate] = {"one-acknowledger": one_acknowledger}
"""Hold in every state."""
ON_ACTION: Mapping[str, ActPredicate] = {
    "promotion-licensed": promotion_licensed,
    "promotion-keeps-all": promotion_keeps_all,
    "users-led-to-the-primary": users_led_to_the_primary,
}
"""Hold wherever an action takes effect."""
WHEN_DONE: Mapping[str, StatePredicate] = {"three-copies": three_copies}
"""Hold where a run calls itself done and the world did nothing more."""
