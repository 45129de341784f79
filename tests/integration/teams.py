"""What the take-over tests share: a lab with a state store; controllers and workers that stand and die in a centre."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from orchestrator import canary
from orchestrator.app import load
from orchestrator.errors import Refused
from orchestrator.lab import control, faults
from orchestrator.lab.state import LabState, require
from orchestrator.model.canary import value_of
from orchestrator.model.topology import Topology
from orchestrator.settings import Settings
from tests.integration.drills import Home

WITHIN_S = 240.0


class Team:
    """A lab with its state store, and the processes of a team in its centres."""

    def __init__(self, path: Path) -> None:
        self.path, self.lab_dir = path, path / "lab"
        self.lab: LabState = require(self.lab_dir)
        self.home = Home(path)
        told = json.loads((self.lab_dir / "state.json").read_text())
        self.urls: dict[str, str] = told["seen_from"]
        self._begun: list[subprocess.Popen[str]] = []

    def folder(self, centre: str, name: str) -> Path:
        """A home in a centre: a process that works there is killed with the centre."""
        path = Path(self.lab.root) / centre / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def command(self, centre: str, home: Path, *words: str) -> list[str]:
        """drctl as it is called in a centre."""
        drctl = [sys.executable, "-m", "orchestrator.cli.main", "--lang", "en"]
        return [*drctl, "--home", str(home), "--lab", str(self.lab_dir), "--state", self.urls[centre], *words]

    def start(self, centre: str, name: str, *words: str) -> subprocess.Popen[str]:
        """A process of the centre: it bears the lab's mark and works in the centre's folder."""
        home = self.folder(centre, name)
        begun = subprocess.Popen(
            self.command(centre, home, *words), cwd=home, text=True, env={**os.environ, "DRCTL_LAB_ID": self.lab.id},
            stdout=(self.path / f"{name}-{centre}.out").open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._begun.append(begun)
        return begun

    def controller(self, centre: str, *words: str) -> subprocess.Popen[str]:
        """A controller that carries a drill out."""
        return self.start(centre, "controller", "--centre", centre, "drill", "run", *words, "--mode", "live")

    def controller_at(self, step: str, centre: str, *words: str) -> subprocess.Popen[str]:
        """A controller whose journal says that the effect of a step began.

        One that is refused, because on a busy machine a look took too long, has touched nothing, and is started anew.
        """
        for _ in range(4):
            begun = self.controller(centre, *words)
            self.until(partial(self._come_so_far, begun, centre, step), f"{step} began")
            if begun.poll() != Refused.exit_code:
                break
        assert begun.poll() is None, self.output(f"controller-{centre}")
        return begun

    def _come_so_far(self, begun: subprocess.Popen[str], centre: str, step: str) -> bool:
        return begun.poll() is not None or self.began(centre, step)

    def workers(self, *centres: str) -> None:
        """A worker in each centre, each with a heartbeat in the store and an eye on the others."""
        for centre in centres:
            self.start(centre, "worker", "worker", "--centre", centre)
        self.until(lambda: len(self.store("a", "select from drctl.workers")) == len(centres), "workers give heartbeats")
        time.sleep(1)

    def takeover(self, centre: str, *words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """`drctl takeover last` in a centre, from a home that knows nothing of the run."""
        home = self.folder(centre, "operator")
        done = subprocess.run(
            self.command(centre, home, "takeover", "last", "--centre", centre, *words),
            cwd=home, capture_output=True, text=True, check=False, timeout=WITHIN_S,
        )  # fmt: skip
        assert expect is None or done.returncode == expect, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def topology(self) -> Topology:
        """The estate with the lab's addresses."""
        return load(Settings(estate="lab", home=self.path, lab_dir=self.lab_dir, state="", lang="en"))

    def primary_url(self, centre: str) -> str:
        """The store's server in a centre."""
        return f"postgresql://postgres@{self.lab.address(f'state/db@{centre}')}/app"

    def store(self, centre: str, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the store's server in a centre; none where it has no such tables yet."""
        host, _, port = self.lab.address(f"state/db@{centre}").partition(":")
        try:
            with psycopg.connect(f"host={host} port={port} user=postgres dbname=app", autocommit=True) as connection:
                return connection.execute(sql.encode()).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return []

    def journal(self, centre: str, name: str) -> list[dict[str, Any]]:
        """The records of the last run in a home of a centre."""
        journals = sorted(self.folder(centre, name).glob("runs/*/journal.jsonl"))
        return [json.loads(line) for line in journals[-1].read_text().splitlines()] if journals else []

    def began(self, centre: str, step: str) -> bool:
        """Whether a controller's journal says that a step's effect began."""
        return any(r["event"] == "effect_started" and r["step"] == step for r in self.journal(centre, "controller"))

    def inject(self, fault: str) -> None:
        """A fault of the lab."""
        faults.inject(self.lab_dir, fault)

    @staticmethod
    def until(holds: Callable[[], object], what: str, within_s: float = 60.0) -> None:
        """Wait for it."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if holds():
                return
            time.sleep(0.01)
        raise AssertionError(f"not within {within_s} s: {what}")

    def output(self, name: str) -> str:
        """What a process of the team said."""
        return (self.path / f"{name}.out").read_text()

    def end(self) -> None:
        """Let every process of the team go."""
        for begun in self._begun:
            if begun.poll() is None:
                begun.send_signal(signal.SIGCONT)
                begun.kill()
            begun.wait()
        for folder in Path(self.lab.root).glob("*/*/runs/*/canary"):
            canary.stop(folder)


@contextmanager
def team(path: Path) -> Iterator[Team]:
    """A team in a lab for the length of the block."""
    control.up(path / "lab", state_store=True)
    found: Team | None = None
    try:
        found = Team(path)
        yield found
    finally:
        if found:
            found.end()
        control.down(path / "lab")


@contextmanager
def users(found: Team, folder: Path, systems: tuple[str, ...]) -> Iterator[Callable[[str, str], set[str]]]:
    """Users of the entries with a ledger of their own, whatever becomes of the team; afterwards: who lost a write."""
    targets = tuple(
        canary.Target(system=s, entry=f"{s}/entry@edge", url=f"http://{found.home.address(f'{s}/entry@edge')}")
        for s in systems
    )
    canary.start(canary.CanaryConfig(run=f"judge-{folder.name}", boot="judge", folder=folder, targets=targets, rate=40))
    Team.until(lambda: canary.warm(folder, systems, 20), "users are served")

    def lost(system: str, primary: str) -> set[str]:
        lines = (folder / f"{system}.jsonl").read_text().splitlines()[1:]
        acked = {o["i"] for o in map(json.loads, lines) if o["k"] == "w" and o["o"] == "ok"}
        assert len(acked) > 20, "users wrote nothing: this would prove nothing"
        held = dict(found.home.ask(primary, "SELECT id, value FROM drctl_canary"))
        return {i for i in acked if held.get(i) != value_of(i)}

    try:
        yield lost
    finally:
        canary.stop(folder)
