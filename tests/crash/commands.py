"""drctl as a user calls it, with a crash point in its environment."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator import canary
from orchestrator.crashpoint import CRASH_AT
from tests.crash.forks import Forks
from tests.integration.drills import ROOT, Home

KILLED = -signal.SIGKILL
WITHIN_S = 240.0
_STARTED: list[subprocess.Popen[str]] = []
_FORKS: list[Forks] = []


class Done(NamedTuple):
    """How a command ended."""

    code: int
    err: str


def start(home: Home, words: Sequence[str], crash_at: str = "") -> subprocess.Popen[str]:
    """Start a drctl command; its standard output is not kept."""
    environment = {k: v for k, v in os.environ.items() if k != CRASH_AT} | ({CRASH_AT: crash_at} if crash_at else {})
    process = subprocess.Popen(
        home.command(*words), cwd=ROOT, env=environment, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    _STARTED.append(process)
    return process


def end_all(home: Home) -> None:
    """Nothing that a case started outlives it: no executor that was stopped or forgotten, no canary."""
    for process in _STARTED:
        if process.poll() is None:
            process.kill()
            process.wait()
    _STARTED.clear()
    for folder in home.path.glob("runs/*/canary"):
        canary.stop(folder)


def call(home: Home, words: Sequence[str], crash_at: str = "") -> Done:
    """Call drctl to its end or its death; one that hangs is killed, and counts as killed at no point of ours."""
    process = start(home, words, crash_at)
    try:
        _, err = process.communicate(timeout=WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        _, err = process.communicate()
        return Done(-1, f"no end within {WITHIN_S:g} s: {err}")
    return Done(process.returncode, err)


def call_forked(home: Home, words: Sequence[str], crash_at: str) -> Done:
    """As `call`, for a life that is expected to be killed: forked from a process that has imported everything."""
    if not _FORKS:
        _FORKS.append(Forks())
    err = home.path / "forked.err"
    code = _FORKS[0].call(home.command(*words)[3:], {CRASH_AT: crash_at}, str(err), WITHIN_S)
    said = err.read_text(errors="replace")
    return Done(-1, f"no end within {WITHIN_S:g} s: {said}") if code is None else Done(code, said)


def end_forks() -> None:
    """End the process that forks; the next life begins another."""
    while _FORKS:
        _FORKS.pop().close()
