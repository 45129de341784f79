"""`drctl lab`: three real centres on this machine."""

from __future__ import annotations

import click

from orchestrator.cli.options import Settings


@click.group()
def lab() -> None:
    """Three real centres on this machine.

    \b
    Examples:
      drctl lab up                            PostgreSQL, apps and entries in a, b and c
      drctl lab status                        every process, role, port, link and fault
      drctl lab fault "kill-centre a"         what a drill is for
      drctl lab heal                          bring everything back
      drctl lab down                          leave nothing
    """


@lab.command()
@click.pass_obj
def up(settings: Settings) -> None:
    """Bring the lab up; one that is up already is left as it is.

    \b
    Examples:
      drctl lab up
      drctl --lab /tmp/second lab up          a second one beside it
    """
    from orchestrator.lab import control

    control.up(settings.lab_dir, progress=click.echo)


@lab.command()
@click.pass_obj
def down(settings: Settings) -> None:
    """Take the lab away: processes, shared memory, ports and files.

    \b
    Examples:
      drctl lab down
    """
    from orchestrator.lab import control

    control.down(settings.lab_dir, progress=click.echo)
