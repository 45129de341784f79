"""What the drill tests share: a home with a lab of its own, drctl as a user calls it, and looks into the databases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from orchestrator import canary
from orchestrator.model.canary import value_of

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = ("legal-person", "sharing", "open-data")


class Home:
    """A home folder with a lab that is up."""

    def __init__(self, path: Path, estate: str = "lab") -> None:
        self.path, self.estate = path, estate
        endpoints = json.loads((path / "lab" / "endpoints.json").read_text())
        self.instances: dict[str, dict[str, Any]] = endpoints["instances"]

    def command(self, *words: str) -> list[str]:
        """The command line of a drctl call."""
        return [sys.executable, "-m", "orchestrator.cli.main", *self.options, *words]

    @property
    def options(self) -> list[str]:
        """What every call begins with."""
        return ["--home", str(self.path), "--lang", "en", "--estate", self.estate]

    def drctl(self, *words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Call drctl; its exit code must be `expect` (None: any)."""
        done = subprocess.run(self.command(*words), cwd=ROOT, capture_output=True, text=True, check=False)
        assert expect is None or done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def drill(self, *words: str, expect: int | None = 0) -> dict[str, Any]:
        """Call `drctl drill run … --mode live` and give its JSON."""
        done = self.drctl("drill", "run", *words, "--mode", "live", "--output", "json", expect=expect)
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def address(self, instance: str) -> str:
        """host:port of an instance."""
        return str(self.instances[instance]["address"])

    def databases(self, system: str) -> dict[str, str]:
        """Instance id → address of a system's databases."""
        return {f"{system}/db@{c}": self.address(f"{system}/db@{c}") for c in "abc"}

    def ask(self, instance: str, sql: str) -> list[tuple[Any, ...]]:
        """Rows that a database gives."""
        host, _, port = self.address(instance).partition(":")
        dsn = f"host={host} port={port} user=postgres dbname=app connect_timeout=3"
        with psycopg.connect(dsn, autocommit=True) as connection:
            return connection.execute(sql).fetchall()

    def run_folder(self, number: int = -1) -> Path:
        """Folder of a run, the last one by default."""
        return sorted((self.path / "runs").iterdir())[number]

    def ledger(self, system: str) -> list[dict[str, Any]]:
        """The operations that the canary wrote down, read as plain JSON."""
        whole, _, _torn = (self.run_folder() / "canary" / f"{system}.jsonl").read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()[1:]]

    def lost_writes(self, system: str, primary: str) -> set[str]:
        """Ids of writes that users were told are kept and that the database does not hold, by our own comparison."""
        acked = {o["i"] for o in self.ledger(system) if o["k"] == "w" and o["o"] == "ok"}
        assert acked, "the canary wrote nothing: this would prove nothing"
        held = dict(self.ask(primary, "SELECT id, value FROM drctl_canary"))
        return {i for i in acked if held.get(i) != value_of(i)}

    def copies(self, primary: str) -> dict[str, str]:
        """Standbys that stream from an instance, with their sync state, as it says itself."""
        rows = self.ask(primary, "SELECT application_name, sync_state FROM pg_stat_replication WHERE state='streaming'")
        return {str(name): str(state) for name, state in rows if len(str(name)) == 1}

    def primaries(self, system: str) -> list[str]:
        """Instances of a system that are not in recovery, asked one by one."""
        return [i for i in self.databases(system) if self.ask(i, "SELECT pg_is_in_recovery()") == [(False,)]]


@contextmanager
def home_with_lab(path: Path, *options: str, estate: str = "lab") -> Iterator[Home]:
    """A lab for the length of the block (`lab up` with some options); taken down whatever happens."""
    lab = [sys.executable, "-m", "orchestrator.cli.main", "--home", str(path), "lab"]
    up, down = [*lab, "up", *options], [*lab, "down"]
    try:
        subprocess.run(up, cwd=ROOT, check=True, capture_output=True)
        yield Home(path, estate)
    finally:
        for folder in path.glob("runs/*/canary"):
            canary.stop(folder)
        subprocess.run(down, cwd=ROOT, check=True, capture_output=True)


def shared_memory() -> list[str]:
    """Every segment of the host, of both kinds."""
    segments = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return sorted(["system v " + line.split()[1] for line in segments] + os.listdir("/dev/shm"))
