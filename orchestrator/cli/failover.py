"""`drctl failover`: the drill's engine without the word drill."""

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
def failover(settings: Settings, /, scenario: str, **words: Any) -> int:
    """A centre or a site is lost: take over.

    Without SCENARIO: `centre-lost` for one lost centre, `site-lost` for a whole city.

    \b
    Examples:
      drctl failover --lost a                       what ran in A goes to B
      drctl failover --lost a --lost b --accept-loss --approved-by "Li Wei" --approved-by "Chen Yu"
      drctl failover plan.json                      exactly the plan that was approved
    """
    chosen = scenario or ("site-lost" if len(words["lost"]) > 1 else "centre-lost")
    return carry_out(settings, chosen, Mode.LIVE, words)
