"""Executors that are frozen just before a turn to the outside, and wake up when another has ended their run.

Each that takes over may be frozen too, at the next point; at the end all of them wake up, one after the other, and none
of them may take its turn any more.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Iterator, Sequence

import psutil
import psycopg

from orchestrator.providers.haproxy import admin_states
from tests.crash.commands import call, start
from tests.crash.judge import codes
from tests.crash.lives import Wanted
from tests.crash.scenarios import Scenario
from tests.integration.drills import SYSTEMS, Home

REFUSED = 5
ENDS_S = 150.0
STOP = "~stop"


class Frozen:
    """A run whose executors are frozen, one after the other."""

    def __init__(self, home: Home, scenario: Scenario) -> None:
        self._home, self._scenario = home, scenario
        self._words: Sequence[str] = scenario.words
        self._frozen: list[tuple[str, subprocess.Popen[str]]] = []
        self.ended = False
        """An executor that was to be frozen ended the run: it came by none of the points."""

    @property
    def points(self) -> list[str]:
        """Where executors were frozen, in order."""
        return [point for point, _ in self._frozen]

    def at(self, points: Sequence[str]) -> Iterator[str]:
        """Freeze one at each of these in turn; yields what is wrong."""
        for point in points:
            if not (yield from self._freeze(point)):
                yield f"it was not frozen at {point}"
                break
        yield from self._end()

    def at_any(self, wanted: Wanted, most: int) -> Iterator[str]:
        """Freeze each at the first of the wanted points that it comes by, at most so many; yields what is wrong."""
        file = self._home.path / "unstruck"
        wanted.write(file)
        while len(self._frozen) < most and (yield from self._freeze(f"unstruck:{file}")):
            self._frozen[-1] = (file.read_text().splitlines()[-1][1:], self._frozen[-1][1])
        yield from self._end()

    def _freeze(self, at: str) -> Generator[str, None, bool]:
        process = start(self._home, self._words, at)
        if stands_still(process.pid):
            self._frozen.append((at, process))
            self._words = (*self._scenario.recover, "--takeover")
            return True
        self.ended = True
        _, err = process.communicate(timeout=ENDS_S)
        if process.returncode not in codes(self._home, self._scenario):
            yield f"the run ended with {process.returncode} after {len(self._frozen)} freezes: {err[-300:]}"
        return False

    def _end(self) -> Iterator[str]:
        try:
            if not self.ended:
                done = call(self._home, self._words)
                if done.code not in codes(self._home, self._scenario):
                    yield f"the takeover ended with {done.code}: {done.err[-300:]}"
            for point, process in self._frozen:
                yield from (f"frozen at {point}: {problem}" for problem in self._wake(process))
        finally:
            for _, process in self._frozen:
                process.send_signal(signal.SIGCONT)

    def _wake(self, process: subprocess.Popen[str]) -> Iterator[str]:
        before = traces(self._home)
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=ENDS_S)
        if process.returncode != REFUSED or "taken over" not in err:
            yield f"the late executor ended with {process.returncode}: {err[-300:]}"
        if traces(self._home) != before:
            yield "the late executor changed something"


def stands_still(pid: int) -> bool:
    """Wait until a process has frozen itself; False where it has ended instead."""
    process = psutil.Process(pid)
    deadline = time.monotonic() + ENDS_S
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() == psutil.STATUS_STOPPED:
                return True
            if process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
                continue
        return False
    return False


def traces(home: Home) -> object:
    """What a late executor could change: the run's files, and settings and positions of the databases."""
    sql = "SELECT current_setting('drctl.epoch', true), pg_is_in_recovery(), current_setting('primary_conninfo')"
    folder = home.run_folder()
    kept = [p for p in folder.rglob("*") if p.is_file() and p.name != "store.log" and "artifacts" not in p.parts]
    files = {p: p.stat().st_mtime_ns for p in kept}
    databases = {i: _asked(home, i, sql) for i in home.databases("legal-person")}
    return files, databases, [routes(home, system) for system in SYSTEMS]


def _asked(home: Home, instance: str, sql: str) -> object:
    try:
        return home.ask(instance, sql)
    except psycopg.Error:
        return "no answer"


def routes(home: Home, system: str) -> dict[str, int]:
    """Administrative state of each server of an entry, as its admin socket tells it."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(home.instances[f"{system}/entry@edge"]["params"]["admin_socket"])
        line.sendall(b"show servers state app\n")
        with line.makefile() as answer:
            return dict(admin_states(answer.read()))
