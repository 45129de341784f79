"""The outage that users see in a live failover, against a bare script that only promotes and reconnects.

Both sides: a fresh lab, the same canary through the same entries, centre A killed. The script knows beforehand what to
do, waits for nothing, checks nothing, fences nothing and writes nothing down: no orchestrator can be faster.
"""

from __future__ import annotations

import json
import socket
import statistics
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from orchestrator import canary
from orchestrator.lab import faults
from orchestrator.measure import outage
from tests.benchmarks.measure import Row, drctl

ROUNDS = 3
SYSTEMS = ("legal-person", "sharing")
"""Systems whose primary is in A."""
WARM_WRITES = 300


def outage_rows(home: Path) -> list[Row]:
    """Rows for the outage and for the program's own time a step."""
    floors, ours, overheads = [], [], []
    for number in range(ROUNDS):
        floors.append(floor_outage_s(home / f"floor-{number}"))
        seconds, overhead_ms = drill_outage_s(home / f"drill-{number}")
        ours.append(seconds)
        overheads.append(overhead_ms)
    mine, floor, own = statistics.median(ours), statistics.median(floors), statistics.median(overheads)
    return [
        Row(
            what="outage seen by users, centre A killed",
            ours=f"{mine * 1000:.0f} ms",
            against=f"bare script {floor * 1000:.0f} ms",
            ratio=f"{mine / floor:.2f}",
            target="≤ 2",
            met=mine <= 2 * floor,
        ),
        Row(
            what="own time a step beside the action's",
            ours=f"{own:.1f} ms",
            against="",
            ratio="",
            target="≤ 50 ms",
            met=own <= 50,
        ),
    ]


def drill_outage_s(home: Path) -> tuple[float, float]:
    """Longest outage over the moved systems in a live drill, and the median own time a step in ms."""
    drctl("lab", "up", home=home)
    try:
        words = ("drill", "run", "centre-lost", "--lost", "a", "--mode", "live", "--fault", "kill-centre a")
        drctl(*words, "--output", "json", home=home)
    finally:
        drctl("lab", "down", home=home)
    (measured,) = (home / "runs").glob("*/measurements.json")
    figures = json.loads(measured.read_text())
    seen = [o["outage_ms"] for o in figures["outages"] if o["system"] in SYSTEMS]
    return max(seen) / 1000, figures["overhead_ms_per_step"]


def floor_outage_s(home: Path) -> float:
    """Longest outage over the moved systems where a bare script promotes and reconnects."""
    drctl("lab", "up", home=home)
    lab, folder = home / "lab", home / "canary"
    endpoints = json.loads((lab / "endpoints.json").read_text())["instances"]
    try:
        targets = tuple(
            canary.Target(system=s, entry=f"{s}/entry@edge", url=f"http://{endpoints[f'{s}/entry@edge']['address']}")
            for s in (*SYSTEMS, "open-data")
        )
        canary.start(canary.CanaryConfig(run="floor", boot="bench", folder=folder, targets=targets))
        wait_warm(folder)
        faults.inject(lab, "kill-centre a")
        killed = time.monotonic()
        with ThreadPoolExecutor(len(SYSTEMS)) as pool:
            list(pool.map(lambda system: take_over(endpoints, system), SYSTEMS))
        wait_served(folder, killed)
    finally:
        canary.stop(folder)
        drctl("lab", "down", home=home)
    return max(seen_outage_s(folder / f"{s}.jsonl", killed) for s in SYSTEMS)


def wait_warm(folder: Path) -> None:
    """Until every entry has answered for a while."""
    deadline = time.monotonic() + 30
    while not canary.warm(folder, (*SYSTEMS, "open-data"), WARM_WRITES):
        assert time.monotonic() < deadline, "the canary did not warm up"
        time.sleep(0.05)


def wait_served(folder: Path, killed: float) -> None:
    """Until every moved system acknowledged writes for two seconds on end."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        ledgers = [canary.read_ledger(folder / f"{s}.jsonl") for s in SYSTEMS]
        if all(sum(o.s > killed + 1 for o in ledger.acknowledged()) > 200 for ledger in ledgers):
            return
        time.sleep(0.1)
    raise AssertionError("the bare script did not bring the service back")


def seen_outage_s(path: Path, killed: float) -> float:
    """The outage in one ledger."""
    ledger = canary.read_ledger(path)
    begin, end = outage(ledger, ledger.acknowledged(), killed)
    return end - begin


def take_over(endpoints: dict[str, dict[str, str]], system: str) -> None:
    """Promote B, point its app at it, and send users there: nothing else."""
    host, _, port = endpoints[f"{system}/db@b"]["address"].partition(":")
    with psycopg.connect(f"host={host} port={port} user=postgres dbname=app", autocommit=True) as connection:
        connection.execute("SELECT pg_promote()")
    app = endpoints[f"{system}/app@b"]["address"]
    body = json.dumps({"centre": "b", "address": f"{host}:{port}", "epoch": 1}).encode()
    request = urllib.request.Request(f"http://{app}/control/upstream", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=5).close()
    with socket.socket(socket.AF_UNIX) as admin:
        params = endpoints[f"{system}/entry@edge"]["params"]
        admin.connect(params["admin_socket"])  # type: ignore[index]
        admin.sendall(b"set server app/a state maint;shutdown sessions server app/a\n")
        admin.recv(4096)
