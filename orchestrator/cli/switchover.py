"""`drctl switchover`: the drill's engine without the word drill."""

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
def switchover(settings: Settings, /, scenario: str, **words: Any) -> int:
    """Move a healthy estate to another centre; nothing may be lost.

    \b
    Examples:
      drctl switchover --to b
      drctl switchover --to b --system legal-person
    """
    return carry_out(settings, scenario or "switchover", Mode.LIVE, words)
