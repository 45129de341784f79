"""A small world for the executor: real protocols, no database. What was done to it stands in one append-only file.

The file outlives a killed executor, as a database would, and is what tests judge by: never our own journal. A line is
written when an action begins, and one when it took effect; the world is the fold of the latter.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.checks.conditions import Evidence, judge
from orchestrator.execution.conversation import Control
from orchestrator.execution.history import Answer
from orchestrator.execution.ports import Ports
from orchestrator.execution.runstore import Run
from orchestrator.model.observation import Downstream, Finding, Reach, Reading, Snapshot
from orchestrator.model.plan import Condition, Step, Verb
from orchestrator.model.topology import (
    Instance,
    Kind,
    Nature,
    Role,
    Topology,
)
from orchestrator.providers.base import ActionFailed, Order, Outcome
from tests.simestate import KINDS, topology

__all__ = ["SimActor", "SimWorld", "topology"]


@dataclass
class Node:
    """What one instance is now."""

    instance: Instance
    nature: Nature
    role: Role
    alive: bool = True
    fenced: bool = False
    read_only: bool = False
    upstream: str = ""
    sync_required: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    epoch: int = 0


@dataclass
class SimWorld:
    """The world; `path` is its file of effects."""

    topology: Topology
    path: Path
    act_s: tuple[float, float] = (0.0, 0.002)
    """Bounds of the random time that an action takes."""
    fail: dict[str, str] = field(default_factory=dict)
    """Step (or `undo …` for its way back) → the message with which it fails."""
    blind: set[str] = field(default_factory=set)
    """Instances whose next look is silent though they are well."""
    hang: set[str] = field(default_factory=set)
    """Steps whose action never ends."""

    def effects(self) -> list[dict[str, Any]]:
        """Everything that was begun, took effect or was asked, in order."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def begun(self, step: str) -> int:
        """How often a step's action was begun."""
        return sum(e["k"] == "begin" and e["step"] == step for e in self.effects())

    def took_effect(self, step: str) -> int:
        """How often a step's action took effect."""
        return sum(e["k"] == "end" and e["step"] == step for e in self.effects())

    def note(self, **line: Any) -> None:
        """Append one line, in one write."""
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(fd, (json.dumps({**line, "pid": os.getpid()}) + "\n").encode())
        finally:
            os.close(fd)

    def nodes(self) -> dict[str, Node]:
        """The world as it is now."""
        nodes = {i.id: self._initial(i) for i in self.topology.instances()}
        for effect in self.effects():
            if effect["k"] == "end":
                _apply(nodes, effect)
        return nodes

    def _initial(self, instance: Instance) -> Node:
        service = self.topology.service_by_id[instance.service]
        node = Node(instance=instance, nature=service.nature, role=instance.role)
        if service.nature is Nature.REPLICATED:
            node.upstream = next((r.source for r in service.replications if r.target == instance.centre), "")
            node.sync_required = ("b",) if instance.role is Role.PRIMARY else ()
        if service.nature is Nature.ACTIVE:
            node.upstream = "a" if instance.role is Role.PRIMARY else ""
        if service.nature is Nature.ROUTE:
            node.routes = ("a", "b")
        return node

    async def observe(self, instances: Collection[str], within_s: float) -> Snapshot:
        """One look at some instances."""
        await asyncio.sleep(0)
        nodes = self.nodes()
        readings = []
        for name in instances:
            if name in self.blind:
                self.blind.discard(name)
                readings.append(Reading(instance=name, reach=Reach.SILENT, took_s=within_s, error="no answer"))
            else:
                readings.append(_reading(nodes, nodes[name]))
        now = datetime.now(UTC).isoformat()
        return Snapshot(estate="sim", taken_at=now, took_s=0.0, readings=tuple(readings))

    def judge(
        self, condition: Condition, now: Snapshot, before: Snapshot, fenced: frozenset[str], epoch: int
    ) -> Finding:
        """The program's own judgement."""
        return judge(condition, Evidence(topology=self.topology, now=now, before=before, fenced=fenced, epoch=epoch))

    async def ask(self, step: Step) -> Answer:
        """A person who knows the truth: an interrupted action is `done` if the world says so, else to be done again."""
        if step.verb is Verb.ASK and step.id.endswith(":ask"):
            self.note(k="asked", step=step.id)
            return Answer(answer="yes", name="Li Wei")
        answer = "done" if self.took_effect(step.id) else "again"
        self.note(k="asked", step=step.id, answer=answer)
        return Answer(answer=answer, name="Li Wei")

    async def inject(self, fault: str) -> None:
        """kill-centre X."""
        self.note(k="begin", step="inject", verb="inject", instance="", towards=[], epoch=0, fault=fault)
        self.note(k="end", step="inject", verb="inject", instance="", towards=[], epoch=0, fault=fault)

    async def heal(self) -> None:
        """Everything lives again, as what it was."""
        self.note(k="begin", step="heal", verb="heal", instance="", towards=[], epoch=0)
        self.note(k="end", step="heal", verb="heal", instance="", towards=[], epoch=0)

    def ports(self, run: Run | None = None, **changes: Any) -> Ports:
        """The executor's hands and eyes in this world."""
        means: dict[str, Any] = {
            "observe": self.observe,
            "actor": lambda kind: SimActor(self, kind),
            "judge": self.judge,
            "ask": self.ask,
            "inject": self.inject,
            "heal": self.heal,
            "progress": lambda record: None,
            "control": run.control if run else lambda: Control.GO,
        }
        return Ports(**(means | changes))


@dataclass
class SimActor:
    """An Actor on the simulated world."""

    world: SimWorld
    name: str

    @property
    def kind(self) -> Kind:
        """The kind that it drives."""
        return Kind(name=self.name, nature=KINDS.get(self.name, Nature.ACTIVE))

    async def act(self, verb: Verb, order: Order) -> Outcome:
        """Write down that it begins, take a while, take effect."""
        assert self.name == order.service.kind
        node = self.world.nodes()[order.instance.id]
        if node.epoch > order.epoch:
            raise ActionFailed(f"{order.instance.id} has seen epoch {node.epoch}, this order has {order.epoch}")
        line = {
            "step": order.step,
            "verb": verb.value,
            "instance": order.instance.id,
            "towards": [i.centre for i in order.towards],
            "epoch": order.epoch,
            "undo": order.param("undo"),
            "mode": order.param("mode"),
        }
        self.world.note(k="begin", **line)
        await asyncio.sleep(random.uniform(*self.world.act_s))
        if order.step in self.world.hang and not order.param("undo"):
            await asyncio.sleep(3600)
        reason = self.world.fail.get(f"undo {order.step}" if order.param("undo") else order.step)
        if reason:
            raise ActionFailed(reason)
        self.world.note(k="end", **line)
        return Outcome(detail=f"{verb.value} done")


def _apply(nodes: dict[str, Node], effect: dict[str, Any]) -> None:
    verb = Verb(effect["verb"])
    if verb in {Verb.INJECT, Verb.HEAL}:
        lost = effect.get("fault", "").removeprefix("kill-centre ")
        for node in nodes.values():
            node.alive = node.instance.centre != lost if verb is Verb.INJECT else True
        return
    node = nodes[effect["instance"]]
    node.epoch = effect["epoch"]
    towards = tuple(effect["towards"])
    _VERBS.get(verb, lambda n, t: None)(node, towards)
    if verb is Verb.REJOIN and effect["mode"] == "sync":
        source = nodes[f"{node.instance.service}@{towards[0]}"]
        source.sync_required = (node.instance.centre,)


def _repoint(node: Node, towards: tuple[str, ...]) -> None:
    node.upstream = towards[0] if towards else ""


def _promote(node: Node, _: tuple[str, ...]) -> None:
    node.role, node.upstream, node.sync_required, node.read_only = Role.PRIMARY, "", (), False


def _rejoin(node: Node, towards: tuple[str, ...]) -> None:
    node.role, node.upstream, node.alive, node.fenced = Role.STANDBY, towards[0], True, False
    node.read_only, node.sync_required = False, ()


def _set(**values: Any) -> Any:
    def apply(node: Node, _: tuple[str, ...]) -> None:
        for name, value in values.items():
            setattr(node, name, value)

    return apply


def _redirect(node: Node, towards: tuple[str, ...]) -> None:
    node.routes = towards


_VERBS: dict[Verb, Any] = {
    Verb.REPOINT: _repoint,
    Verb.PROMOTE: _promote,
    Verb.REJOIN: _rejoin,
    Verb.REDIRECT: _redirect,
    Verb.FENCE: _set(alive=False, fenced=True),
    Verb.UNFENCE: _set(alive=True, fenced=False, read_only=False),
    Verb.DEMOTE: _set(read_only=True),
    Verb.START: _set(alive=True),
    Verb.STOP: _set(alive=False),
}


def _reading(nodes: dict[str, Node], node: Node) -> Reading:
    name = node.instance.id
    if not node.alive:
        return Reading(instance=name, reach=Reach.REFUSED, took_s=0.0, error="connection refused")
    if node.nature is Nature.REPLICATED:
        return _db_reading(nodes, node)
    if node.nature is Nature.ACTIVE:
        db = nodes.get(f"{node.instance.id.partition('/')[0]}/db@{node.upstream}")
        works = bool(db and db.alive and db.role is Role.PRIMARY and not db.read_only)
        return Reading(
            instance=name,
            reach=Reach.ANSWERED,
            took_s=0.0,
            role=Role.PRIMARY if node.upstream else Role.STANDBY,
            upstream=node.upstream,
            answers=works,
            writable=works,
            epoch=node.epoch,
        )
    apps = [nodes[f"{name.partition('/')[0]}/app@{c}"] for c in node.routes]
    works = any(_reading(nodes, app).answers for app in apps)
    return Reading(
        instance=name,
        reach=Reach.ANSWERED,
        took_s=0.0,
        routes_to=node.routes,
        answers=works,
        writable=works,
        epoch=node.epoch,
    )


def _db_reading(nodes: dict[str, Node], node: Node) -> Reading:
    name, primary = node.instance.id, node.role is Role.PRIMARY
    family = [n for n in nodes.values() if n.instance.service == node.instance.service]
    source = next((n for n in family if n.instance.centre == node.upstream), None)
    receiving = bool(not primary and source and source.alive)
    fed = [n for n in family if n.alive and n.upstream == node.instance.centre and n.role is not Role.PRIMARY]
    return Reading(
        instance=name,
        reach=Reach.ANSWERED,
        took_s=0.0,
        role=Role.PRIMARY if primary else Role.STANDBY,
        writable=primary and not node.read_only,
        epoch=node.epoch,
        timeline=1,
        position=1000,
        replayed=1000,
        lag_s=0.0 if receiving else None,
        upstream="" if primary else node.upstream,
        receiving=None if primary else receiving,
        downstreams=tuple(
            Downstream(
                centre=n.instance.centre, sync=n.instance.centre in node.sync_required, streaming=True, position=1000
            )
            for n in fed
        ),
        sync_required=node.sync_required if primary else None,
    )
