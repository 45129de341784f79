"""The contract suite on the real providers, apps and entries of a lab, playbooks as processes, and the observer."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from orchestrator.app import ROOT
from orchestrator.model.observation import Reach
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance, Role, Setting
from orchestrator.observer import observe
from orchestrator.providers.base import ActionFailed, Order, Unsupported
from orchestrator.providers.playbook import Playbooks
from orchestrator.providers.waiting import comes_true
from tests.contract_providers import ActorContract, Case, ProberContract
from tests.integration.labs import Lab
from tests.integration.provider_world import World, at, closed_address, garbage_address, silent_address

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def world(fresh_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(fresh_lab.dir, tmp_path_factory.mktemp("artifacts"))


def build(world: World, name: str, verb: Verb, other_verb: Verb, *towards: str) -> Iterator[Case]:
    """The case of one instance of the lab, with bad ones beside it."""
    instance = world.instance(name)
    provider = world.providers[world.topology.service_by_id[instance.service].kind]
    world.begin()

    def order(target: Instance, epoch: int, within_s: float) -> Order:
        return msgspec.structs.replace(world.order(name, *towards, epoch=epoch, within_s=within_s), instance=target)

    with closed_address() as closed, silent_address() as silent, garbage_address() as garbage:
        yield Case(
            provider=provider, actor=provider, service=world.topology.service_by_id[instance.service],
            healthy=instance, closed=at(instance, closed), silent=at(instance, silent),
            garbage=at(instance, garbage), homeless=at(instance, ""), order=order, verb=verb, other_verb=other_verb,
            epoch=world.epoch,
        )  # fmt: skip


class TestPostgreSQL(ProberContract, ActorContract):
    @pytest.fixture
    def case(self, world: World) -> Iterator[Case]:
        yield from build(world, "sharing/db@c", Verb.REPOINT, Verb.REDIRECT, "sharing/db@b")


class TestHttpApp(ProberContract, ActorContract):
    @pytest.fixture
    def case(self, world: World) -> Iterator[Case]:
        yield from build(world, "sharing/app@b", Verb.REPOINT, Verb.PROMOTE, "sharing/db@a")


class TestHAProxy(ProberContract, ActorContract):
    """Its orders go through the admin socket, its readings through both."""

    @pytest.fixture
    def case(self, world: World) -> Iterator[Case]:
        for case in build(world, "sharing/entry@edge", Verb.REDIRECT, Verb.FENCE, "sharing/app@a", "sharing/app@b"):
            yield with_bad_admin(case)


def with_bad_admin(case: Case) -> Case:
    """The bad entries have a bad admin address too."""

    def bad(instance: Instance | None) -> Instance | None:
        if instance is None:
            return None
        return msgspec.structs.replace(instance, params=(Setting(name="admin_address", value=instance.address),))

    return dataclasses.replace(
        case, closed=bad(case.closed), silent=bad(case.silent), garbage=bad(case.garbage), homeless=bad(case.homeless)
    )


async def test_an_app_stops_starts_and_remembers_the_epoch(world: World) -> None:
    app = "open-data/app@a"
    world.begin()
    assert (await world.act(Verb.STOP, app)).changed
    reading = await world.read(app)
    assert (reading.role, reading.upstream, reading.answers) == (Role.STANDBY, "", False)
    assert not (await world.act(Verb.STOP, app)).changed
    assert (await world.act(Verb.START, app, "open-data/db@b")).changed
    await world.serves(app)
    reading = await world.read(app)
    assert (reading.role, reading.upstream, reading.answers) == (Role.PRIMARY, "b", True)
    assert (reading.writable, reading.epoch) == (True, world.epoch)
    assert not (await world.act(Verb.START, app, "open-data/db@b")).changed


async def test_a_killed_app_is_really_started(world: World) -> None:
    app = "open-data/app@a"
    world.begin()
    _, _, port = world.instance(app).address.rpartition(":")
    (pid,) = {
        c.pid for c in psutil.net_connections("tcp") if c.laddr[1:] == (int(port),) and c.status == "LISTEN" and c.pid
    }
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)
    assert (await world.read(app)).reach is Reach.REFUSED
    assert not (await world.act(Verb.STOP, app)).changed
    assert (await world.act(Verb.START, app, "open-data/db@b")).changed
    await world.serves(app)
    reading = await world.read(app)
    assert (reading.role, reading.upstream) == (Role.PRIMARY, "b")


async def test_an_app_without_a_start_command_says_so(world: World) -> None:
    with closed_address() as closed:
        bare = msgspec.structs.replace(world.instance("open-data/app@c"), address=closed, params=())
        order = msgspec.structs.replace(world.order("open-data/app@c"), instance=bare)
        with pytest.raises(ActionFailed, match="start_command"):
            await world.http_app.act(Verb.START, order)


async def test_an_entry_is_redirected_and_back(world: World) -> None:
    entry = "legal-person/entry@edge"
    world.begin()
    await world.act(Verb.REDIRECT, entry, "legal-person/app@b")
    reading = await world.read(entry)
    assert (reading.routes_to, reading.answers, reading.epoch) == (("b",), True, world.epoch)
    assert not (await world.act(Verb.REDIRECT, entry, "legal-person/app@b")).changed
    await world.act(Verb.REDIRECT, entry, "legal-person/app@c")
    reading = await world.read(entry)
    assert (reading.routes_to, reading.answers) == (("c",), False)
    assert (await world.act(Verb.REDIRECT, entry, "legal-person/app@a", "legal-person/app@b")).changed
    reading = await world.read(entry)
    assert (reading.routes_to, reading.answers) == (("a", "b"), True)
    stranger = msgspec.structs.replace(world.instance("legal-person/app@a"), centre="z")
    order = msgspec.structs.replace(world.order(entry), towards=(stranger,))
    with pytest.raises(ActionFailed, match="no server"):
        await world.haproxy.act(Verb.REDIRECT, order)
    assert (await world.read(entry)).routes_to == ("a", "b")


async def test_a_server_that_was_down_serves_at_once_after_a_redirect(world: World) -> None:
    """The app of c starts to serve just before users come; the health check's interval must not be waited for."""
    entry, app = "legal-person/entry@edge", "legal-person/app@c"
    world.begin()
    await world.act(Verb.REPOINT, app, "legal-person/db@a")
    await world.serves(app)
    await world.act(Verb.REDIRECT, entry, app)
    assert (await world.read(entry)).answers
    await world.act(Verb.REDIRECT, entry, "legal-person/app@a", "legal-person/app@b")
    await world.act(Verb.REPOINT, app)


async def test_a_look_at_everything_and_at_a_dark_centre(world: World) -> None:
    snapshot = await observe(world.topology, world.providers)
    assert {r.reach for r in snapshot.readings} == {Reach.ANSWERED}
    assert len(snapshot.readings) == len(list(world.topology.instances()))
    some = await observe(world.topology, world.providers, ["sharing/db@a"])
    assert [r.instance for r in some.readings] == ["sharing/db@a"]

    in_c = [i.id for i in world.topology.instances() if i.centre == "c"]
    databases = [name for name in in_c if "/db@" in name]
    for name in databases:
        world.signal(name, signal.SIGSTOP)
    try:
        began = time.monotonic()
        snapshot = await observe(world.topology, world.providers, within_s=1.0)
        assert time.monotonic() - began < 1.0 + 1.0
        assert {snapshot.of(name).reach for name in databases} == {Reach.SILENT}
        assert snapshot.of("sharing/db@a").reach is Reach.ANSWERED
    finally:
        for name in databases:
            world.signal(name, signal.SIGCONT)


async def test_an_unreachable_host_is_a_failure_with_a_hint(world: World, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text(
        "all: {children: {centre_c: {hosts: {dark: {ansible_host: 127.0.0.1, ansible_port: 1, ansible_user: nobody}}}}}"
    )
    playbooks = Playbooks(ROOT / "playbooks", inventory)
    with pytest.raises(ActionFailed, match="not reached") as caught:
        await playbooks("stop_postgresql.yml", world.order("sharing/db@c", within_s=20), ())
    assert "SSH" in caught.value.hint
    reading = await world.read("sharing/db@c")
    assert reading.reach is Reach.ANSWERED


@pytest.mark.parametrize("ending", ["time-out", "cancellation"])
async def test_nothing_of_a_stopped_playbook_lives_on(world: World, tmp_path: Path, ending: str) -> None:
    (tmp_path / "slow.yml").write_text(
        "- hosts: '{{ drctl_host }}'\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.shell: setsid sleep 1234.5 & touch begun; wait\n"
        f"      args: {{chdir: {tmp_path}}}\n"
    )
    playbooks = Playbooks(tmp_path, ROOT / "inventories" / "lab" / "hosts.yaml")
    bound_s = 1.0 if ending == "time-out" else 60.0
    task = asyncio.ensure_future(playbooks("slow.yml", world.order("sharing/db@c", within_s=bound_s), ()))
    if ending == "cancellation":
        while not (tmp_path / "begun").exists():
            await asyncio.wait([task], timeout=0.05)
            assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(ActionFailed, match="killed"):
            await task
    assert not [p for p in psutil.process_iter(["cmdline"]) if "1234.5" in (p.info["cmdline"] or [])]
    assert not [p for p in psutil.Process().children(recursive=True) if "playbook_child" in " ".join(p.cmdline())]


async def test_a_playbook_leaves_nothing_at_home_and_no_secret_in_its_artifacts(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PGPASSWORD", "planted-secret")
    order = world.order("sharing/db@c", within_s=60)
    await world.playbooks("start_postgresql.yml", order, ())
    monkeypatch.delenv("HOME")
    await world.playbooks("start_postgresql.yml", order, ())
    assert list(home.iterdir()) == []
    kept = sorted(p.name for p in order.artifacts.iterdir())
    assert kept == [f"start_postgresql.{n}.{what}" for n in (1, 2) for what in ("events.jsonl", "stdout.txt")]
    assert not [p for p in order.artifacts.iterdir() if "planted-secret" in p.read_text()]


async def test_a_playbook_of_the_operator_runs_with_its_variables(world: World, tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text(
        "- hosts: '{{ drctl_host }}'\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.command:\n"
        "        argv: [echo, 'drctl-fact: said={{ word }} in {{ drctl_centre }} of {{ drctl_service }}']\n"
    )
    (tmp_path / "broken.yml").write_text("- hosts: '{{ drctl_host }}'\n  tasks:\n    - no.such.module: x\n")
    world.postgresql._playbooks = Playbooks(tmp_path, ROOT / "inventories" / "lab" / "hosts.yaml")
    try:
        outcome = await world.act(Verb.RUN_PLAYBOOK, "sharing/db@c", playbook="own.yml", word="hello")
        assert [(f.name, f.value) for f in outcome.facts] == [("said", "hello in c of sharing/db")]
        with pytest.raises(ActionFailed, match=r"own\.yml"):
            await world.act(Verb.RUN_PLAYBOOK, "sharing/db@c", playbook="../own.yml")
        with pytest.raises(ActionFailed, match=r"no\.such\.module"):
            await world.act(Verb.RUN_PLAYBOOK, "sharing/db@c", playbook="broken.yml")
        with pytest.raises(ActionFailed, match="names no playbook"):
            await world.act(Verb.RUN_PLAYBOOK, "sharing/db@c")
    finally:
        world.postgresql._playbooks = world.playbooks
    with pytest.raises(Unsupported):
        await world.act(Verb.RUN_PLAYBOOK, "sharing/entry@edge", playbook="own.yml")


async def test_a_playbook_whose_executor_was_killed_ends_and_clears_its_folder(world: World, tmp_path: Path) -> None:
    """A half-done rewind would be worse than one that goes on: the host's lock keeps the resumed run waiting for it."""
    (tmp_path / "slow.yml").write_text(
        "- hosts: '{{ drctl_host }}'\n  gather_facts: false\n  tasks:\n"
        f"    - ansible.builtin.shell: touch {tmp_path}/begun; sleep 2; touch {tmp_path}/ended\n"
    )
    code = (
        "import asyncio, sys, msgspec\nfrom pathlib import Path\nfrom orchestrator.providers.base import Order\n"
        "from orchestrator.providers.playbook import Playbooks\n"
        "order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order, dec_hook=lambda t, v: t(v))\n"
        "asyncio.run(Playbooks(Path(sys.argv[1]), Path(sys.argv[2]))('slow.yml', order, ()))\n"
    )
    order = msgspec.json.encode(world.order("sharing/db@c"), enc_hook=str)
    inventory = str(ROOT / "inventories" / "lab" / "hosts.yaml")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    executor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path), inventory, stdin=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(scratch)},
    )  # fmt: skip
    assert executor.stdin is not None
    executor.stdin.write(order)
    executor.stdin.close()

    async def begun() -> bool:
        return (tmp_path / "begun").exists()

    async def cleared() -> bool:
        return (tmp_path / "ended").exists() and list(scratch.iterdir()) == []

    assert await comes_true(begun, 30.0, 0.02)
    executor.kill()
    await executor.wait()
    assert len(list(scratch.iterdir())) == 1
    assert await comes_true(cleared, 30.0, 0.05)
