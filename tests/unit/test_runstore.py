"""Run folders: created whole or not at all, listed from plan and journal, owned by one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.diskfile import read, write
from orchestrator.errors import BadFile, Refused, Tampered, Usage
from orchestrator.execution import runstore
from orchestrator.execution.conversation import Control
from orchestrator.execution.history import Answer
from orchestrator.execution.runstore import Owner, Run
from orchestrator.executor import execute
from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.plan import Mode, Plan, Verb
from orchestrator.model.run import RunState
from tests.simestate import plan, step, topology
from tests.simworld import SimWorld

A = "people/db@a"
NOTHING = Snapshot(estate="sim", taken_at="2026-11-23T00:00:00Z", took_s=0.0, readings=())


def one() -> Plan:
    return plan([step("one", Verb.START, A), step("q:ask", Verb.ASK, system="people", needs=["one"])])


def create(home: Path, made: Plan | None = None, before: Snapshot = NOTHING) -> Run:
    return runstore.create_run(home, made or one(), topology(), (), before)


def carry_out(home: Path, run: Run) -> RunState:
    world = SimWorld(topology(), home / "effects")
    state = asyncio.run(execute(run.plan, run, world.ports(run)))
    run.release()
    return state


def test_a_run_is_found_again_as_it_was_made(tmp_path: Path) -> None:
    made = create(tmp_path)
    made.release()
    found = runstore.open_run(tmp_path, made.id)
    assert found.plan.sha256 == made.plan.sha256
    assert found.topology == topology()
    assert found.before == NOTHING
    assert found.approvals == ()
    names = {p.name for p in made.path.iterdir()}
    assert {"plan.json", "topology.json", "approvals.json", "before.json", "journal.jsonl", "owner.json"} <= names


def test_the_id_says_when_and_what(tmp_path: Path) -> None:
    made = create(tmp_path, replace(one(), scenario="Centre lost", lost=("a",)))
    day, second, *words = made.id.split("-")
    assert len(day) == 8 and len(second) == 6
    assert words[:-1] == ["centre", "lost", "a"] and len(words[-1]) == 4


def test_a_list_follows_the_journal(tmp_path: Path) -> None:
    assert runstore.list_runs(tmp_path) == ()
    run = create(tmp_path)
    (alive,) = runstore.list_runs(tmp_path)
    assert (alive.state, alive.owner_alive, alive.steps_done, alive.steps) == (RunState.RUNNING, True, 0, 2)
    assert carry_out(tmp_path, run) is RunState.DONE
    (done,) = runstore.list_runs(tmp_path)
    assert (done.state, done.owner_alive, done.steps_done) == (RunState.DONE, False, 2)
    assert done.ended_at > done.started_at


def test_a_list_does_not_end_at_a_run_that_cannot_be_read(tmp_path: Path) -> None:
    bad, worse = create(tmp_path), create(tmp_path, plan([step("x", Verb.START, "maps/db@a")]))
    good = create(tmp_path, plan([step("x", Verb.START, "roads/db@a")]))
    journal = bad.path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"epoch":', b'"epoch": '))
    (worse.path / "plan.json").write_text("{")
    assert [s.run for s in runstore.list_runs(tmp_path)] == [good.id]
    broken = dict(runstore.broken_runs(tmp_path))
    assert isinstance(broken[bad.id], Tampered)
    assert isinstance(broken[worse.id], BadFile)


def test_a_run_by_a_unique_beginning_or_last(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="no run"):
        runstore.open_run(tmp_path, "last")
    names = [create(tmp_path, plan([step("x", Verb.START, f"{s}/db@a")])).id for s in ("p", "q")]
    assert runstore.open_run(tmp_path, "last").id == max(names)
    assert runstore.open_run(tmp_path, names[0]).id == names[0]
    with pytest.raises(Usage, match="could be 2 runs"):
        runstore.open_run(tmp_path, names[0][:8])
    with pytest.raises(Usage, match="no run"):
        runstore.open_run(tmp_path, "")
    with pytest.raises(Usage, match="no run"):
        runstore.open_run(tmp_path, "../runs")


def test_no_second_run_on_a_system_that_an_unfinished_one_changes(tmp_path: Path) -> None:
    first = create(tmp_path)
    with pytest.raises(Refused, match=first.id):
        create(tmp_path)
    create(tmp_path, replace(one(), mode=Mode.TABLETOP)).release()
    create(tmp_path, plan([step("x", Verb.START, "maps/db@a")])).release()
    carry_out(tmp_path, first)
    create(tmp_path).release()


def test_what_a_crash_in_the_middle_of_create_left_is_no_run(tmp_path: Path) -> None:
    left = tmp_path / "runs" / ".new-20261123-000000-x-abcd"
    left.mkdir(parents=True)
    (left / "plan.json").write_text("half")
    assert runstore.list_runs(tmp_path) == ()
    assert runstore.broken_runs(tmp_path) == ()
    create(tmp_path)
    assert not left.exists()


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    run = create(tmp_path)
    other = runstore.open_run(tmp_path, run.id)
    assert other.owner_alive()
    with pytest.raises(Refused, match="live process"):
        other.acquire()
    with pytest.raises(Refused, match="not owned"):
        _ = other.journal
    run.release()
    assert not other.owner_alive()
    other.acquire()
    owner = read(run.path / "owner.json", Owner)
    assert (owner.pid, owner.epoch) == (os.getpid(), other.epoch)
    other.release()


def test_epochs_only_rise_and_stand_above_what_was_seen(tmp_path: Path) -> None:
    run = create(tmp_path)
    first = run.epoch
    run.release()
    run.acquire()
    assert run.epoch > first
    second = create(
        tmp_path,
        plan([step("x", Verb.START, "maps/db@a")]),
        replace(NOTHING, readings=(Reading(instance=A, reach=Reach.ANSWERED, took_s=0.0, epoch=500),)),
    )
    assert second.epoch == 501
    third = create(tmp_path, plan([step("x", Verb.START, "roads/db@a")]))
    assert third.epoch == 502
    (tmp_path / "epoch").unlink()
    third.release()
    third.acquire()
    assert third.epoch == 503, "the run's own journal remembers"


def test_a_journal_of_another_run_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.release()
    other = create(tmp_path, plan([step("x", Verb.START, "maps/db@a")]))
    other.release()
    (run.path / "journal.jsonl").write_bytes((other.path / "journal.jsonl").read_bytes())
    with pytest.raises(Tampered, match="another plan or run"):
        run.acquire()
    assert not run.owner_alive(), "what cannot be opened is not held"


def test_answers_and_controls_are_files(tmp_path: Path) -> None:
    run = create(tmp_path)
    assert run.control() is Control.GO
    run.ask_control(Control.ABORT)
    assert run.control() is Control.ABORT
    (run.path / "control").write_text("nonsense")
    assert run.control() is Control.GO
    assert run.answer_of("q:ask") is None
    run.give_answer("q:ask", Answer(answer="yes", name="Li Wei"))
    assert run.answer_of("q:ask") == Answer(answer="yes", name="Li Wei")
    run.take_answer("q:ask")
    assert run.answer_of("q:ask") is None
    with pytest.raises(Usage, match="no step 'q:asq'") as caught:
        run.give_answer("q:asq", Answer(answer="yes", name="Li Wei"))
    assert "did you mean 'q:ask'" in caught.value.hint
    with pytest.raises(Usage, match="no step 'one'"):
        run.give_answer("one", Answer(answer="yes", name="Li Wei"))
    with pytest.raises(Usage, match="needs a name"):
        run.give_answer("q:ask", Answer(answer="yes", name=" "))
    run.ask_control(Control.GO)
    carry_out(tmp_path, run)
    with pytest.raises(Refused, match="closed"):
        run.give_answer("q:ask", Answer(answer="yes", name="Li Wei"))
    with pytest.raises(Refused, match="has ended: done"):
        run.require_resumable()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write(path, NOTHING)
    assert read(path, Snapshot) == NOTHING
    with pytest.raises(Refused, match="cannot write"):
        write(tmp_path / "nowhere" / "x.json", NOTHING)
    with pytest.raises(BadFile, match="is missing"):
        read(tmp_path / "none.json", Snapshot)
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
