"""Playbooks: variables, the host that is meant, what is kept of a run, and how a tree of processes ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance, Kind, Nature, Role, Service, Setting
from orchestrator.providers.base import ActionFailed, Actor, Order, Outcome, Unsupported
from orchestrator.providers.haproxy import HAProxy
from orchestrator.providers.http_app import HttpApp
from orchestrator.providers.kinds import HAPROXY, HTTP_APP, POSTGRESQL
from orchestrator.providers.playbook import Playbooks, kill_tree, only_host, run_named, variables
from orchestrator.providers.postgresql import PostgreSQL
from orchestrator.providers.recording import VERBS, Recording

INVENTORY = """
all:
  vars: {ansible_password: !vault "x"}
  children:
    centre_a: {hosts: {db-a:, }}
    centre_b: {hosts: {db-b1:, db-b2:}}
    edge: {hosts: {lb:}}
"""


def order(**params: str) -> Order:
    instance = Instance(
        id="s/db@a", service="s/db", centre="a", role=Role.PRIMARY, address="h:1",
        params=(Setting(name="pgdata", value="/data"), Setting(name="user", value="own")),
    )  # fmt: skip
    service = Service(
        id="s/db", system="s", name="db", kind="postgresql", nature=Nature.REPLICATED, instances=(instance,),
        params=(Setting(name="user", value="shared"), Setting(name="bindir", value="/bin")),
    )  # fmt: skip
    return Order(
        run="r", step="s/db@a:fence", epoch=7, service=service, instance=instance, within_s=12.4,
        params=tuple(Setting(name=k, value=v) for k, v in params.items()), artifacts=Path("/nowhere"),
    )  # fmt: skip


def test_variables_are_the_order_the_parameters_and_what_the_verb_adds() -> None:
    found = variables(order(word="x", playbook="p.yml"), (Setting(name="source_host", value="src"),))
    assert found == {
        "word": "x", "drctl_run": "r", "drctl_step": "s/db@a:fence", "drctl_epoch": "7", "drctl_instance": "s/db@a",
        "drctl_service": "s/db", "drctl_centre": "a", "drctl_within_s": "10", "drctl_address": "h:1",
        "drctl_pgdata": "/data", "drctl_user": "own", "drctl_bindir": "/bin", "drctl_source_host": "src",
    }  # fmt: skip


def test_an_orders_parameter_cannot_stand_in_for_the_epoch() -> None:
    assert variables(order(drctl_epoch="99"), ())["drctl_epoch"] == "7"


def test_the_host_is_the_only_one_of_its_centre(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(INVENTORY)
    assert only_host(path, "a") == "db-a"
    assert only_host(path, "edge") == "lb"
    with pytest.raises(ActionFailed, match="several hosts") as caught:
        only_host(path, "b")
    assert "inventory_host" in caught.value.hint
    with pytest.raises(ActionFailed, match="no host"):
        only_host(path, "z")
    path.write_text("all: [")
    with pytest.raises(ActionFailed):
        only_host(path, "a")


async def test_only_playbooks_of_the_folder_are_run(tmp_path: Path) -> None:
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "outside.yml").write_text("[]")
    runner = Playbooks(tmp_path / "playbooks", tmp_path / "hosts.yaml")
    for name in ("missing.yml", "../outside.yml", str(tmp_path / "outside.yml"), ""):
        with pytest.raises(ActionFailed, match="no playbook"):
            await runner(name, order(), ())
    (tmp_path / "playbooks" / "one.yml").write_text("[]")
    with pytest.raises(ActionFailed, match="no inventory"):
        await runner("one.yml", order(), ())


async def test_run_playbook_names_its_playbook() -> None:
    seen: list[tuple[str, Order]] = []

    async def runner(name: str, given: Order, extra: tuple[Setting, ...]) -> Outcome:
        seen.append((name, given))
        return Outcome(detail="ran")

    assert (await run_named(runner, order(playbook="own.yml"))).detail == "ran"
    assert [name for name, _ in seen] == ["own.yml"]
    with pytest.raises(ActionFailed):
        await run_named(runner, order())


def test_a_tree_of_processes_ends_with_those_that_left_its_session() -> None:
    script = "setsid sleep 321 & setsid bash -c 'setsid sleep 321 & wait' & wait"
    top = subprocess.Popen(["bash", "-c", script], start_new_session=True)
    root = psutil.Process(top.pid)
    below: list[psutil.Process] = []
    while len([p for p in below if p.name() == "sleep"]) < 2:
        below = root.children(recursive=True)
    kill_tree(top.pid)
    assert top.wait(timeout=5) == -9
    _, alive = psutil.wait_procs(below, timeout=5)
    assert alive == []
    kill_tree(top.pid)


def test_a_playbook_child_imports_nothing_of_ours() -> None:
    from orchestrator.providers import playbook_child

    code = "import sys, runpy; runpy.run_path(sys.argv[1]); print([m for m in sys.modules if 'orchestrator' in m])"
    words = [sys.executable, "-c", code, str(playbook_child.__file__)]
    said = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/", env={"PATH": os.defpath})
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", [POSTGRESQL, HTTP_APP, HAPROXY])
async def test_a_recording_actor_records_what_the_real_one_would_do(kind: Kind) -> None:
    actor = Recording(kind)
    for verb in Verb:
        if verb in VERBS[actor.kind.nature]:
            outcome = await actor.act(verb, order())
            assert not outcome.changed
        else:
            with pytest.raises(Unsupported):
                await actor.act(verb, order())
    assert {verb for verb, _ in actor.orders} == VERBS[actor.kind.nature]


async def test_rehearsal_and_real_actors_have_the_same_verbs() -> None:
    async def nowhere(name: str, given: Order, extra: tuple[Setting, ...]) -> Outcome:
        raise ActionFailed("no host here")

    homeless = msgspec.structs.replace(order().instance, address="")
    given = msgspec.structs.replace(order(playbook="x.yml"), instance=homeless, towards=(homeless,), within_s=0.2)
    actors: tuple[Actor, ...] = (PostgreSQL(nowhere), HttpApp(nowhere), HAProxy())
    for actor in actors:
        for verb in Verb:
            with pytest.raises(ActionFailed) as caught:
                await actor.act(verb, given)
            assert (type(caught.value) is Unsupported) == (verb not in VERBS[actor.kind.nature]), (actor.kind, verb)


def test_a_recording_actor_has_no_way_to_a_real_one() -> None:
    code = (
        "import sys, orchestrator.providers.recording\n"
        "print(sorted(m for m in sys.modules if m.startswith('orchestrator.providers.')))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "['orchestrator.providers.base', 'orchestrator.providers.recording']"
