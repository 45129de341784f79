"""`drctl prove`: the state machine and the plans, proven; or the way on which one does harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import quickly
from orchestrator.cli.options import Settings, echo_json, output_option
from orchestrator.errors import Refused, Usage
from orchestrator.model.certificate import Certificate, Counterexample, MachineStates
from orchestrator.model.topology import Frozen

if TYPE_CHECKING:
    from orchestrator.context import Context
    from orchestrator.model.topology import Topology
    from orchestrator.workflow import Wanted


class Result(Frozen, kw_only=True):
    """What came of one plan."""

    what: str
    """Scenario and its words."""
    certificate: Certificate | None = None
    counterexample: Counterexample | None = None
    skipped: str = ""
    """Why there is no such plan in this estate."""


class Results(Frozen, kw_only=True):
    """All that was asked for."""

    machine: MachineStates | None
    plans: tuple[Result, ...]


@click.command()
@click.argument("names", nargs=-1, metavar="[SCENARIO|PLAN.json …]")
@click.option("--all", "everything", is_flag=True, help="The state machine and every scenario of the estate.")
@click.option("--lost", multiple=True, metavar="CENTRE", help="Centre to take as lost; may be given again.")
@click.option("--to", "target", default="", metavar="CENTRE", help="Centre that takes over.  [default: the scenario's]")
@click.option("--system", "systems", multiple=True, metavar="SYSTEM", help="Only these systems.")
@click.option("--accept-loss", is_flag=True, help="Allow a promotion that may lose data.")
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw the state machine: Mermaid text, or an SVG where FILE ends so.",
)
@output_option
@click.pass_obj
def prove(
    settings: Settings,
    *,
    names: tuple[str, ...],
    everything: bool,
    lost: tuple[str, ...],
    target: str,
    systems: tuple[str, ...],
    accept_loss: bool,
    picture: Path | None,
    output: str,
) -> int:
    """Prove that no run of a plan does harm: every order, every crash, late answers, one more fault.

    SCENARIO is proven as declared, contacting nothing; a PLAN.json as it stands. Without either the state machine
    itself is enumerated and every scenario of the estate is proven. Exit code 0: proven; 5: some plan is refused, and
    the way on which it does harm is told.

    \b
    Examples:
      drctl prove                                        the state machine, and every scenario
      drctl prove centre-lost --lost a                   one scenario
      drctl prove plan.json --output json                exactly this plan
      drctl --estate chongqing prove centre-lost --lost a --to b --accept-loss
      drctl prove --picture machine.svg                  what the machine looks like
    """
    from orchestrator.app import open_context

    context = open_context(settings)
    machine = None
    if everything or not names:
        machine = _enumerate(settings, output)
    words = {"lost": lost, "target": target, "systems": systems, "accept_loss": accept_loss}
    wanted = list(_wanted(context, names, everything, words))
    results = tuple(_one(context, what, one, settings, output) for what, one in wanted)
    if picture:
        _draw(picture, machine or _enumerate(settings, output), settings.lang)
    if output == "json":
        echo_json(Results(machine=machine, plans=results))
    bad = any(r.counterexample or (r.certificate and not r.certificate.complete) for r in results)
    return Refused.exit_code if bad or (machine and machine.violations) else 0


def _enumerate(settings: Settings, output: str) -> MachineStates:
    from orchestrator.proving.machine_states import enumerate_machine

    _say(output, settings, "state machine of one service over a, b, c …", "三中心单组件状态机 …")
    found = enumerate_machine()
    _say(
        output,
        settings,
        f"  {found.states} states, {found.transitions} transitions, {len(found.violations)} violations",
        f"  状态 {found.states}，转移 {found.transitions}，违例 {len(found.violations)}",
    )
    return found


def _wanted(
    context: Context, names: tuple[str, ...], everything: bool, words: dict[str, object]
) -> Iterator[tuple[str, Wanted]]:
    from orchestrator.app import runbook_path
    from orchestrator.model.plan import Mode
    from orchestrator.workflow import Wanted

    for name in names:
        if name.endswith(".json"):
            yield name, Wanted(runbook=None, plan_file=Path(name), mode=Mode.TABLETOP)
        else:
            told = " ".join(filter(None, [name, *(f"--lost {c}" for c in words["lost"])]))  # type: ignore[attr-defined]
            yield told, Wanted(runbook=runbook_path(name), mode=Mode.TABLETOP, **words)  # type: ignore[arg-type]
    if everything or not names:
        for told, scenario, extra in _scenarios(context.topology):
            yield told, Wanted(runbook=runbook_path(scenario), mode=Mode.TABLETOP, **extra)  # type: ignore[arg-type]


def _scenarios(topology: Topology) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Every scenario that can be planned as declared, with every centre and every city that it may be about."""
    for centre in topology.centres:
        lost = {"lost": (centre.id,), "accept_loss": True}
        yield f"centre-lost --lost {centre.id}", "centre-lost", lost
    for site in topology.sites:
        gone = tuple(c.id for c in topology.centres if c.site == site.id)
        if len(gone) > 1:
            told = " ".join(["site-lost", *(f"--lost {c}" for c in gone)])
            yield told, "site-lost", {"lost": gone, "accept_loss": True}
    for centre in topology.centres:
        yield f"switchover --to {centre.id}", "switchover", {"target": centre.id}
    yield "isolated", "isolated", {}


def _one(context: Context, what: str, wanted: Wanted, settings: Settings, output: str) -> Result:
    from orchestrator.certify import prove_remembered
    from orchestrator.planner import UnsafeRunbook
    from orchestrator.workflow import filed_plan, look_and_plan

    _say(output, settings, f"{what} …", f"{what} …")
    look = before = None
    try:
        if wanted.plan_file:
            plan = filed_plan(context, wanted.plan_file)
        else:
            plan, before, look = quickly.run(look_and_plan(context, wanted, tell=False))
    except UnsafeRunbook as unsafe:
        plan = unsafe.plan
    except Refused as refusal:
        if wanted.plan_file:
            raise
        _say(output, settings, f"  no such plan: {refusal.message}", f"  无此方案：{refusal.message}")
        return Result(what=what, skipped=refusal.message)
    found = prove_remembered(context.home, plan, context.topology, look, before)
    if isinstance(found, Counterexample):
        head = f"  REFUSED: {found.system} breaks `{found.rule}`", f"  拒绝：{found.system} 违反 `{found.rule}`"
        _say(output, settings, f"{head[0]}\n{found.told('en')}", f"{head[1]}\n{found.told('zh')}")
        return Result(what=what, counterexample=found)
    from orchestrator.reports.plan_view import proven
    from orchestrator.reports.words import Words

    told = f"  {proven(found, Words(settings.lang))}"
    _say(output, settings, told, told)
    return Result(what=what, certificate=found)


def _draw(file: Path, machine: MachineStates, lang: str) -> None:
    from orchestrator.reports.machine_view import machine_mermaid, machine_svg

    draw = machine_svg if file.suffix == ".svg" else machine_mermaid
    try:
        file.write_text(draw(machine, lang), encoding="utf-8")
    except OSError as error:
        raise Usage(f"cannot write {file}: {error.strerror}", hint="give another file with --picture") from error
    click.echo(f"wrote {file}", err=True)


def _say(output: str, settings: Settings, en: str, zh: str) -> None:
    """Progress and results for people; JSON stands alone on standard output."""
    click.echo(zh if settings.lang.startswith("zh") else en, err=output == "json")
