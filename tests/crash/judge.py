"""What the world says after a case: instances, ledger, entry and processes are asked, and not our own records."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import psycopg

from orchestrator.lab import control
from orchestrator.model.proof import ServiceProof, proof_ok
from tests.crash.scenarios import HOME, Scenario
from tests.integration.drills import Home
from tests.integration.sampler import Sampler

FINDINGS = 3
PLAYBOOK = re.compile(r"/[^\s@]*/drctl-playbook-[^/\s]+")
NOTICED_S = 5.0
"""So long after a fault its first user may be turned away."""
SETTLED_S = 20.0
"""So long a process may take to notice that its run has ended."""


class World:
    """What is compared before and after: the timeline of each system's primary, and the traces of a bubble."""

    def __init__(self, home: Home) -> None:
        self.timelines = {s: timeline(home, f"{s}/db@{home_of(home, s)}") for s in HOME}
        self.files = files(home)


def home_of(home: Home, system: str) -> str:
    """The centre of a system's only primary; empty for none or several."""
    found = home.primaries(system)
    return found[0].rpartition("@")[2] if len(found) == 1 else ""


def living_primaries(home: Home, system: str) -> list[str]:
    """Instances that say that they are primary; those that do not answer say nothing."""
    found = []
    for instance in home.databases(system):
        with contextlib.suppress(psycopg.Error):
            if home.ask(instance, "SELECT pg_is_in_recovery()") == [(False,)]:
                found.append(instance)
    return found


def timeline(home: Home, instance: str) -> int:
    """The timeline that a primary writes."""
    return int(str(home.ask(instance, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0][0])[:8], 16)


def files(home: Home) -> dict[str, list[str]]:
    """What stands beside each database's data folder: an exercise must leave nothing there."""
    folders = {i: Path(v["params"]["pgdata"]).parent for i, v in home.instances.items() if "/db@" in i}
    return {i: sorted(p.name for p in f.iterdir() if not p.name.endswith(".drctl")) for i, f in folders.items()}


def judge(home: Home, scenario: Scenario, before: World, sampler: Sampler | None) -> list[str]:
    """Everything that is wrong, in words; empty where the case ended right."""
    judges: list[Callable[[], Iterator[str]]] = [
        lambda: _ended(home, scenario),
        lambda: _databases(home, scenario, before),
        lambda: _losses(home, scenario),
        lambda: _users(home),
        lambda: _quiet(home),
        lambda: _residue(home, scenario, before),
        lambda: _two_writers(sampler),
    ]
    problems: list[str] = []
    for one in judges:
        try:
            problems += one()
        except (psycopg.Error, OSError, AssertionError, ValueError, KeyError) as error:
            problems.append(f"could not be judged: {type(error).__name__}: {str(error).strip()[:200]}")
    return problems


def codes(home: Home, scenario: Scenario) -> tuple[int, ...]:
    """Exit codes that the command that ended the run may have: FINDINGS where users waited too long, and only there.

    Whoever is killed forty times does not restore service within a minute, and has to say so; the outage is held
    against the target here, and that nothing else is amiss (a loss, a copy that is not proven) too.
    """
    measured = home.run_folder() / "measurements.json"
    if 0 not in scenario.codes or not measured.exists():
        return scenario.codes
    told = json.loads(measured.read_text())
    outage_s = {o["system"]: o["outage_ms"] / 1000 for o in told["outages"]}
    late = [
        m for m in told["systems"] if m["rto_met"] is False and outage_s[m["system"]] + NOTICED_S > m["rto_target_s"]
    ]
    amiss = [m for m in told["systems"] if m["rpo_met"] is False or m["lost_writes"]]
    proofs = msgspec.json.decode((home.run_folder() / "proofs.json").read_bytes(), type=tuple[ServiceProof, ...])
    return (FINDINGS,) if late and not amiss and proof_ok(proofs) else scenario.codes


def records(home: Home) -> list[dict[str, Any]]:
    """The last run's journal as plain JSON."""
    return [json.loads(line) for line in (home.run_folder() / "journal.jsonl").read_text().splitlines()]


def _ended(home: Home, scenario: Scenario) -> Iterator[str]:
    last = records(home)[-1]
    state = next((d["value"] for d in last["data"] if d["name"] == "state"), last["event"])
    if state not in scenario.ends:
        yield f"the run ended as {state}, and not as {' or '.join(scenario.ends)}"
    sealed = home.drctl("evidence", "verify", "last", expect=None)
    if sealed.returncode:
        yield f"evidence verify: exit {sealed.returncode}: {sealed.stderr.strip()[:200]}"


def _databases(home: Home, scenario: Scenario, before: World) -> Iterator[str]:
    for system, centre in {**before_centres(scenario), **scenario.moved}.items():
        found = home.primaries(system)
        if found != [f"{system}/db@{centre}"]:
            yield f"primaries of {system}: {found}, and not the one in {centre}"
            continue
        moved = system in scenario.moved
        yield from _copies(home, system, centre, scenario.sync if moved else None)
        wanted = before.timelines[system] + (scenario.promotions if moved else 0)
        now = timeline(home, f"{system}/db@{centre}")
        if now != wanted:
            yield f"{system} is on timeline {now}, and not {wanted}: a promotion too many or too few"


def before_centres(scenario: Scenario) -> dict[str, str]:
    """Where the primaries stand before the scenario."""
    return {**HOME, "legal-person": "b"} if scenario.start == "moved" else dict(HOME)


def _copies(home: Home, system: str, centre: str, sync: str | None) -> Iterator[str]:
    primary = f"{system}/db@{centre}"
    direct = home.copies(primary)
    held = {**direct, **{k: v for c in direct for k, v in home.copies(f"{system}/db@{c}").items()}}
    if not set(held) >= {"a", "b", "c"} - {centre}:
        yield f"copies of {primary}: {held}, three are wanted"
    if sync and direct.get(sync) not in {"sync", "quorum"}:
        yield f"{primary} has no sync standby in {sync}: {direct}"


def _losses(home: Home, scenario: Scenario) -> Iterator[str]:
    folder = home.run_folder()
    if not any(folder.glob("canary/*.jsonl")):
        if scenario.name != "isolated":
            yield "there is no ledger: nothing is proven about losses"
        return
    for system, centre in {**before_centres(scenario), **scenario.moved}.items():
        lost = home.lost_writes(system, f"{system}/db@{centre}")
        if scenario.zero_loss or system not in scenario.moved:
            if lost:
                yield f"{system}: {len(lost)} acknowledged writes are lost: {sorted(lost)[:3]}"
            continue
        told = json.loads((folder / "measurements.json").read_text())["outages"]
        stated = {w for o in told if o["system"] == system for w in o["writes_lost"]}
        if stated != lost:
            yield f"{system}: {len(lost)} writes are lost and {len(stated)} are stated"


def _users(home: Home) -> Iterator[str]:
    for system in HOME:
        host, _, port = home.address(f"{system}/entry@edge").rpartition(":")
        call = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            call.request("PUT", f"/records/judge.{time.monotonic_ns()}", json.dumps({"value": "v", "entry": "judge"}))
            status = call.getresponse().status
        except OSError as error:
            status = 0
            yield f"{system}: no answer through the entry: {error}"
        finally:
            call.close()
        if status not in {0, 201}:
            yield f"{system}: a user's write is answered {status}"


def _quiet(home: Home) -> Iterator[str]:
    """Nothing of the run is at work any more: no canary, no playbook of a killed executor."""
    deadline = time.monotonic() + SETTLED_S
    while (left := at_work(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        yield f"still at work: {left}"


def at_work(home: Home) -> list[str]:
    """Canaries and playbooks that belong to this home or its lab, and not to another one on this machine."""
    root = str(home.path)
    folders = {str(v["params"]["pgdata"]) for v in home.instances.values() if "pgdata" in v["params"]}
    found = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        words = " ".join(process.info["cmdline"] or [])
        canary = "orchestrator.canary" in words and root in words
        if canary or any(folder in order for order in _orders(words) for folder in folders):
            found.append(f"{process.info['pid']} {words[:80]}")
    return found


def _orders(words: str) -> Iterator[str]:
    """What a playbook's process was told: its command line names the private folder in which that stands."""
    for folder in PLAYBOOK.findall(words):
        with contextlib.suppress(OSError):
            yield (Path(folder) / "spec.json").read_text()


def _residue(home: Home, scenario: Scenario, before: World) -> Iterator[str]:
    if scenario.name == "isolated" and (now := files(home)) != before.files:
        yield f"the exercise left something: {[i for i in now if now[i] != before.files[i]]}"
    seen = control.status((home.path / "lab").resolve())
    if seen is None or seen.faults or seen.isolated:
        yield f"the lab is not healed: {seen and (seen.faults, seen.isolated)}"


def _two_writers(sampler: Sampler | None) -> Iterator[str]:
    for service in {i.partition("@")[0] for i in sampler.attempts} if sampler else ():
        assert sampler is not None
        if overlap := sampler.overlapping(service):
            yield f"two writable primaries of {service} at one instant: {overlap[0]}"
