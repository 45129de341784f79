"""Rows of the bench that prove plans: the chongqing estate, and 5,000 services of many shapes."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path

from orchestrator import workflow
from orchestrator.app import kinds, open_context, runbook_path
from orchestrator.loader import read_topology
from orchestrator.model.certificate import Certificate
from orchestrator.model.plan import Mode, Plan
from orchestrator.model.request import Request, Timings
from orchestrator.model.topology import Topology
from orchestrator.planner import plan
from orchestrator.proving.worlds import AT
from orchestrator.runbooks import load_runbook
from orchestrator.settings import Settings
from orchestrator.yamlfile import parse_yaml
from tests.benchmarks.measure import ROOT, Row
from tests.unit.estates import SMALL

SYSTEMS = 1250
"""Of four services each: 5,000."""
_DOOR = """\
      door:
        kind: haproxy
        serves: app
        roles: {edge: primary}
systems:
"""


def many(systems: int = SYSTEMS) -> Topology:
    """An estate of so many systems, half of them at home in either centre of the city."""
    entries = (
        f"  s{n}:\n    name: {{en: S{n}, zh: S{n}}}\n    template: standard\n    layout: {'ab'[n % 2]}-first\n"
        for n in range(systems)
    )
    head, _, _ = SMALL.partition("systems:\n")
    return read_topology(parse_yaml(head + _DOOR + "".join(entries), Path("many.yaml")), kinds())


def proven(made: Plan, topology: Topology) -> tuple[float, Certificate]:
    """Seconds, and the certificate."""
    from orchestrator.prover import prove

    begin = time.perf_counter()
    found = prove(made, topology)
    took = time.perf_counter() - begin
    if not isinstance(found, Certificate):
        raise SystemExit(f"a shipped runbook is refused:\n{found.told('en')}")
    return took, found


def prove_rows(home: Path) -> list[Row]:
    """Chongqing's loss of a centre, and the same of 5,000 services."""
    settings = Settings(estate="chongqing", home=home, lab_dir=home / "lab", state="", lang="en")
    wanted = workflow.Wanted(
        runbook=runbook_path("centre-lost"), mode=Mode.TABLETOP, lost=("a",), target="b", accept_loss=True
    )
    context = open_context(settings)
    made, _ = asyncio.run(workflow.make_plan(context, wanted))
    took, found = proven(made, context.topology)
    rows = [_row("prove centre-lost of chongqing (130 systems)", took, found, 5.0)]
    topology = many()
    request = Request(mode=Mode.TABLETOP, lost=("a",), accept_loss=True, created_at=AT, topology_sha256="0" * 64)
    runbook = load_runbook(ROOT / "runbooks" / "centre-lost.yaml")
    took, found = proven(plan(topology, None, runbook, request, Timings()), topology)
    rows.append(_row(f"prove centre-lost of {len(topology.service_by_id)} services", took, found, 60.0))
    return rows


def _row(what: str, took: float, found: Certificate, target: float) -> Row:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Row(
        what=what,
        ours=f"{took:.1f} s",
        against=f"{found.states} states, {found.transitions} transitions, {len(found.shapes)} shapes, {peak:.0f} MiB",
        ratio="",
        target=f"≤ {target:.0f} s",
        met=took <= target and found.complete,
    )
