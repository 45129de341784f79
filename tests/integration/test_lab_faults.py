"""Every fault of the lab, its effect read from the databases, and the way back."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.errors import Refused, Usage
from orchestrator.lab import control, faults, layout, postgres, state
from tests.integration.labs import Lab, wait_for

pytestmark = pytest.mark.lab
PRIMARY, SYNC, FAR, ENTRY = "legal-person/db@a", "legal-person/db@b", "legal-person/db@c", "legal-person/entry@edge"
RECEIVING = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
NOBODY = "refused|closed the connection unexpectedly"
"""What psycopg says where nobody listens: at once on loopback, a moment later over a network."""
STREAMS = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that failed half-way leaves no fault to the next one."""
    yield
    if "fresh_lab" in request.fixturenames:
        request.getfixturevalue("fresh_lab").heal()


def healthy(lab: Lab) -> None:
    """Wait until every database replicates as declared and every entry takes a write."""
    for system in layout.SYSTEMS:
        primary, sync, far = (f"{system.id}/db@{c}" for c in (system.primary, system.sync, system.cascade))
        wait_for(lambda p=primary: lab.one(p, f"{STREAMS} AND sync_state = 'quorum'") == 1, f"{primary} sync")  # type: ignore[misc]
        wait_for(lambda s=sync: lab.one(s, STREAMS) == 1, f"{sync} sends on")  # type: ignore[misc]
        wait_for(lambda f=far: lab.one(f, RECEIVING) == 1, f"{far} receives")  # type: ignore[misc]
        entry = f"{system.id}/entry@edge"
        wait_for(lambda e=entry: lab.write(e, "healthy") == 201, f"{entry} takes a write")  # type: ignore[misc]


def counted(lab: Lab, instance: str) -> int:
    found = lab.one(instance, "SELECT count(*) FROM drctl_canary")
    assert isinstance(found, int)
    return found


def test_a_killed_centre_is_dead_and_heals_as_it_was(fresh_lab: Lab) -> None:
    before = fresh_lab.started
    fresh_lab.inject("kill-centre a")
    assert not any("/a/" in p.cwd for p in control.processes(fresh_lab.dir))
    assert fresh_lab.started < before
    for instance in (PRIMARY, "sharing/db@a", "open-data/db@a"):
        with pytest.raises(psycopg.OperationalError, match=NOBODY):
            fresh_lab.one(instance, "SELECT 1")
    assert fresh_lab.faults == ["kill-centre a"]
    assert fresh_lab.one(SYNC, "SELECT pg_is_in_recovery()") is True
    assert fresh_lab.write(ENTRY, "dark") in (503, 504)
    fresh_lab.heal()
    healthy(fresh_lab)
    assert fresh_lab.one(PRIMARY, "SELECT pg_is_in_recovery()") is False
    assert fresh_lab.faults == []


def test_apps_that_have_every_connection_leave_the_operators(fresh_lab: Lab) -> None:
    """Writes that wait for a dead sync standby pile up until the primary takes no app in any more."""
    host, _, port = fresh_lab.address(PRIMARY).rpartition(":")

    def connect(held: contextlib.ExitStack, times: int) -> None:
        for _ in range(times):
            words = f"host={host} port={port} user={layout.APP_USER} dbname={layout.DATABASE}"
            held.enter_context(psycopg.connect(words))

    with contextlib.ExitStack() as held:
        with pytest.raises(psycopg.OperationalError, match="reserved for"):
            connect(held, 100)
        assert fresh_lab.one(PRIMARY, "SELECT pg_is_in_recovery()") is False


def test_a_frozen_centre_is_silent_and_still_claims_to_be_primary_when_thawed(fresh_lab: Lab) -> None:
    fresh_lab.inject("freeze-centre a")
    fresh_lab.inject("freeze-centre a")
    with pytest.raises(psycopg.OperationalError, match="timeout"):
        fresh_lab.one(PRIMARY, "SELECT 1")
    wait_for(lambda: fresh_lab.one(SYNC, RECEIVING) == 0, "the standby gives the frozen primary up")
    assert "freeze-centre a" in fresh_lab.faults
    fresh_lab.inject("thaw-centre a")
    assert fresh_lab.one(PRIMARY, "SELECT pg_is_in_recovery()") is False
    healthy(fresh_lab)


def test_a_cut_link_stalls_and_refuses_nobody_and_heals_without_loss(fresh_lab: Lab) -> None:
    held = fresh_lab.connect(PRIMARY, "b")
    held.execute("SELECT 1")
    fresh_lab.inject("cut-link a-b")
    answers: list[object] = []
    late = threading.Thread(target=lambda: answers.append(held.execute("SELECT 'late'").fetchone()))
    late.start()
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="timeout"):
        fresh_lab.connect(PRIMARY, "b", within_s=2)
    assert time.monotonic() - began >= 1.9
    assert not answers
    wait_for(lambda: fresh_lab.one(PRIMARY, STREAMS) == 0, "the primary gives its standby up")
    assert fresh_lab.write("legal-person/app@a", "cut") == 504
    assert counted(fresh_lab, SYNC) < counted_even_unacknowledged(fresh_lab)
    assert fresh_lab.one(FAR, RECEIVING) == 1
    fresh_lab.heal()
    late.join(timeout=5)
    assert answers == [("late",)]
    held.close()
    healthy(fresh_lab)
    assert fresh_lab.one(SYNC, "SELECT count(*) FROM drctl_canary WHERE id = 'cut'") == 1


def counted_even_unacknowledged(lab: Lab) -> int:
    """Rows in the primary's log: a commit that waits for its standby shows to nobody, but its row is there."""
    lab.sql(PRIMARY, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    wait_for(lambda: lab.one(PRIMARY, "SELECT count(*) FROM drctl_canary WHERE id = 'cut'") == 1, "the row shows")
    return counted(lab, PRIMARY)


def test_a_link_cut_one_way_lets_the_other_way_through(fresh_lab: Lab) -> None:
    fresh_lab.inject("cut-link a>b")
    sent, moment = fresh_lab.sql(PRIMARY, "SELECT sent_lsn, clock_timestamp() FROM pg_stat_replication")[0]
    heard = "SELECT 1 FROM pg_stat_replication WHERE reply_time > %s"
    wait_for(lambda: fresh_lab.sql(PRIMARY, heard, (moment,)), "the standby is still heard", 3.0)
    ways = {(w.source, w.target): w.cut for w in fresh_lab.status.ways}
    assert [way for way, cut in ways.items() if cut] == [("a", "b")]
    assert fresh_lab.write("legal-person/app@a", "one-way") == 504
    assert fresh_lab.one(SYNC, "SELECT pg_last_wal_receive_lsn() <= %s::pg_lsn", sent) is True
    assert fresh_lab.faults == ["cut-link a>b"]
    fresh_lab.heal()
    healthy(fresh_lab)


def test_a_slow_link_shows_in_the_lag_that_the_database_measures(fresh_lab: Lab) -> None:
    fresh_lab.inject("slow-link b-c 300ms")
    began = time.monotonic()
    wait_for(lambda: fresh_lab.write(ENTRY, "slow") == 201, "a write")
    wait_for(lambda: fresh_lab.one(FAR, "SELECT count(*) FROM drctl_canary WHERE id = 'slow'") == 1, "it arrives")
    assert time.monotonic() - began >= 0.3
    assert fresh_lab.faults == ["slow-link b-c 300ms"]
    fresh_lab.heal()
    healthy(fresh_lab)
    assert fresh_lab.faults == []


def test_lag_fills_up_while_replay_is_paused(fresh_lab: Lab) -> None:
    fresh_lab.inject("lag c")
    wait_for(lambda: fresh_lab.one(FAR, "SELECT pg_get_wal_replay_pause_state()") == "paused", "paused")
    shown = counted(fresh_lab, FAR)
    assert [fresh_lab.write(ENTRY, f"lag-{n}") for n in range(5)] == [201] * 5
    behind = "SELECT pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn()"
    wait_for(lambda: fresh_lab.one(FAR, behind) > 0, "received and not replayed")
    assert counted(fresh_lab, FAR) == shown
    assert fresh_lab.faults == ["lag c"]
    fresh_lab.heal()
    wait_for(lambda: counted(fresh_lab, FAR) == shown + 5, "replayed")


def test_a_stopped_service_leaves_the_others_and_comes_back(fresh_lab: Lab) -> None:
    fresh_lab.inject("stop-service legal-person/db@b; stop-service sharing/app@a")
    assert fresh_lab.faults == ["stop-service sharing/app@a", "stop-service legal-person/db@b"]
    with pytest.raises(psycopg.OperationalError, match=NOBODY):
        fresh_lab.one(SYNC, "SELECT 1")
    assert fresh_lab.write("legal-person/app@a", "alone") == 504
    wait_for(lambda: fresh_lab.write("sharing/entry@edge", "other-app") == 201, "the entry uses the other app")
    assert "started legal-person/db@b" in fresh_lab.heal()
    healthy(fresh_lab)


def test_an_entry_comes_back_with_the_routes_it_was_told(fresh_lab: Lab) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as call:
        call.connect(fresh_lab.endpoints["open-data/entry@edge"].params["admin_socket"])
        call.sendall(b"set server app/a state maint\n")
        call.recv(100)
    assert fresh_lab.instance("open-data/entry@edge").role == "routes to b"
    fresh_lab.inject("stop-service open-data/entry@edge")
    fresh_lab.heal()
    assert fresh_lab.instance("open-data/entry@edge").role == "routes to b"


def test_an_isolated_instance_is_out_of_the_other_centres_reach_until_restored(fresh_lab: Lab) -> None:
    params = fresh_lab.endpoints["sharing/db@a"].params
    subprocess.run(shlex.split(params["fence_route_command"]), check=True, timeout=20)
    try:
        assert fresh_lab.isolated == ["sharing/db@a"]
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            fresh_lab.connect("sharing/db@a", "c", within_s=2)
        assert fresh_lab.sql(PRIMARY, "SELECT 1", viewer="c") == [(1,)]
        fresh_lab.heal()
        assert fresh_lab.isolated == ["sharing/db@a"]
    finally:
        subprocess.run(shlex.split(params["unfence_route_command"]), check=True, timeout=20)
    assert fresh_lab.isolated == []
    assert fresh_lab.sql("sharing/db@a", "SELECT 1", viewer="c") == [(1,)]


def test_a_commit_that_stopped_waiting_is_not_acknowledged(fresh_lab: Lab) -> None:
    """PostgreSQL answers such a commit with success and a warning; the app must call it in doubt."""
    healthy(fresh_lab)
    fresh_lab.inject("stop-service open-data/db@a")
    statuses: list[int] = []
    writer = threading.Thread(target=lambda: statuses.append(fresh_lab.write("open-data/app@b", "cancelled")))
    writer.start()
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'drctl-app'"
    wait_for(lambda: fresh_lab.sql("open-data/db@b", waiting), "a commit that waits", 1.9)
    fresh_lab.sql("open-data/db@b", f"SELECT pg_cancel_backend(pid) FROM ({waiting}) AS w")
    writer.join(timeout=5)
    assert statuses == [504]
    assert fresh_lab.one("open-data/db@b", "SELECT count(*) FROM drctl_canary WHERE id = 'cancelled'") == 1
    fresh_lab.heal()


def test_the_app_writes_within_a_moment_of_its_database_being_back(fresh_lab: Lab) -> None:
    healthy(fresh_lab)
    lab = state.require(fresh_lab.dir)
    place = layout.place("open-data/db@b")
    assert place is not None
    fresh_lab.inject("stop-service open-data/db@b")
    assert fresh_lab.write("open-data/app@b", "gone") == 503
    postgres.start(lab, place)
    wait_for(lambda: postgres.answers(lab, place), "the database answers")
    wait_for(lambda: fresh_lab.write("open-data/app@b", "back") in (201, 504), "the app is back", 0.5)
    healthy(fresh_lab)


def test_a_superseded_primary_and_a_fenced_one_are_left_alone(fresh_lab: Lab) -> None:
    """The last test of this lab: B is promoted, so A must not come back as it was."""
    healthy(fresh_lab)
    fresh_lab.inject("kill-centre a")
    fresh_lab.sql(SYNC, "ALTER SYSTEM SET synchronous_standby_names = ''")
    fresh_lab.sql(SYNC, "SELECT pg_reload_conf(), pg_promote()")
    fenced = state.require(fresh_lab.dir).root + "/a/open-data/db/pgdata/" + postgres.FENCED
    with open(fenced, "w") as file:
        file.write("fenced by a test")
    notes = fresh_lab.heal()
    assert f"left {PRIMARY}: another primary of its service lives; rejoin it" in notes
    assert any(note.startswith("left open-data/db@a: fenced") for note in notes)
    assert "started sharing/db@a" in notes
    assert fresh_lab.instance("open-data/db@a").condition == "fenced"
    with pytest.raises(psycopg.OperationalError, match=NOBODY):
        fresh_lab.one(PRIMARY, "SELECT 1")
    fresh_lab.inject("stop-service legal-person/db@b")
    notes = fresh_lab.heal()
    assert f"left {PRIMARY}: another one of its service was primary after it; rejoin it" in notes
    assert "started legal-person/db@b" in notes
    assert fresh_lab.one(SYNC, "SELECT pg_is_in_recovery()") is False


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("", "no fault", "kill-centre a"),
        (" ; ", "no fault", "kill-centre a"),
        ("kil-centre a", "unknown fault 'kil-centre'", "did you mean 'kill-centre'?"),
        ("kill-centre", "takes 1 word, not 0", "kill-centre a"),
        ("kill-centre d", "no centre 'd'", "a, b, c"),
        ("cut-link a", "no link 'a'", "a-b, a-c, b-c"),
        ("cut-link a-a", "no link 'a-a'", "a-b"),
        ("slow-link a-b", "takes 2 words, not 1", "200ms"),
        ("slow-link a-b 20", "'20' is no delay", "unit"),
        ("slow-link a-b 61s", "'61s' is no delay", "60s"),
        ("slow-link a-b -1ms", "'-1ms' is no delay", "unit"),
        ("stop-service sharing/bd@a", "no instance 'sharing/bd@a'", "did you mean 'sharing/db@a'?"),
        ("kill-centre a; lagg c", "unknown fault 'lagg'", "did you mean 'lag'?"),
    ],
)
def test_a_fault_that_is_none_is_refused_before_anything_is_done(words: str, message: str, hint: str) -> None:
    with pytest.raises(Usage) as caught:
        faults.parse(words)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_faults_are_understood() -> None:
    both, one, slow = faults.parse("cut-link b-a; cut-link c>b;slow-link a-c 1.5s")
    assert both.ways == (("b", "a"), ("a", "b"))
    assert one.ways == (("c", "b"),)
    assert slow.delay_ms == 1500


def test_no_fault_without_a_lab(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no lab is up"):
        faults.inject(tmp_path, "kill-centre a")
