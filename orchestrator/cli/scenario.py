"""Options and the one call that drill, failover, switchover and failback share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.cli import quickly
from orchestrator.cli.options import Settings, echo_json
from orchestrator.errors import Usage
from orchestrator.model.plan import Mode

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--lost", multiple=True, metavar="CENTRE", help="Centre to take as lost; may be given again."),
    click.option(
        "--to", "target", default="", metavar="CENTRE", help="Centre that takes over.  [default: the scenario's]"
    ),
    click.option(
        "--system", "systems", multiple=True, metavar="SYSTEM", help="Only these systems.  [default: all affected]"
    ),
    click.option("--accept-loss", is_flag=True, help="Allow a promotion that may lose data; needs two approvals."),
    click.option(
        "--attest-off",
        "attested",
        multiple=True,
        metavar="CENTRE",
        help="Two people attest that this lost centre is off: no fence in it need be seen.",
    ),
    click.option(
        "--approved-by", multiple=True, metavar="NAME", help="An approver's name (lab only; else `drctl approve`)."
    ),
    click.option(
        "--rate",
        default=200.0,
        show_default=True,
        type=click.FloatRange(1, 2000),
        help="Canary operations a second and entry.",
    ),
    click.option("--via-workers", is_flag=True, help="Have `drctl worker` of each instance's centre act on it."),
    click.option("--no-canary", is_flag=True, help="Do not use the entries meanwhile; RTO and RPO stay unmeasured."),
    click.option(
        "--key",
        type=click.Path(path_type=Path, dir_okay=False),
        default=None,
        help="Ed25519 key that signs.  [default: HOME/keys]",
    ),
    click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Table for people, JSON for programs.",
    ),
)


def scenario_options(command: F) -> F:
    """The options of every command that carries out a plan."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def carry_out(settings: Settings, scenario: str, mode: Mode, words: dict[str, Any]) -> int:
    """Plan and carry out a scenario (or a plan file); the exit code of the outcome."""
    from orchestrator import workflow
    from orchestrator.app import open_context, runbook_path
    from orchestrator.carry import Manner

    output = words.pop("output")
    plan_file = Path(scenario) if scenario.endswith(".json") else None
    wanted = workflow.Wanted(
        runbook=None if plan_file else runbook_path(scenario),
        plan_file=plan_file,
        mode=mode,
        lost=tuple(words["lost"]),
        target=words["target"],
        systems=tuple(words["systems"]),
        fault=words.get("fault", ""),
        accept_loss=words["accept_loss"],
        attested=tuple(words["attested"]),
        approved_by=tuple(words["approved_by"]),
    )
    manner = Manner(
        rate=0.0 if words["no_canary"] else words["rate"],
        key=words["key"],
        quiet=output == "json",
        via_workers=via_workers(settings, asked=words["via_workers"]),
    )
    outcome = quickly.run(workflow.drill(open_context(settings), wanted, manner))
    return show(settings, outcome, output)


def via_workers(settings: Settings, *, asked: bool) -> bool:
    """Whether workers are to act.

    Raises:
        Usage: they are asked for, and there is no store through which they could be reached.
    """
    if asked and not settings.state.startswith(("postgresql://", "postgres://")):
        raise Usage("--via-workers needs the team's state store", hint="--state postgresql://… (or DRCTL_STATE)")
    return asked


def show(settings: Settings, outcome: Any, output: str) -> int:
    """Print what a run came to; its exit code."""
    if output == "json":
        echo_json(outcome)
    elif outcome.folder:
        from orchestrator.reports.summary import render

        click.echo(render(Path(outcome.folder), settings.lang))
    return int(outcome.exit_code)
