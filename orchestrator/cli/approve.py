"""`drctl approve`: consent, with a name, to one plan."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from orchestrator.cli.options import Settings, echo_json, output_option


@click.command()
@click.argument("plan_file", metavar="PLAN.json", type=click.Path(path_type=Path))
@click.option("--name", required=True, metavar="NAME", help="Your name, as it is to stand in the evidence.")
@click.option("--accept-loss", is_flag=True, help="Consent to the loss of data that the plan states.")
@click.option("--attest-off", is_flag=True, help="Attest that the centres which the plan names are off.")
@output_option
@click.pass_obj
def approve(settings: Settings, *, plan_file: Path, name: str, accept_loss: bool, attest_off: bool, output: str) -> int:
    """Consent to one plan; the consent is bound to its hash and stands in PLAN.json.approvals.json.

    Two different people must approve a live plan outside the lab, and every plan that may lose data or that
    rests on the word that a centre is off (without power, or cut off from every user, until drctl has fenced it).
    Nobody can approve twice, and a plan that is made again must be approved again.

    \b
    Examples:
      drctl approve plan.json --name "Li Wei"
      drctl approve plan.json --name "Chen Yu" --accept-loss
    """
    from orchestrator.approvals import approve as consent
    from orchestrator.approvals import read_plan
    from orchestrator.model.plan import APPROVERS
    from orchestrator.reports.words import Words

    at = datetime.now(UTC).isoformat(timespec="seconds")
    given = consent(plan_file, name, at, accepts_loss=accept_loss, attests=attest_off)
    if output == "json":
        echo_json(given)
        return 0
    say, plan = Words(settings.lang), read_plan(plan_file)
    needed = APPROVERS if plan.needs_two else 0
    names = ", ".join(a.name for a in given)
    click.echo(say(f"{plan.scenario} · sha256 {plan.sha256}", f"{plan.scenario} · sha256 {plan.sha256}"))
    click.echo(say(f"approved by {names} ({len(given)} of {needed} needed)", f"批准人：{names}（共需 {needed} 人）"))
    if len(given) >= needed:
        click.echo(f"  drctl drill run {plan_file} --mode {plan.mode.value}")
    return 0
