"""`make bench`: a table of ratios, both sides measured in this run. Prints, asserts no time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from orchestrator import workflow
from orchestrator.app import open_context, runbook_path
from orchestrator.model.plan import Mode
from orchestrator.settings import Settings
from tests.benchmarks.measure import ROOT, Row, drctl, medians, table
from tests.benchmarks.outage import outage_rows
from tests.benchmarks.prove import prove_rows

BARE_CLICK = """
import click
@click.group()
def cli(): pass
@cli.command()
def hello(): pass
cli(["--help"])
"""


def help_row() -> Row:
    """`drctl --help` against a bare click program."""
    ours, floor = medians(
        15,
        lambda: subprocess.run(
            [sys.executable, "-m", "orchestrator.cli.main", "--help"], cwd=ROOT, capture_output=True, check=False
        ),
        lambda: subprocess.run([sys.executable, "-c", BARE_CLICK], cwd=ROOT, capture_output=True, check=False),
    )
    return Row(
        what="drctl --help",
        ours=f"{ours * 1000:.0f} ms",
        against=f"bare click {floor * 1000:.0f} ms",
        ratio=f"{ours / floor:.2f}",
        target="≤ 2",
        met=ours <= 2 * floor,
    )


def planning_row(home: Path) -> Row:
    """Planning the loss of a centre for the chongqing estate: read, plan; and the whole command beside it."""
    words = ("--estate", "chongqing", "plan", "centre-lost", "--lost", "a", "--mode", "tabletop", "--accept-loss")
    settings = Settings(estate="chongqing", home=home, lab_dir=home / "lab", state="", lang="en")
    wanted = workflow.Wanted(
        runbook=runbook_path("centre-lost"), mode=Mode.TABLETOP, lost=("a",), target="b", accept_loss=True
    )
    ours, command = medians(
        5,
        lambda: asyncio.run(workflow.make_plan(open_context(settings), wanted)),
        lambda: drctl(*words, "--output", "json", home=home),
    )
    return Row(
        what="plan centre-lost of chongqing (130 systems)",
        ours=f"{ours:.2f} s",
        against=f"whole command {command:.2f} s",
        ratio="",
        target="≤ 0.5 s",
        met=ours <= 0.5,
    )


def check_rows(home: Path) -> list[Row]:
    """`drctl check` of the lab, and with one centre dark."""
    (well,) = medians(7, lambda: drctl("check", home=home, check=False))
    drctl("lab", "fault", "freeze-centre a", home=home)
    (dark,) = medians(5, lambda: drctl("check", home=home, check=False))
    drctl("lab", "heal", home=home)
    return [
        Row(what="drctl check of the lab", ours=f"{well:.2f} s", against="", ratio="", target="≤ 1 s", met=well <= 1),
        Row(
            what="drctl check, one centre dark",
            ours=f"{dark:.2f} s",
            against="one time-out of 2 s",
            ratio="",
            target="≤ 1 s + 2 s",
            met=dark <= 3,
        ),
    ]


def main() -> None:
    """Run every bench and print the table."""
    with tempfile.TemporaryDirectory(prefix="drctl-bench-") as folder:
        home = Path(folder)
        rows = [help_row(), planning_row(home), *prove_rows(home)]
        drctl("lab", "up", home=home)
        try:
            rows += check_rows(home)
        finally:
            drctl("lab", "down", home=home)
        rows += outage_rows(home)
    print(table(rows))


if __name__ == "__main__":
    main()
