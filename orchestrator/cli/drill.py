"""`drctl drill`: exercises."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.options import Settings
from orchestrator.cli.scenario import carry_out, scenario_options
from orchestrator.model.plan import Mode


@click.group()
def drill() -> None:
    """Exercise a scenario: on paper, with probes only, in a bubble, or for real."""


@drill.command()
@click.argument("scenario", metavar="SCENARIO|PLAN.json")
@click.option(
    "--mode",
    type=click.Choice([m.value for m in Mode]),
    default=Mode.REHEARSAL.value,
    show_default=True,
    help="tabletop: no contact; rehearsal: probes only; isolated: a bubble beside production; live: does it.",
)
@click.option("--fault", default="", metavar="FAULT", help="Fault to inject, lab only, e.g. 'kill-centre a'.")
@scenario_options
@click.pass_obj
def run(settings: Settings, /, scenario: str, mode: str, **words: Any) -> int:
    """Carry out a drill of SCENARIO (a name under runbooks/), or exactly the plan in PLAN.json.

    \b
    Examples:
      drctl drill run centre-lost --lost a                                  rehearsal: probes only
      drctl drill run centre-lost --lost a --mode live --fault 'kill-centre a'
      drctl drill run isolated --mode isolated
      drctl drill run plan.json --mode live                                 what `drctl plan -o` wrote
    \b
    Exit codes: 0 done, 3 an objective was missed or protection is not restored, 5 refused (nothing was
    touched), 7 rolled back, 8 a person is needed now, 130 interrupted (`drctl runs resume`).
    """
    return carry_out(settings, scenario, Mode(mode), words)
