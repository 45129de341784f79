"""The table of the state machine, held against real databases, apps and an entry: the same happens in both.

Beside the lab stands a world of `machine.world`. Each action is given to both: to the lab through the shipped
provider, to the other through the table. What the table refuses the provider must refuse, and what it does must be
seen: after every action a look of the shipped observer is held against the look that the table's world would give, a
client tries to have a write acknowledged where the table says that one could, and every acknowledged write must be
where the table says that everything is held.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace

from orchestrator.machine import looks
from orchestrator.machine.faults import Fault, strike
from orchestrator.machine.table import ACTIONS, Act, apply, failure, refusal
from orchestrator.machine.world import Ground, Node, Power, can_acknowledge
from orchestrator.model.observation import Reach, Reading
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Nature, Role
from orchestrator.observer import observe
from orchestrator.providers.base import ActionFailed, Unsupported
from tests.integration.labs import Lab
from tests.integration.provider_world import World

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

SYSTEM = "legal-person"
A, B, C = (f"{SYSTEM}/db@{c}" for c in "abc")
APP_A, APP_B = (f"{SYSTEM}/app@{c}" for c in "ab")
ENTRY = f"{SYSTEM}/entry@edge"
SETTLE_S = 15.0
"""What happens by itself (a standby connects, a write arrives) has happened after this."""
WRITE_S = 0.7
"""A write that is not acknowledged by then waits for somebody who is not there."""
REFUSED_S = 1.0
"""An order that nobody answers is given up after this."""


class Twins:
    """The lab, and the world that the table makes of the same."""

    def __init__(self, lab: Lab, artifacts: Path) -> None:
        self.lab, self.real = lab, World(lab.dir, artifacts)
        self.ground = Ground(self.real.topology, [SYSTEM])
        self.model = self.ground.declared()
        self.acknowledged: set[str] = set()
        self.real.begin()

    def node(self, name: str) -> Node:
        return self.model.nodes[self.ground.index[name]]

    async def does(self, verb: Verb, name: str, *towards: str, mode: str = "") -> None:
        """Both do it, and come to the same."""
        assert await self._tried(verb, name, *towards, mode=mode) == ""
        await self.same()

    async def refuses(self, verb: Verb, name: str, *towards: str, mode: str = "", earlier: int = 0) -> None:
        """Both refuse it, and nothing has changed in either."""
        before = self.model
        assert await self._tried(verb, name, *towards, mode=mode, earlier=earlier)
        assert self.model == before
        await self.same()

    async def fails(self, verb: Verb, name: str, towards: str) -> None:
        """Both take it to have failed, though it took effect."""
        before = self.model
        assert await self._tried(verb, name, towards)
        assert self.model != before
        await self.same()

    async def _tried(self, verb: Verb, name: str, *towards: str, mode: str = "", earlier: int = 0) -> str:
        """Why the table refuses it; the provider must agree."""
        epoch = self.real.epoch - earlier
        centres = tuple(self.real.instance(t).centre for t in towards)
        act = Act(verb=verb, instance=name, towards=centres, mode=mode, epoch=epoch)
        why = refusal(self.ground, self.model, act) or failure(self.ground, self.model, act)
        self.model = apply(self.ground, self.model, act)
        params = {"mode": mode} if mode else {}
        within_s = REFUSED_S if why else 60.0
        said = ""
        try:
            await self.real.act(verb, name, *towards, epoch=epoch, within_s=within_s, **params)
        except (ActionFailed, Unsupported) as refused:
            said = str(refused) or repr(refused)
        assert bool(why) == bool(said), f"{act}\ntable: {why or 'done'}\nprovider: {said or 'done'}"
        return why

    async def befalls(self, name: str, place: str) -> None:
        """A fault, in both."""
        self.model = strike(self.ground, self.model, Fault(name=name, place=place))
        if name == "stop-service" and place in (A, B, C):
            self.real.signal(place, signal.SIGKILL)
        else:
            self.lab.inject(f"{name} {place}")
        await self.same()

    async def stands_still(self, name: str, still: bool = True) -> None:
        """One database is frozen, or goes on."""
        power = Power.FROZEN if still else Power.UP
        self.model = replace(
            self.model, nodes=tuple(replace(n, power=power) if n.id == name else n for n in self.model.nodes)
        )
        self.model = strike(self.ground, self.model)
        self.real.signal(name, signal.SIGSTOP if still else signal.SIGCONT)
        await self.same()

    async def same(self) -> None:
        """Wait until both are seen alike; then hold what clients and disks say against the table."""
        end = time.monotonic() + SETTLE_S
        while differences := await self._differences():
            assert time.monotonic() < end, "\n".join(differences)
            await asyncio.sleep(0.02)
        for node in self.model.nodes:
            if node.nature is Nature.REPLICATED and node.role is Role.PRIMARY:
                able = node.power is Power.UP and can_acknowledge(self.ground, self.model, node)
                still = any(n.power is Power.FROZEN for n in self.model.nodes)  # may wake up, says the table: perhaps
                assert self._acknowledges(node.id) in ({able, False} if still else {able}), node
        self.model = strike(self.ground, self.model)
        self._holds_everything()

    async def _differences(self) -> list[str]:
        names = [n.id for n in self.model.nodes]
        seen = await observe(self.real.topology, self.real.providers, names, REFUSED_S)
        told = looks.look(self.ground, self.model, seen.taken_at)
        pairs = ((n, _shown(seen.of(n)), _shown(told.of(n))) for n in names)
        return [f"{n}: seen {real}, told {model}" for n, real, model in pairs if real != model]

    def _acknowledges(self, name: str) -> bool:
        """Whether a client is told that its write is kept; a wait for a standby that was cut short is no such word."""
        value, said = f"write {len(self.acknowledged)}", list[str]()
        insert = f"insert into provider_test values ('{value}')"
        with contextlib.suppress(psycopg.Error), self.real.sql(name) as client:
            client.add_notice_handler(lambda d: said.append(d.message_primary or ""))
            client.execute("set client_min_messages = warning")
            # `statement_timeout` does not end a commit that waits for a standby; a cancel does, with a warning.
            bound = threading.Timer(WRITE_S, client.cancel)
            bound.start()
            try:
                client.execute(f"create table if not exists provider_test (value text); {insert}".encode())
            finally:
                bound.cancel()
            if not said:
                self.acknowledged.add(value)
                return True
        return False

    def _holds_everything(self) -> None:
        for node in self.model.nodes:
            if node.nature is Nature.REPLICATED and node.holds and node.power is Power.UP:
                assert self.acknowledged <= self.real.values(node.id), f"{node.id} lacks acknowledged writes"


def _shown(reading: Reading) -> object:
    """What of a reading the model speaks of; which history is newer is told by who follows whom."""
    if reading.reach is not Reach.ANSWERED:
        return "refused" if reading.reach is Reach.REFUSED else "silent"
    if reading.routes_to is not None:
        return sorted(reading.routes_to), reading.answers, reading.epoch or 0
    if reading.answers is not None:
        return reading.upstream, reading.answers, reading.epoch or 0
    if reading.role is Role.STANDBY:
        return "standby", reading.upstream, reading.receiving, reading.epoch or 0
    required, fed = reading.sync_required or (), [d for d in reading.downstreams if d.streaming]
    copies = sorted((d.centre, d.sync) for d in fed)
    return "primary", reading.writable, sorted(required), copies, reading.epoch or 0


@pytest.fixture(scope="module")
def lab_of_two(fresh_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """One lab and its twin for all tests here; each leaves it with three copies."""
    return Twins(fresh_lab, tmp_path_factory.mktemp("artifacts"))


async def test_a_primary_is_lost_and_comes_back(lab_of_two: Twins) -> None:
    two = lab_of_two
    await two.same()
    await two.refuses(Verb.REPOINT, A)
    await two.refuses(Verb.REJOIN, A, B)
    await two.befalls("stop-service", A)
    for verb in (Verb.PROMOTE, Verb.DEMOTE, Verb.REPOINT):
        await two.refuses(verb, A)
    await two.refuses(Verb.DEMOTE, B, A)
    await two.fails(Verb.REJOIN, C, A)
    await two.does(Verb.REPOINT, C, B)
    await two.does(Verb.REPOINT, B)
    await two.does(Verb.PROMOTE, B)
    await two.refuses(Verb.REPOINT, B)
    await two.does(Verb.FENCE, A)
    await two.refuses(Verb.START, A)
    await two.does(Verb.REJOIN, A, B, mode="sync")
    await two.does(Verb.REPOINT, C, A)


async def test_a_planned_move(lab_of_two: Twins) -> None:
    """The primary is in B, and A is waited for: the way home."""
    two = lab_of_two
    two.real.begin()
    await two.does(Verb.REPOINT, C)
    await two.does(Verb.DEMOTE, B)
    await two.does(Verb.PROMOTE, A)
    await two.does(Verb.REJOIN, B, A, mode="sync")
    await two.does(Verb.REJOIN, C, B)  # it may have run ahead of A, says the table: it is rewound if it did
    for verb, name, towards in (
        (Verb.PROMOTE, A, ()),
        (Verb.DEMOTE, A, ()),
        (Verb.FENCE, A, ()),
        (Verb.UNFENCE, A, ()),
        (Verb.STOP, A, ()),
        (Verb.DEMOTE, B, (A,)),
        (Verb.REPOINT, C, ()),
        (Verb.REJOIN, C, (B,)),
    ):
        await two.refuses(verb, name, *towards, earlier=1)


async def test_a_copy_that_is_waited_for_stands_still(lab_of_two: Twins) -> None:
    two = lab_of_two
    await two.stands_still(B)
    await two.refuses(Verb.REPOINT, B)
    await two.does(Verb.REPOINT, C)
    await two.fails(Verb.REPOINT, C, B)
    await two.does(Verb.DEMOTE, B, A)
    await two.stands_still(B, still=False)
    await two.does(Verb.REJOIN, B, A, mode="sync")


async def test_a_primary_that_stands_still_is_fenced_and_let_go(lab_of_two: Twins) -> None:
    two = lab_of_two
    await two.stands_still(A)
    await two.refuses(Verb.PROMOTE, A)
    await two.refuses(Verb.DEMOTE, A)
    await two.does(Verb.FENCE, A)
    await two.refuses(Verb.START, A)
    await two.does(Verb.UNFENCE, A)
    await two.does(Verb.DEMOTE, A)
    await two.does(Verb.UNFENCE, A)
    await two.does(Verb.STOP, C)
    await two.does(Verb.START, C)


async def test_apps_and_an_entry(lab_of_two: Twins) -> None:
    two = lab_of_two
    two.real.begin()
    await two.does(Verb.REDIRECT, ENTRY, APP_B)
    await two.does(Verb.REPOINT, APP_A)
    await two.does(Verb.REPOINT, APP_A, A)
    await two.does(Verb.STOP, APP_A)
    await two.befalls("stop-service", APP_A)
    await two.refuses(Verb.REPOINT, APP_A, A)
    await two.does(Verb.START, APP_A, A)
    await two.does(Verb.REDIRECT, ENTRY, APP_A, APP_B)
    await two.refuses(Verb.REPOINT, APP_A, earlier=1)
    await two.refuses(Verb.REDIRECT, ENTRY, APP_B, earlier=1)
    for verb in (Verb.FENCE, Verb.UNFENCE, Verb.PROMOTE, Verb.DEMOTE, Verb.REJOIN, Verb.REDIRECT):
        await two.refuses(verb, APP_A, *([APP_B] if verb is Verb.REJOIN else []))
    for verb in (Verb.FENCE, Verb.PROMOTE, Verb.DEMOTE, Verb.REPOINT, Verb.START, Verb.STOP):
        await two.refuses(verb, ENTRY)
    await two.refuses(Verb.REDIRECT, A, APP_A)


def test_every_row_of_the_table_is_held_here() -> None:
    """A verb that is added to the table and not tried above would be held against nothing."""
    text = Path(__file__).read_text("utf-8")
    tried = {v for v in ACTIONS if f"two.does(Verb.{v.name}" in text}
    assert set(ACTIONS) - tried == {Verb.RUN_PLAYBOOK}  # does nothing in this model
