"""A run goes on in another centre; judged by the databases, the users' own ledger and the store's servers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.plan import Verb
from orchestrator.providers.base import ActionFailed, Order
from orchestrator.queues import Dispatcher
from tests.integration.drills import SYSTEMS
from tests.integration.sampler import Sampler, prepare
from tests.integration.teams import Team, team, users
from tests.integration.test_drills import judge_writers, three_copies_behind

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One team for all tests: each leaves the estate healthy."""
    with team(tmp_path_factory.mktemp("team")) as found:
        yield found


def test_of_two_controllers_one_acts(members: Team, tmp_path: Path) -> None:
    """The old one lives: refused. It freezes: its lease runs out and B goes on. It wakes up: it changes nothing."""
    databases = members.home.databases("legal-person")
    prepare([databases["legal-person/db@a"]])
    with Sampler(databases, tmp_path / "sampler.jsonl") as sampler:
        split(members)
    judge_writers(sampler, {"legal-person": ["a", "b"]})
    three_copies_behind(members.home, "legal-person", "b", "a")


def split(members: Team) -> None:
    fault = ("--fault", "stop-service legal-person/db@a", "--system", "legal-person", "--no-canary")
    old = members.controller_at("legal-person/db@b:promote", "a", "centre-lost", "--lost", "a", *fault)
    refused = members.takeover("b", expect=5)
    assert "renews its lease" in refused.stderr
    old.send_signal(signal.SIGSTOP)
    assert "effect_started" in {r["event"] for r in members.journal("a", "controller")}
    done = members.takeover("b", "--output", "json")
    assert json.loads(done.stdout)["state"] == "done"
    epochs = {
        i: members.home.ask(i, "select current_setting('drctl.epoch', true)")
        for i in members.home.databases("legal-person")
    }
    shipped = members.store("a", "select run, seq, line from drctl.journal order by 1, 2")
    kept = members.journal("a", "controller")
    old.send_signal(signal.SIGCONT)
    assert old.wait(60) == 5, members.output("controller-a")
    assert "taken over" in members.output("controller-a")
    after = members.journal("a", "controller")
    assert [r for r in after[len(kept) :] if r["event"] == "effect_started"] == []
    assert members.store("a", "select run, seq, line from drctl.journal order by 1, 2") == shipped
    assert {i: members.home.ask(i, "select current_setting('drctl.epoch', true)") for i in epochs} == epochs
    whole = "".join(f"{line}\n" for _, _, line in shipped)
    assert (members.folder("b", "operator") / "runs" / shipped[0][0] / "journal.jsonl").read_text() == whole


def test_centre_a_dies_with_store_and_controller_in_the_middle(members: Team, tmp_path: Path) -> None:
    members.workers("b", "c")
    fault = "; ".join(f"stop-service {s}/db@a" for s in SYSTEMS)
    with users(members, tmp_path / "users", SYSTEMS) as lost:
        words = ("centre-lost", "--lost", "a", "--fault", fault, "--via-workers", "--no-canary")
        controller = members.controller_at("sharing/db@b:promote", "a", *words)
        members.inject("kill-centre a")
        assert controller.wait(10) == -signal.SIGKILL
        assert members.store("b", "select pg_is_in_recovery()") == [(True,)]
        done = members.takeover("b")
    print(done.stderr)
    assert "state/db@b is promoted" in done.stderr
    assert "centre a is lost (b: unseen, c: unseen)" in done.stderr
    by_workers = [r for r in members.journal("b", "operator") if "by the worker in b" in r["detail"]]
    assert {r["event"] for r in by_workers} >= {"effect_done"}
    for system in SYSTEMS:
        assert lost(system, f"{system}/db@b") == set()
        three_copies_behind(members.home, system, "b", "a")
    records = members.journal("b", "operator")
    assert "run_taken_over" in {r["event"] for r in records}
    assert records[-1]["data"][0] == {"name": "state", "value": "done"}
    assert members.store("b", "select pg_is_in_recovery()") == [(False,)]
    for server in "bc":
        lines = members.store(
            server, "select line from drctl.journal where run = (select max(run) from drctl.runs) order by seq"
        )
        assert [json.loads(line) for (line,) in lines] == records
    members.home.drctl("--home", str(members.folder("b", "operator")), "evidence", "verify", "last")
    every_observer_sees_every_centre(members)
    asyncio.run(an_older_order_is_refused_by_the_worker(members, records))


def every_observer_sees_every_centre(members: Team) -> None:
    """`drctl check` asks the workers, who follow the store to its new primary."""
    words = members.command("b", members.folder("b", "operator"), "--centre", "b", "check", "--output", "json")

    def sights() -> dict[str, tuple[str, dict[str, str]]]:
        told = json.loads(subprocess.run(words, capture_output=True, text=True, check=False).stdout)
        return {c["centre"]: (c["state"], c["votes"]) for c in told["centres"]}

    members.until(lambda: sights()["a"] == ("reachable", {"b": "seen", "c": "seen"}), "both others see A again")
    members.until(lambda: sights()["c"] == ("unknown", {"a": "unknown", "b": "seen"}), "one observer alone never tells")


async def an_older_order_is_refused_by_the_worker(members: Team, records: list[dict[str, Any]]) -> None:
    topology = members.topology()
    instance = topology.instance_by_id["sharing/db@b"]
    latest = max(r["epoch"] for r in records)
    order = Order(
        run=records[0]["run"], step="late", epoch=latest - 1, service=topology.service_by_id["sharing/db"],
        instance=instance, within_s=10, artifacts=Path("late"),
    )  # fmt: skip
    dispatcher = Dispatcher(members.primary_url("b"), lambda _: True)
    try:
        with pytest.raises(ActionFailed, match=f"has seen epoch {latest}"):
            await dispatcher.send("b", Verb.DEMOTE, order)
    finally:
        dispatcher.close()
    assert members.home.ask("sharing/db@b", "show default_transaction_read_only") == [("off",)]


def test_two_people_take_over_without_waiting_for_the_lease(members: Team) -> None:
    """One alone cannot; the controller that they take it from changes nothing when it wakes."""
    words = ("centre-lost", "--lost", "b", "--to", "a", "--fault", "stop-service open-data/db@b", "--no-canary")
    old = members.controller_at("open-data/db@a:promote", "c", *words, "--system", "open-data")
    old.send_signal(signal.SIGSTOP)
    alone = members.takeover("a", "--approved-by", "Li Wei", "--approved-by", "li  wei", expect=2)
    assert "one person alone" in alone.stderr
    done = members.takeover("a", "--approved-by", "Li Wei", "--approved-by", "Chen Yu")
    assert "Li Wei and Chen Yu approve the take-over" in done.stderr
    assert "waiting for the lease" not in done.stderr
    (taken,) = (r for r in members.journal("a", "operator") if r["event"] == "run_taken_over")
    assert [d["value"] for d in taken["data"] if d["name"] == "approved_by"] == ["Li Wei", "Chen Yu"]
    kept = members.journal("c", "controller")
    old.send_signal(signal.SIGCONT)
    assert old.wait(60) == 5, members.output("controller-c")
    after = members.journal("c", "controller")
    assert [r for r in after[len(kept) :] if r["event"] == "effect_started"] == []
    three_copies_behind(members.home, "open-data", "a", "b")
