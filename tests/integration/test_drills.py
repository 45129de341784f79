"""One live drill for each fault; outcomes are read from the databases and the ledger, not from our own records."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.integration.drills import ROOT, SYSTEMS, Home, home_with_lab, shared_memory
from tests.integration.sampler import Sampler, prepare

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]
MOVED = ("legal-person", "sharing")
"""Systems whose primary is in A; open-data has its own in B."""


def sampled(home: Home) -> Sampler:
    prepare([home.address("legal-person/db@a"), home.address("sharing/db@a"), home.address("open-data/db@b")])
    addresses = {i: a for s in SYSTEMS for i, a in home.databases(s).items()}
    return Sampler(addresses, home.path / "sampler.jsonl")


def judge_writers(sampler: Sampler, expected: dict[str, list[str]]) -> None:
    for system, writers in expected.items():
        assert sampler.writers(f"{system}/db") == [f"{system}/db@{c}" for c in writers]
        assert sampler.overlapping(f"{system}/db") == []
    assert min(sampler.attempts.values()) >= 0.2 * sampler.seconds


def three_copies_behind(home: Home, system: str, primary: str, sync: str) -> None:
    """Two more copies of the primary exist: a sync standby, and one that cascades from the standby."""
    assert home.primaries(system) == [f"{system}/db@{primary}"]
    assert home.copies(f"{system}/db@{primary}").get(sync) in {"sync", "quorum"}
    held = {**home.copies(f"{system}/db@{primary}"), **home.copies(f"{system}/db@{sync}")}
    assert set(held) >= {"a", "b", "c"} - {primary}


def test_centre_a_killed(tmp_path: Path) -> None:
    with home_with_lab(tmp_path) as home:
        with sampled(home) as sampler:
            outcome = home.drill("centre-lost", "--lost", "a", "--fault", "kill-centre a")
        assert outcome["state"] == "done"
        for system in MOVED:
            assert home.lost_writes(system, f"{system}/db@b") == set()
            three_copies_behind(home, system, "b", "a")
        assert home.lost_writes("open-data", "open-data/db@b") == set()
        three_copies_behind(home, "open-data", "b", "a")
        judge_writers(sampler, {"legal-person": ["a", "b"], "sharing": ["a", "b"], "open-data": ["b"]})
        home.drctl("verify", "--only", "content")
        home.drctl("evidence", "verify", "last")
        way_home(home)


def way_home(home: Home) -> None:
    """Failback after the failover: primaries where they are declared, nothing lost, three copies."""
    home.drctl("failback")
    for system in MOVED:
        assert home.lost_writes(system, f"{system}/db@a") == set()
        three_copies_behind(home, system, "a", "b")
    home.drctl("check")


def test_city_lost_is_quantified_exactly(tmp_path: Path) -> None:
    with home_with_lab(tmp_path) as home:
        fault = "cut-link a-c; cut-link b-c; kill-centre a; kill-centre b"
        words = ("site-lost", "--lost", "a", "--lost", "b", "--to", "c", "--fault", fault)
        refused = home.drctl("drill", "run", *words, "--mode", "live", expect=5)
        assert "loss" in refused.stderr
        assert home.primaries("legal-person") == ["legal-person/db@a"]
        accepted = ("--accept-loss", "--approved-by", "Li Wei", "--approved-by", "Chen Yu")
        with sampled(home) as sampler:
            outcome = home.drill(*words, *accepted, expect=None)
        assert outcome["state"] == "done"
        stated = {o["system"]: set(o["writes_lost"]) for o in outcome["measurements"]["outages"]}
        for system in SYSTEMS:
            assert stated[system] == home.lost_writes(system, f"{system}/db@c")
            assert home.primaries(system) == [f"{system}/db@c"]
            assert set(home.copies(f"{system}/db@c")) == {"a", "b"}
        assert any(stated.values()), (
            "a city that is lost behind a delayed link loses something, or nothing was measured"
        )
        judge_writers(sampler, {"legal-person": ["a", "c"], "sharing": ["a", "c"], "open-data": ["b", "c"]})


def test_a_frozen_then_thawed_in_the_middle_never_acknowledges_again(tmp_path: Path) -> None:
    with home_with_lab(tmp_path) as home:
        thawer = threading.Thread(target=thaw_after_promote, args=(home,))
        with sampled(home) as sampler:
            thawer.start()
            outcome = home.drill("centre-lost", "--lost", "a", "--fault", "freeze-centre a")
            thawer.join()
        assert outcome["state"] == "done"
        for system in MOVED:
            assert home.lost_writes(system, f"{system}/db@b") == set()
            three_copies_behind(home, system, "b", "a")
        judge_writers(sampler, {"legal-person": ["a", "b"], "sharing": ["a", "b"], "open-data": ["b"]})


def thaw_after_promote(home: Home) -> None:
    """Let centre A go on at the moment when B has just been promoted."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if home.ask("legal-person/db@b", "SELECT pg_is_in_recovery()") == [(False,)]:
            home.drctl("lab", "fault", "thaw-centre a")
            return
        time.sleep(0.01)
    raise AssertionError("B was never promoted")


@pytest.mark.parametrize("fault", ["cut-link a-b", "cut-link a>b"])
def test_a_cut_sync_link_never_loses_silently(tmp_path: Path, fault: str) -> None:
    with home_with_lab(tmp_path) as home:
        with sampled(home) as sampler:
            done = home.drctl(
                "drill", "run", "centre-lost", "--lost", "a", "--fault", fault,
                "--mode", "live", "--output", "json", expect=None,
            )  # fmt: skip
        primary = home.primaries("legal-person")
        assert len(primary) == 1
        stated = done.returncode in {5, 7} or '"writes_lost"' in done.stdout
        assert stated, done.stderr
        lost = home.lost_writes("legal-person", primary[0]) if done.returncode not in {5} else set()
        assert lost == set()
        for system in SYSTEMS:
            assert sampler.overlapping(f"{system}/db") == []
        home.drctl("lab", "heal")


def test_one_service_stopped_moves_alone(tmp_path: Path) -> None:
    with home_with_lab(tmp_path) as home:
        words = ("centre-lost", "--lost", "a", "--system", "legal-person")
        outcome = home.drill(*words, "--fault", "stop-service legal-person/db@a")
        assert outcome["state"] == "done"
        three_copies_behind(home, "legal-person", "b", "a")
        assert home.primaries("sharing") == ["sharing/db@a"]
        assert home.lost_writes("legal-person", "legal-person/db@b") == set()


def test_switchover_over_a_slow_link_loses_nothing(tmp_path: Path) -> None:
    with home_with_lab(tmp_path) as home:
        home.drctl("lab", "fault", "slow-link a-b 40ms")
        with sampled(home) as sampler:
            home.drctl("switchover", "--to", "b")
        home.drctl("lab", "heal")
        for system in MOVED:
            assert home.lost_writes(system, f"{system}/db@b") == set()
            three_copies_behind(home, system, "b", "a")
        judge_writers(sampler, {"legal-person": ["a", "b"], "sharing": ["a", "b"], "open-data": ["b"]})


def test_a_copy_that_lags_is_found_and_named(tmp_path: Path) -> None:
    with home_with_lab(tmp_path) as home:
        home.drctl("lab", "fault", "lag c")
        home.ask("legal-person/db@a", "INSERT INTO drctl_canary VALUES ('lag', 'x', 'e', 'a') RETURNING id")
        done = home.drctl("verify", "--only", "positions", "--timeout", "3", "--output", "json", expect=3)
        assert "legal-person/db@c" in done.stdout
        assert home.ask("legal-person/db@c", "SELECT count(*) FROM drctl_canary WHERE id = 'lag'") == [(0,)]
        home.drctl("lab", "heal")
        home.drctl("verify", "--only", "positions")
        assert home.ask("legal-person/db@c", "SELECT count(*) FROM drctl_canary WHERE id = 'lag'") == [(1,)]
        the_lab_can_show_what_verify_can(home)


def the_lab_can_show_what_verify_can(home: Home) -> None:
    """Storage by the servers' own checker; and after a whole comparison only what was written since."""
    home.drctl("verify", "--only", "storage")
    words = ("verify", "--only", "content", "--system", "legal-person", "--incremental", "--output", "json")
    home.drctl(*words)
    home.ask("legal-person/db@a", "UPDATE legal_person SET status = '迁出' WHERE id = 7 RETURNING id")
    for replica in json.loads(home.drctl(*words).stdout)[0]["replicas"]:
        tables = {t["table"]: t for t in replica["content"]["tables"]}
        assert {t["sameness"] for t in tables.values()} == {"equal"}
        assert int(tables["public.legal_person"]["since"]) > 0


def test_killed_in_the_middle_and_resumed(tmp_path: Path) -> None:
    with home_with_lab(tmp_path) as home:
        words = ("drill", "run", "centre-lost", "--lost", "a", "--mode", "live", "--fault", "kill-centre a")
        executor = subprocess.Popen(
            home.command(*words), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_effect(home, "legal-person/db@b:promote")
        executor.kill()
        executor.wait()
        home.drctl("runs", "resume", "last")
        for system in MOVED:
            assert home.lost_writes(system, f"{system}/db@b") == set()
            three_copies_behind(home, system, "b", "a")
        home.drctl("evidence", "verify", "last")


def wait_for_effect(home: Home, step: str) -> None:
    """Until the journal says that an effect has begun."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for journal in (home.path / "runs").glob("*/journal.jsonl"):
            if any('"effect_started"' in line and step in line for line in journal.read_text().splitlines()):
                return
        time.sleep(0.002)
    raise AssertionError(f"{step} never began")


def test_an_isolated_drill_leaves_nothing_behind(tmp_path: Path) -> None:
    with home_with_lab(tmp_path) as home:
        before = footprint(home)
        home.drctl("drill", "run", "isolated", "--mode", "isolated")
        assert footprint(home) == before
        home.drctl("check")


def footprint(home: Home) -> dict[str, object]:
    """Roles, slots, replication, files and shared memory: what an isolated drill must not change."""
    found: dict[str, object] = {"shared memory": shared_memory()}
    for system in SYSTEMS:
        for instance in home.databases(system):
            found[instance] = home.ask(
                instance,
                "SELECT pg_is_in_recovery(), (SELECT array_agg(slot_name ORDER BY 1) FROM pg_replication_slots), "
                "(SELECT array_agg(application_name ORDER BY 1) FROM pg_stat_replication), "
                "current_setting('primary_conninfo'), current_setting('drctl.epoch', true)",
            )
            data = Path(home.instances[instance]["params"]["pgdata"])
            found[f"{instance} files"] = sorted(p.name for p in data.parent.iterdir())
    return found
