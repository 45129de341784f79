"""`drctl plan`: what would be done, in which order, and on what grounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import quickly
from orchestrator.cli.options import Settings, echo_json, output_option
from orchestrator.model.plan import Mode

if TYPE_CHECKING:
    from orchestrator.model.plan import Plan


@click.command()
@click.argument("scenario", required=False, default="", metavar="[SCENARIO]")
@click.option("--list", "listing", is_flag=True, help="List the scenarios.")
@click.option("--lost", multiple=True, metavar="CENTRE", help="Centre to take as lost; may be given again.")
@click.option("--to", "target", default="", metavar="CENTRE", help="Centre that takes over.  [default: the scenario's]")
@click.option(
    "--system", "systems", multiple=True, metavar="SYSTEM", help="Only these systems.  [default: all affected]"
)
@click.option(
    "--mode",
    type=click.Choice([m.value for m in Mode]),
    default=None,
    help="How it is to be carried out.  [default: live with --fault, else the scenario's first, mostly rehearsal]",
)
@click.option("--fault", default="", metavar="FAULT", help="Fault to inject, lab only, e.g. 'kill-centre a'.")
@click.option("--accept-loss", is_flag=True, help="Allow a promotion that may lose data; needs two approvals.")
@click.option(
    "--attest-off",
    "attested",
    multiple=True,
    metavar="CENTRE",
    help="Two people attest that this lost centre is off: no fence in it need be seen.",
)
@click.option(
    "-o", "file", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Write the plan to this file."
)
@output_option
@click.pass_obj
def plan(
    settings: Settings,
    *,
    scenario: str,
    listing: bool,
    lost: tuple[str, ...],
    target: str,
    systems: tuple[str, ...],
    mode: str | None,
    fault: str,
    accept_loss: bool,
    attested: tuple[str, ...],
    file: Path | None,
    output: str,
) -> int:
    """Show what SCENARIO would do, in waves, with the critical path and the forecast; nothing is changed.

    SCENARIO is a name under runbooks/, or the path of a runbook; without it the scenarios are listed.
    Where a gate is shut, every reason is given and the exit code is 5.

    \b
    Examples:
      drctl plan                                              the scenarios
      drctl plan centre-lost --lost a                         what would be done
      drctl plan centre-lost --lost a --mode tabletop         as declared, contacting nothing
      drctl plan centre-lost --lost a --fault 'kill-centre a' -o plan.json
      drctl plan site-lost --lost a --lost b --accept-loss -o plan.json
      drctl plan site-lost --lost a --lost b --accept-loss --attest-off a --attest-off b -o plan.json
      drctl plan switchover --to b --system legal-person --output json
    """
    if listing or not scenario:
        return _list(settings, output)
    from orchestrator import workflow
    from orchestrator.app import open_context, runbook_path
    from orchestrator.runbooks import load_runbook

    path = runbook_path(scenario)
    usual = Mode.LIVE if fault else load_runbook(path).scope.modes[0]
    wanted = workflow.Wanted(
        runbook=path,
        mode=Mode(mode) if mode else usual,
        lost=lost,
        target=target,
        systems=systems,
        fault=fault,
        accept_loss=accept_loss,
        attested=attested,
    )
    made, _ = quickly.run(workflow.make_plan(open_context(settings), wanted))
    if file:
        from orchestrator.approvals import write_plan

        write_plan(file, made)
    _show(settings, made, file, output)
    return 0


def _list(settings: Settings, output: str) -> int:
    from orchestrator.runbooks import load_runbooks, runbook_folder

    found = load_runbooks(runbook_folder())
    if output == "json":
        echo_json(found)
        return 0
    from orchestrator.reports.findings import console
    from orchestrator.reports.plan_view import scenarios
    from orchestrator.reports.words import Words

    console().print(scenarios(found, Words(settings.lang)))
    return 0


def _show(settings: Settings, made: Plan, file: Path | None, output: str) -> None:
    if output == "json":
        echo_json(made)
        return
    from orchestrator.reports.findings import console
    from orchestrator.reports.plan_view import next_commands, render
    from orchestrator.reports.words import Words

    say = Words(settings.lang)
    console().print(render(made, settings.lang))
    click.echo()
    click.echo(f"sha256 {made.sha256}")
    if file is None:
        click.echo(say("`-o plan.json` writes it to a file", "使用 `-o plan.json` 保存方案"))
        return
    click.echo(say(f"written to {file}; next:", f"已写入 {file}；下一步："))
    click.echo("\n".join(next_commands(made, str(file), say)))
