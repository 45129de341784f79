"""`drctl runs`: list, show, resume, abort, answer."""

from __future__ import annotations

import click

from orchestrator.cli import quickly
from orchestrator.cli.options import Settings, echo_json, output_option


@click.group()
def runs() -> None:
    """List, show, resume or abort runs.

    RUN is a run's id, a unique beginning of it, or `last`.

    \b
    Examples:
      drctl runs list
      drctl runs show last
      drctl runs resume 20261123-003015
      drctl runs answer last ask-business --name "Li Wei" --answer yes
    """


@runs.command("list")
@output_option
@click.pass_obj
def list_(settings: Settings, output: str) -> int:
    """Every run, oldest first; derived from plan and journal alone."""
    from orchestrator.execution import runstore
    from orchestrator.reports.runs import list_lines

    summaries, broken = runstore.list_runs(settings.home), runstore.broken_runs(settings.home)
    if output == "json":
        echo_json(summaries)
        for name, error in broken:
            click.echo(f"error: {name}: {error.message}", err=True)
    else:
        click.echo("\n".join(list_lines(summaries, broken)))
    return broken[0][1].exit_code if broken else 0


@runs.command()
@click.argument("run")
@output_option
@click.pass_obj
def show(settings: Settings, run: str, output: str) -> None:
    """One run: where it stands, who owns it, and what happened when.

    \b
    Example:
      drctl runs show last --output json
    """
    from orchestrator.execution import runstore
    from orchestrator.reports.runs import show_lines, view

    seen = view(runstore.open_run(settings.home, run))
    if output == "json":
        echo_json(seen)
    else:
        click.echo("\n".join(show_lines(seen)))


@runs.command()
@click.argument("run")
@click.option("--takeover", is_flag=True, help="Also from an executor that hangs; its late actions are refused.")
@output_option
@click.pass_obj
def resume(settings: Settings, run: str, takeover: bool, output: str) -> int:
    """Go on with an interrupted, degraded or partial run, from its plan and journal; seal one that only ended.

    \b
    Examples:
      drctl runs resume last
      drctl runs resume last --takeover      its executor is frozen
    """
    from orchestrator.carry import unsealed
    from orchestrator.execution import runstore

    found = runstore.open_run(settings.home, run)
    if not unsealed(found):
        found.require_resumable()
    if takeover:
        found.acquire(takeover=True)
        found.release()
    return _go_on(settings, found.id, output)


@runs.command()
@click.argument("run")
@output_option
@click.pass_obj
def abort(settings: Settings, run: str, output: str) -> int:
    """Stop a run after its running steps, and undo what can be undone. A promotion never is.

    A running executor is asked to do it; where there is none, this command does it.
    """
    from orchestrator.execution import runstore
    from orchestrator.execution.conversation import Control

    found = runstore.open_run(settings.home, run)
    found.require_resumable()
    found.ask_control(Control.ABORT)
    if found.owner_alive():
        click.echo(f"asked run {found.id} to abort; `drctl runs show {found.id}` tells how it ends", err=True)
        return 0
    return _go_on(settings, found.id, output)


@runs.command()
@click.argument("run")
@click.argument("step")
@click.option("--name", required=True, help="Who answers; it stands in the evidence.")
@click.option("--answer", "words", required=True, help="The answer, for example yes, no; done, again or failed.")
@click.pass_obj
def answer(settings: Settings, run: str, step: str, name: str, words: str) -> None:
    """Answer the question that a run waits for.

    \b
    Example:
      drctl runs answer last ask-business --name "Li Wei" --answer yes
    """
    from orchestrator.execution import runstore
    from orchestrator.execution.history import Answer

    found = runstore.open_run(settings.home, run)
    found.give_answer(step, Answer(answer=words, name=name))
    click.echo(f"noted: {name} answers {words!r} to {step}", err=True)


def _go_on(settings: Settings, run: str, output: str) -> int:
    from orchestrator import workflow
    from orchestrator.app import open_context
    from orchestrator.cli.scenario import show as show_outcome

    outcome = quickly.run(workflow.resume(open_context(settings), run, quiet=output == "json"))
    return show_outcome(settings, outcome, output)
