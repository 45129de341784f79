"""The test hook: what it reads, and that it counts an action's turns to the outside and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.crashpoint import CRASH_AT, CrashPoint, outward
from orchestrator.errors import Usage
from orchestrator.model.plan import Verb
from orchestrator.model.run import Event
from tests.simestate import plan, step
from tests.stage import A


def test_it_reads_boundaries_and_insides() -> None:
    found = CrashPoint.parse("step_done:legal-person/db@b:promote:after+250")
    assert (found.event, found.step, found.after) == (Event.STEP_DONE, "legal-person/db@b:promote", True)
    assert found.later_s == 0.25
    found = CrashPoint.parse("inside:legal-person/db@b:promote:3")
    assert (found.event, found.step, found.turn, found.later_s) == (None, "legal-person/db@b:promote", 3, 0.0)


@pytest.mark.parametrize(
    "text", ["nonsense", "step_done:x", "step_done:x:3", "inside:x:after", "no_event:x:after", "step_done:x:after+"]
)
def test_what_it_cannot_read_is_refused(text: str) -> None:
    with pytest.raises(Usage, match="cannot read"):
        CrashPoint.parse(text)


def test_no_variable_no_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CRASH_AT, raising=False)
    assert CrashPoint.from_environment(plan([step("one", Verb.START, A)])) is None
    monkeypatch.setenv(CRASH_AT, "inside:one:1")
    with pytest.raises(Usage, match="not a lab"):
        CrashPoint.from_environment(plan([step("one", Verb.START, A)], lab=False))


async def test_turns_are_counted_for_each_action_and_in_its_tasks(tmp_path: Path) -> None:
    point = CrashPoint.parse(f"trace:{tmp_path / 'trace'}")

    async def act(name: str, turns: int) -> None:
        with point.within(name):
            for _ in range(turns):
                await asyncio.create_task(turn())

    async def turn() -> None:
        await asyncio.sleep(0)
        outward()

    outward()  # a look, outside of every action
    await asyncio.gather(act("one", 2), act("two", 1))
    outward()
    assert sorted((tmp_path / "trace").read_text().split("\n")) == ["", "one 0", "one 1", "one 2", "two 0", "two 1"]


def one_life(path: Path) -> None:
    """A step of nine turns, and the end of its run."""
    point = CrashPoint.parse(f"unstruck:{path}")
    point.strike(Event.STEP_STARTED, "one", after=False)
    point.strike(Event.STEP_STARTED, "one", after=True)
    with point.within("one"):
        for _ in range(9):
            outward()
        time.sleep(0.2)
    point.strike(Event.RUN_CLOSED, "", after=True)


def a_race(path: Path) -> None:
    """Eight threads that come to eight points at once, and a death that takes its time."""
    kill = os.kill

    def slowly(pid: int, sign: int) -> None:
        time.sleep(0.1)
        kill(pid, sign)

    vars(os)["kill"] = slowly
    point = CrashPoint.parse(f"unstruck:{path}")
    gate = threading.Barrier(8)

    def strike(name: str) -> None:
        gate.wait()
        point.strike(Event.STEP_STARTED, name, after=False)
        path.with_suffix(".on").touch()  # it went on, past a point at which it was to die

    threads = [threading.Thread(target=strike, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def begin(life: Callable[[Path], None], path: Path) -> int:
    """Live it in a process of its own; its number."""
    child = os.fork()
    if not child:
        code = 1
        try:
            life(path)
            code = 0
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    """How it ended."""
    status = os.waitpid(child, os.WUNTRACED)[1]
    if os.WIFSTOPPED(status):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def lives(path: Path, most: int = 40) -> int:
    """Let one life after the other begin until one comes to its end; how many were killed."""
    for number in range(most):
        if (code := ended(begin(one_life, path))) != -signal.SIGKILL:
            assert code == 0
            return number
    raise AssertionError(f"still dying after {most} lives: {path.read_text()}")


def test_each_life_strikes_a_point_that_none_has_struck(tmp_path: Path) -> None:
    path = tmp_path / "points"
    path.write_text("+*\n-step_started:one:after\n")
    struck = ["step_started:one:before", *(f"inside:one:{n}" for n in (0, 1, 2, 3, 4, 5, 8)), "run_closed:*:after"]
    assert lives(path) == len(struck)
    assert path.read_text().splitlines()[2:] == [f"-{point}" for point in struck]


def test_only_what_is_wanted_is_struck_and_moments_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "points"
    wanted = ["inside:one:0+80", "inside:one:0+20;run_resumed:*:before", "inside:one:7", "inside:one:0+60000"]
    path.write_text("".join(f"+{text}\n" for text in wanted))
    assert lives(path) == 3
    # the seventh turn comes before any moment; a moment that the life does not reach is not kept waiting for
    assert path.read_text().splitlines()[4:] == [f"-{wanted[n]}" for n in (2, 0, 1)]


def test_one_life_strikes_once_where_two_threads_come_to_their_points_at_once(tmp_path: Path) -> None:
    path = tmp_path / "points"
    path.write_text("+*\n")
    for life in range(1, 4):
        assert ended(begin(a_race, path)) == -signal.SIGKILL
        assert len(path.read_text().splitlines()) == 1 + life
        assert life > 1 or not path.with_suffix(".on").exists()  # later, one comes by a point that is struck already


def test_frozen_once_it_goes_on_and_is_not_struck_again(tmp_path: Path) -> None:
    path = tmp_path / "points"
    path.write_text("+inside:one:2~stop\n+run_closed:*:after~stop\n")
    child = begin(one_life, path)
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    assert path.read_text().splitlines()[2:] == ["-inside:one:2~stop"]
    os.kill(child, signal.SIGCONT)
    assert ended(child) == 0
    assert len(path.read_text().splitlines()) == 3
