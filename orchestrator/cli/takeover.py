"""`drctl takeover`: go on from here with a run whose controller is gone."""

from __future__ import annotations

import click
from msgspec.structs import replace

from orchestrator.cli import quickly
from orchestrator.cli.options import Settings, output_option


@click.command()
@click.argument("run")
@click.option("--centre", default="", envvar="DRCTL_CENTRE", metavar="ID", help="Centre that you stand in.")
@click.option(
    "--approved-by",
    multiple=True,
    metavar="NAME",
    help="A person who says that its controller may be replaced now; two are needed, else the lease must run out.",
)
@output_option
@click.pass_obj
def takeover(settings: Settings, run: str, centre: str, approved_by: tuple[str, ...], output: str) -> int:
    """Go on from this centre with a run whose controller is gone, as `runs resume` would have there.

    RUN is a run's id, a unique beginning of it, or `last`. It must have been started with --state postgresql://…

    The state store comes first: where its primary is gone too, its synchronous standby is promoted, if that is proven
    to hold everything and a majority of observers (or two people) say that the primary's centre is lost. Then the lease
    of the other controller must have run out (5 s), or two people approve. The other one can do nothing any more: the
    store refuses its epoch, and so do databases, apps and entries.

    Exit code 5: refused, nothing of the run was changed. Else as `runs resume`.

    \b
    Examples:
      export DRCTL_STATE='postgresql://drctl@a1:5432,b1:5432,c1:5432/drctl?centres=a,b,c'
      drctl takeover last --centre b
      drctl takeover 20261123-003015 --centre b --approved-by "Li Wei" --approved-by "Chen Yu"
    """
    from orchestrator import takeover as use_case
    from orchestrator.app import open_context
    from orchestrator.cli.scenario import show

    context = open_context(replace(settings, centre=centre or settings.centre))
    wanted = use_case.Wanted(run=run, approved_by=approved_by)
    outcome = quickly.run(
        use_case.take_over(context, wanted, lambda text: click.echo(text, err=True), quiet=output == "json")
    )
    return show(settings, outcome, output)
