"""`drctl failback`: the drill's engine without the word drill."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.options import Settings
from orchestrator.cli.scenario import carry_out, scenario_options
from orchestrator.model.plan import Mode


@click.command()
@click.argument("scenario", metavar="[SCENARIO|PLAN.json]", default="")
@scenario_options
@click.pass_obj
def failback(settings: Settings, /, scenario: str, **words: Any) -> int:
    """The way home: primaries where the topology declares them, protection restored.

    \b
    Examples:
      drctl failback
      drctl failback --system legal-person
    """
    return carry_out(settings, scenario or "failback", Mode.LIVE, words)
