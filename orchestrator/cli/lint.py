"""`drctl lint`: what a recovery rests on that stands in the centre which is dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import quickly
from orchestrator.cli.options import Settings, centre_named, echo_json, output_option
from orchestrator.errors import Findings, Refused
from orchestrator.model.plan import Mode

if TYPE_CHECKING:
    from orchestrator.context import Context
    from orchestrator.model.observation import Finding
    from orchestrator.model.plan import Plan


@click.command()
@click.argument("scenario", metavar="[SCENARIO|PLAN.json]", default="")
@click.option("--dark", multiple=True, required=True, metavar="CENTRE", help="Centre taken as dark; may be repeated.")
@click.option("--system", "systems", multiple=True, metavar="SYSTEM", help="Only these systems.")
@click.option("--no-attest", is_flag=True, help="As if nobody could attest that CENTRE is off.")
@output_option
@click.pass_obj
def lint(
    settings: Settings, *, scenario: str, dark: tuple[str, ...], systems: tuple[str, ...], no_attest: bool, output: str
) -> int:
    """Prove from the files alone what would not work with CENTRE dark: drctl's own parts, steps, ways in, names.

    Nothing is contacted. Without SCENARIO: `centre-lost` for one dark centre, `site-lost` for more.
    Exit code 0: nothing depends on it; 3: something does, or the topology does not say.

    \b
    Examples:
      drctl lint --dark a                      with centre A gone
      drctl lint --dark a --dark b             with the whole city gone
      drctl lint plan.json --dark centre-a     a plan that was made
      drctl --estate chongqing lint --dark a --output json
    """
    from orchestrator import deadsite
    from orchestrator.app import open_context

    context = open_context(settings)
    centres = frozenset(centre_named(word, context.topology.centre_by_id) for word in dark)
    made, refused = _plan(context, scenario, tuple(sorted(centres)), systems, attested=not no_attest)
    found = (*deadsite.lint(context.topology, centres, made), *refused)
    _show(context, found, output)
    return 0 if all(f.verdict == "pass" for f in found) else Findings.exit_code


def _plan(
    context: Context, scenario: str, lost: tuple[str, ...], systems: tuple[str, ...], *, attested: bool
) -> tuple[Plan | None, tuple[Finding, ...]]:
    """The plan that would be carried out; a refusal is a finding too."""
    from pathlib import Path

    from orchestrator import workflow
    from orchestrator.app import runbook_path
    from orchestrator.checks.base import no

    if scenario.endswith(".json"):
        return workflow.filed_plan(context, Path(scenario)), ()
    wanted = workflow.Wanted(
        runbook=runbook_path(scenario or ("site-lost" if len(lost) > 1 else "centre-lost")),
        mode=Mode.TABLETOP,
        lost=lost,
        systems=systems,
        accept_loss=True,
        attested=lost if attested else (),
    )
    try:
        made, _ = quickly.run(workflow.make_plan(context, wanted))
    except Refused as error:
        return None, (no(error.message, error.message).about("steps", wanted.runbook.stem if wanted.runbook else ""),)
    return made, ()


def _show(context: Context, found: tuple[Finding, ...], output: str) -> None:
    if output == "json":
        echo_json(found)
        return
    from orchestrator.reports.findings import console
    from orchestrator.reports.lint_view import render

    console().print(render(found, context.lang))
