"""`drctl simulate`: how long a scenario would take, imagined many times over by the timings of past runs."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

import click

from orchestrator.cli import quickly
from orchestrator.cli.options import Settings, centre_named, echo_json, output_option
from orchestrator.errors import Findings, Usage

if TYPE_CHECKING:
    from orchestrator.model.topology import Topology
    from orchestrator.simulation.forecast import Forecast, WhatIf

TOLD_AFTER_S = 1.0
"""Work that takes longer says how far it is."""


@click.command()
@click.argument("scenario")
@click.option("--lost", multiple=True, metavar="CENTRE", help="Centre to take as lost; may be given again.")
@click.option("--to", "target", default="", metavar="CENTRE", help="Centre that takes over.  [default: the scenario's]")
@click.option(
    "--system", "systems", multiple=True, metavar="SYSTEM", help="Only these systems.  [default: all affected]"
)
@click.option("--runs", default=200, show_default=True, type=click.IntRange(1, 100_000), help="How many runs.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same result.")
@click.option("--without", multiple=True, metavar="CENTRE", help="What if this centre were not there either?")
@click.option(
    "--slow", multiple=True, metavar="LINK=TIME", help="What if a round trip took so much longer? link:a-c=200ms"
)
@click.option(
    "--teams", default=0, type=click.IntRange(0), help="Teams that answer questions.  [default: one for each question]"
)
@output_option
@click.pass_obj
def simulate(
    settings: Settings,
    *,
    scenario: str,
    lost: tuple[str, ...],
    target: str,
    systems: tuple[str, ...],
    runs: int,
    seed: int,
    without: tuple[str, ...],
    slow: tuple[str, ...],
    teams: int,
    output: str,
) -> int:
    """Simulate SCENARIO on this estate as declared, with durations drawn from past runs; nothing is contacted.

    Tells when users are served again (p50, p95, p99) for the plan and for each system against its target, the
    critical path, the step that makes slow runs slow, and what breaks an objective. Exit code 3 where some system
    misses its target in more than one run of a hundred.

    \b
    Examples:
      drctl simulate centre-lost --lost a
      drctl simulate centre-lost --lost a --runs 2000 --output json
      drctl simulate site-lost --lost a --lost b --teams 2      two teams answer what people are asked
      drctl simulate switchover --to b --without c              what if centre c were not there?
      drctl simulate centre-lost --lost a --slow link:b-c=200ms
    """
    from orchestrator import workflow
    from orchestrator.app import open_context, runbook_path
    from orchestrator.model.plan import Mode
    from orchestrator.model.runbook import LostRule
    from orchestrator.pastruns import durations
    from orchestrator.runbooks import load_runbook
    from orchestrator.simulation.forecast import forecast

    path = runbook_path(scenario)
    scope = load_runbook(path).scope
    if Mode.TABLETOP not in scope.modes:
        raise Usage(f"{scenario} depends on how the estate stands and cannot be simulated", hint="`drctl plan` lists")
    context = open_context(settings)
    what_if = _what_if(context.topology, without, slow, teams)
    gone = () if scope.lost is LostRule.NONE else what_if.without  # a take-over avoids what is gone
    wanted = workflow.Wanted(
        runbook=path,
        mode=Mode.TABLETOP,
        lost=tuple(dict.fromkeys((*lost, *gone))),
        target=target,
        systems=systems,
        accept_loss=True,
    )
    plan, _ = quickly.run(workflow.make_plan(context, wanted))
    past = durations(settings.home, context.topology.id)
    found = forecast(plan, context.topology, past, runs=runs, seed=seed, what_if=what_if, progress=_progress(runs))
    _show(settings, found, output)
    return Findings.exit_code if any(s.missed > 0.01 for s in found.systems) or found.loses else 0


def _what_if(topology: Topology, without: tuple[str, ...], slow: tuple[str, ...], teams: int) -> WhatIf:
    """The conditions, from the operator's words.

    Raises:
        Usage: a centre that is not there, or a link that cannot be read.
    """
    from orchestrator.simulation.forecast import WhatIf

    return WhatIf(
        without=tuple(centre_named(w, topology.centre_by_id) for w in without),
        slow=tuple(_link(topology, words) for words in slow),
        teams=teams,
    )


def _link(topology: Topology, words: str) -> tuple[str, str, float]:
    from orchestrator.yamltypes import seconds

    found = re.fullmatch(r"(?:link:)?([^=-]+)-([^=]+)=(.+)", words)
    if found is None:
        raise Usage(f"cannot read --slow {words!r}", hint="for example --slow link:a-c=200ms")
    try:
        more_s = seconds(found[3])
    except ValueError as error:
        raise Usage(f"cannot read --slow {words!r}: {error}", hint="a time with its unit: 200ms, 1s") from error
    one, other = (centre_named(word, topology.centre_by_id) for word in found.group(1, 2))
    return one, other, more_s


class _progress:
    def __init__(self, runs: int) -> None:
        self._runs, self._began, self._told = runs, time.monotonic(), 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._began > TOLD_AFTER_S and now - self._told > TOLD_AFTER_S:
            self._told = now
            click.echo(f"{done} of {self._runs} runs", err=True, file=sys.stderr)


def _show(settings: Settings, found: Forecast, output: str) -> None:
    if output == "json":
        echo_json(found)
        return
    from orchestrator.reports.findings import console
    from orchestrator.reports.forecast_view import render
    from orchestrator.reports.words import Words

    console().print(render(found, Words(settings.lang)))
