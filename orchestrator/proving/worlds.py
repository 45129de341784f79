"""The worlds that a search meets, as small numbers; every action, fault and look is reckoned once. Pure.

A world is a tuple: first what is cut, then one piece for each replicated service, each app and each entry. Pieces are
coupled by nothing but what is cut and by looks, so what an action does to a piece is remembered by (action, cut, piece)
alone. Everything that is decided here is decided by the tables of `machine` and by the shipped checks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.checks.conditions import Evidence, judge
from orchestrator.machine import looks
from orchestrator.machine.faults import FAULTS, Fault, heal, strike
from orchestrator.machine.invariants import ALWAYS, ON_ACTION, WHEN_DONE
from orchestrator.machine.table import Act, apply, failure, refusal
from orchestrator.machine.world import HERE, Ground, Node, Power, World
from orchestrator.model.observation import Finding, Snapshot, Verdict
from orchestrator.model.plan import Condition, Verb
from orchestrator.model.topology import Service
from orchestrator.proving.pieces import hangs, pieces

REFUSED = -1
"""An action that has no effect, and is told so."""
HANGS = -2
"""An action that nobody answers: it may yet take effect when what is frozen or dark comes back."""
AT = "2000-01-01T00:00:00+00:00"
"""Time stands still here: the look before is as old as the look now."""
ON_REDIRECT = "users-led-to-the-primary"

Judge = Callable[[Condition, Evidence], Finding]
Packed = tuple[int, ...]


class Deed(NamedTuple):
    """What an order does when it takes effect."""

    act: Act | None
    """None: `faults` are put in force, or all are taken away where there are none."""
    faults: tuple[Fault, ...] = ()
    loss_accepted: bool = False
    idle: bool = False
    """Changes nothing that is in this model (a playbook of the operator's own)."""


class Worlds:
    """Worlds of some services; numbers stand for what was met before."""

    def __init__(
        self,
        ground: Ground,
        concerned: Collection[str],
        before: World,
        judged: Judge = judge,
        attested: Collection[str] = (),
    ) -> None:
        """
        Args:
            ground: the services.
            concerned: instances of apps and entries that anything depends on; all others stay as in `before`.
            before: the world at the look before the loss.
            judged: judges a condition.
            attested: centres that people attest to be off.
        """
        self.ground, self._before, self._judge = ground, before, judged
        self.attested = frozenset(attested)
        self.pieces = tuple(pieces(ground, concerned))
        self.place = {name: k for k, piece in enumerate(self.pieces, 1) for name in piece.nodes}
        self.look_before = looks.look(ground, before, AT)
        self._cuts: list[frozenset[tuple[str, str]]] = []
        self._cut_no: dict[frozenset[tuple[str, str]], int] = {}
        self._parts: list[list[World]] = [[] for _ in range(len(self.pieces) + 1)]
        self._part_no: list[dict[World, int]] = [{} for _ in range(len(self.pieces) + 1)]
        self._worlds: list[Packed] = []
        self._world_no: dict[Packed, int] = {}
        self.deeds: list[Deed] = []
        self._deed_no: dict[Deed, int] = {}
        self._applied: dict[tuple[int, int, bool], int] = {}
        self._acts: dict[tuple[int, bool, int, int], int] = {}
        self._fails: dict[tuple[int, int], bool] = {}
        self._outdated: dict[tuple[int, int], bool] = {}
        self._strikes: dict[tuple[int, tuple[Fault, ...], int, int], int] = {}
        self._struck: dict[tuple[tuple[Fault, ...], int], int] = {}
        self._youth: dict[int, int] = {}
        self._asked: dict[Condition, _Asked] = {}
        self._wrong: dict[tuple[int, int, int], tuple[str, str] | None] = {}
        self._wrong_worlds: dict[int, tuple[str, str] | None] = {}
        self._wrong_ends: dict[int, tuple[str, str] | None] = {}
        self._data = tuple(k for k, piece in enumerate(self.pieces, 1) if piece.ground.data)
        self._wrong_acts: dict[tuple[int, int], tuple[str, str] | None] = {}

    def __len__(self) -> int:
        return len(self._worlds)

    def number(self, world: World) -> int:
        """The number of a world."""
        of = {n.id: n for n in world.nodes}
        parts = [self._cut(world.cut)]
        for k, piece in enumerate(self.pieces, 1):
            lost = frozenset(s.id for s in piece.ground.services) & world.lost
            parts.append(self._part(k, World(nodes=tuple(of[n] for n in piece.nodes), lost=lost)))
        return self._number(tuple(parts))

    def world(self, number: int) -> World:
        """The world of a number."""
        packed = self._worlds[number]
        met = {n.id: n for k, part in enumerate(packed[1:], 1) for n in self._parts[k][part].nodes}
        lost = frozenset(s for k, part in enumerate(packed[1:], 1) for s in self._parts[k][part].lost)
        nodes = tuple(met.get(n.id, n) for n in self._before.nodes)
        return World(nodes=nodes, cut=self._cuts[packed[0]], lost=lost)

    def deed(self, deed: Deed) -> int:
        """The number of a deed."""
        found = self._deed_no.get(deed)
        if found is None:
            found = self._deed_no[deed] = len(self.deeds)
            self.deeds.append(deed)
        return found

    def apply(self, number: int, deed_no: int, late: bool = False) -> int:
        """The world after a deed, or REFUSED, or HANGS.

        Args:
            number: the world.
            deed_no: what takes effect.
            late: the order reached its host a while ago, so that darkness does not stop it.
        """
        key = (number, deed_no, late)
        found = self._applied.get(key)
        if found is None:
            found = self._applied[key] = self._after(number, deed_no, late)
        return found

    def _after(self, number: int, deed_no: int, late: bool) -> int:
        deed = self.deeds[deed_no]
        if deed.idle:
            return number
        if deed.act is None:
            return self.strike(number, deed.faults)
        packed, k = self._worlds[number], self.place[deed.act.instance]
        key = (deed_no, late, packed[0], packed[k])
        found = self._acts.get(key)
        if found is None:
            found = self._acts[key] = self._apply(deed.act, late, packed[0], k, packed[k])
        return found if found < 0 else self._number((*packed[:k], found, *packed[k + 1 :]))

    def fails(self, number: int, deed_no: int) -> bool:
        """Whether a deed that takes effect is told to have failed."""
        key = (number, deed_no)
        found = self._fails.get(key)
        if found is None:
            deed = self.deeds[deed_no]
            found = False
            if deed.act is not None and not deed.idle:
                packed, k = self._worlds[number], self.place[deed.act.instance]
                found = bool(failure(self.pieces[k - 1].ground, self.part_world(k, packed), deed.act))
            self._fails[key] = found
        return found

    def strike(self, number: int, faults: tuple[Fault, ...]) -> int:
        """The world after some faults; after none of them, the world with every fault taken away."""
        packed = self._worlds[number]
        cut = self._struck.get((faults, packed[0]))
        if cut is None:
            cut = self._struck[faults, packed[0]] = self._cut(self._cut_after(faults, self._cuts[packed[0]]))
        parts = (self._hit(k, faults, packed[0], packed[k]) for k in range(1, len(packed)))
        return self._number((cut, *parts))

    def verdict(self, number: int, condition: Condition, fenced: bool) -> Verdict:
        """What the shipped judge says of a condition, by a look at this world.

        Args:
            number: the world.
            condition: names instances of these services.
            fenced: whether a fence of this run is done on the condition's instance.
        """
        asked = self._asked.get(condition)
        if asked is None:
            asked = self._asked[condition] = _Asked(self, condition)
        packed = self._worlds[number]
        key = (fenced, *[packed[k] for k in asked.places])
        found = asked.known.get(key)
        if found is None:
            found = asked.known[key] = asked.judge(packed, fenced)
        return found

    def young(self, number: int) -> int:
        """The world with every epoch of the run told as its first: where nothing of an earlier epoch is on its way."""
        found = self._youth.get(number)
        if found is None:
            found = self._youth[number] = self._younger(number)
        return found

    def _younger(self, number: int) -> int:
        packed = self._worlds[number]
        parts = [self._parts[k][part] for k, part in enumerate(packed[1:], 1)]
        if all(n.epoch < 2 for part in parts for n in part.nodes):
            return number
        fresh = (replace(p, nodes=tuple(replace(n, epoch=min(n.epoch, 1)) for n in p.nodes)) for p in parts)
        return self._number((packed[0], *(self._part(k, part) for k, part in enumerate(fresh, 1))))

    def frozen_centres(self, number: int) -> tuple[str, ...]:
        """Centres in which something stands still, and may go on at any moment."""
        packed = self._worlds[number]
        nodes = (n for k, part in enumerate(packed[1:], 1) for n in self._parts[k][part].nodes)
        return tuple(sorted({n.centre for n in nodes if n.power is Power.FROZEN}))

    def wrong(self, number: int) -> tuple[str, str] | None:
        """The invariant of every state that this one breaks, and how."""
        if number not in self._wrong_worlds:
            self._wrong_worlds[number] = self._judged_world(number)
        return self._wrong_worlds[number]

    def _judged_world(self, number: int) -> tuple[str, str] | None:
        packed = self._worlds[number]
        for k in self._data:
            key = (k, packed[0], packed[k])
            if key not in self._wrong:
                self._wrong[key] = self._first(ALWAYS, k, packed)
            if self._wrong[key]:
                return self._wrong[key]
        return None

    def wrong_when_done(self, number: int) -> tuple[str, str] | None:
        """The invariant of a finished run that this world breaks, and how."""
        if number not in self._wrong_ends:
            packed = self._worlds[number]
            found = (wrong for k in self._data if (wrong := self._first(WHEN_DONE, k, packed)))
            self._wrong_ends[number] = next(found, None)
        return self._wrong_ends[number]

    def wrong_act(self, number: int, deed_no: int) -> tuple[str, str] | None:
        """The invariant that breaks where a deed takes effect in this world, and how."""
        deed = self.deeds[deed_no]
        if deed.act is None or deed.act.verb not in {Verb.PROMOTE, Verb.REDIRECT}:
            return None
        key = (deed_no, number)
        if key not in self._wrong_acts:
            world = self.world(number)
            found = (
                (name, text)
                for name, predicate in ON_ACTION.items()
                if (text := predicate(self.ground, world, deed.act, deed.loss_accepted))
            )
            self._wrong_acts[key] = next(found, None)
        return self._wrong_acts[key]

    def outdated(self, number: int, deed_no: int) -> bool:
        """Whether whom a late order is for has seen a later epoch: it is refused for ever."""
        key = (number, deed_no)
        found = self._outdated.get(key)
        if found is None:
            found = self._outdated[key] = self._is_outdated(number, deed_no)
        return found

    def _is_outdated(self, number: int, deed_no: int) -> bool:
        deed = self.deeds[deed_no]
        if deed.act is None:
            return False
        k = self.place[deed.act.instance]
        part = self._parts[k][self._worlds[number][k]]
        return any(n.epoch > deed.act.epoch for n in part.nodes if n.id == deed.act.instance)

    def part_world(self, k: int, packed: Packed) -> World:
        """The world of one piece."""
        return replace(self._parts[k][packed[k]], cut=self._cuts[packed[0]])

    def node_in(self, name: str, packed: Packed) -> Node | None:
        """A node as it stands in a world; None for one that nothing depends on."""
        k = self.place.get(name)
        if k is None:
            return None
        return next(n for n in self._parts[k][packed[k]].nodes if n.id == name)

    def cut_of(self, packed: Packed) -> frozenset[tuple[str, str]]:
        """What is cut in a world."""
        return self._cuts[packed[0]]

    def at_first(self) -> Mapping[str, Node]:
        """Every node as it stood before."""
        return {n.id: n for n in self._before.nodes}

    def judged(self, condition: Condition, evidence: Evidence) -> Verdict:
        """By the judge that was given."""
        return self._judge(condition, evidence).verdict

    def _first(
        self, predicates: Mapping[str, Callable[[Ground, World], str]], k: int, packed: Packed
    ) -> tuple[str, str] | None:
        ground, world = self.pieces[k - 1].ground, self.part_world(k, packed)
        return next(((name, text) for name, p in predicates.items() if (text := p(ground, world))), None)

    def _apply(self, act: Act, late: bool, cut: int, k: int, part: int) -> int:
        ground = self.pieces[k - 1].ground
        pairs = self._cuts[cut]
        reach = frozenset(p for p in pairs if HERE not in p) if late else pairs
        world = replace(self._parts[k][part], cut=reach)
        if refusal(ground, world, act):
            return HANGS if hangs(ground, world, act) else REFUSED
        after = apply(ground, world, act)
        return self._part(k, replace(after, cut=frozenset()))

    def _hit(self, k: int, faults: tuple[Fault, ...], cut: int, part: int) -> int:
        key = (k, faults, cut, part)
        found = self._strikes.get(key)
        if found is None:
            ground, world = self.pieces[k - 1].ground, replace(self._parts[k][part], cut=self._cuts[cut])
            after = strike(ground, world, *faults) if faults else heal(ground, world)
            found = self._strikes[key] = self._part(k, replace(after, cut=frozenset()))
        return found

    @staticmethod
    def _cut_after(faults: tuple[Fault, ...], cut: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        world = World(nodes=(), cut=cut if faults else frozenset())
        for fault in faults:
            world = FAULTS[fault.name](world, fault.place)
        return world.cut

    def _cut(self, cut: frozenset[tuple[str, str]]) -> int:
        # One way or both: no conversation gets through (`connected`), so they are the same world here.
        cut = frozenset((a, b) if a <= b else (b, a) for a, b in cut)
        if cut not in self._cut_no:
            self._cut_no[cut] = len(self._cuts)
            self._cuts.append(cut)
        return self._cut_no[cut]

    def _part(self, k: int, world: World) -> int:
        known = self._part_no[k]
        if world not in known:
            known[world] = len(self._parts[k])
            self._parts[k].append(world)
        return known[world]

    def _number(self, packed: Packed) -> int:
        found = self._world_no.get(packed)
        if found is None:
            found = self._world_no[packed] = len(self._worlds)
            self._worlds.append(packed)
        return found


class _Asked:
    """One condition: which pieces its answer depends on, and what was answered."""

    def __init__(self, worlds: Worlds, condition: Condition) -> None:
        self._worlds, self._condition = worlds, condition
        self._names = tuple(dict.fromkeys((condition.instance, *condition.others)))
        topology = worlds.ground.topology
        services = _with_behind(worlds.ground, (topology.instance_by_id[n].service for n in self._names))
        self._ground = Ground(topology, (), services)
        names = {i.id for s in services for i in s.instances}
        self.places = (0, *sorted({worlds.place[n] for n in names if n in worlds.place}))
        self.known: dict[tuple[int, ...], Verdict] = {}

    def judge(self, packed: Packed, fenced: bool) -> Verdict:
        """A look at the instances that are named, as the stepper takes it, and what the judge makes of it."""
        worlds, first = self._worlds, self._worlds.at_first()
        nodes = tuple(worlds.node_in(n, packed) or first[n] for n in self._ground.index)
        world = World(nodes=nodes, cut=worlds.cut_of(packed))
        seen = (looks.read(self._ground, world, world.nodes[self._ground.index[n]]) for n in self._names)
        # What an earlier executor of this run changed is its own (`Stepper._as_ours`): any epoch of the run is 1 here.
        readings = tuple(replace(r, epoch=min(r.epoch, 1)) if r.epoch else r for r in seen)
        evidence = Evidence(
            topology=worlds.ground.topology,
            now=Snapshot(estate=worlds.ground.topology.id, taken_at=AT, took_s=0.0, readings=readings),
            before=worlds.look_before,
            fenced=frozenset({self._condition.instance}) if fenced else frozenset(),
            epoch=1,
            attested=worlds.attested,
        )
        return worlds.judged(self._condition, evidence)


def _with_behind(ground: Ground, services: Iterable[str]) -> tuple[Service, ...]:
    """Services and all behind them, in the order of the ground."""
    wanted: set[str] = set()
    for service in services:
        name = service
        while name and name not in wanted:
            wanted.add(name)
            name = ground.behind.get(name, "")
    return tuple(s for s in ground.services if s.id in wanted)
