"""`drctl worker`: one centre's hand and eye."""

from __future__ import annotations

import os

import click
from msgspec.structs import replace

from orchestrator.cli import quickly
from orchestrator.cli.options import Settings


@click.command()
@click.option("--centre", default="", envvar="DRCTL_CENTRE", metavar="ID", help="Centre that this worker serves.")
@click.option(
    "--listen",
    default="127.0.0.1:0",
    show_default=True,
    metavar="HOST:PORT",
    help="Where it tells what it sees of the other centres; port 0 chooses one.",
)
@click.pass_obj
def worker(settings: Settings, centre: str, listen: str) -> None:
    """Serve one centre: carry out actions on its instances, give heartbeats, watch the other centres. Until Ctrl-C.

    Runs started with --via-workers have the worker of an instance's centre act on it. Where it is dead or does not take
    an order within 2 s the controller acts itself. An order of an older controller is refused.

    \b
    Examples:
      export DRCTL_STATE='postgresql://drctl@a1:5432,b1:5432,c1:5432/drctl?centres=a,b,c'
      drctl worker --centre b
      drctl worker --centre c --listen 10.3.0.7:7070     reachable from the other centres
    """
    from orchestrator import worker as use_case
    from orchestrator.app import open_context

    context = open_context(replace(settings, centre=centre or settings.centre))
    quickly.run(use_case.work(context, listen, lambda text: click.echo(text, err=True)))
    os._exit(0)  # the durable-execution library's threads go on trying a store that is away, and would be waited for
