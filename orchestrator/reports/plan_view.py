"""A plan for the terminal: what is done in which wave, the critical path, the forecast, and what may be lost.

Rich is imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from orchestrator.model.plan import APPROVERS, Loss, Plan, ScenarioKind, Step, Verb
from orchestrator.model.runbook import LostRule, Runbook, SystemRule, TargetRule
from orchestrator.model.topology import Frozen
from orchestrator.reports.words import Words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from orchestrator.model.certificate import Certificate

STEPS_MAX = 80
"""Above so many steps, those of one wave that do the same are counted instead of listed."""
LOSSES_MAX = 12


class Line(Frozen, kw_only=True):
    """One row of the view: a step, or many of one wave that do the same."""

    wave: int
    critical: bool
    phase: str
    name: str
    text: str
    forecast_s: float


def render(plan: Plan, lang: str) -> RenderableType:
    """The whole page: heading, waves, critical path, losses."""
    from rich.console import Group
    from rich.text import Text as Styled

    say = Words(lang)
    parts: list[RenderableType] = [Styled(line) for line in heading(plan, say)]
    parts += ["", waves(plan, say), "", Styled(critical_path(plan, say), style="bold"), *_forecast(plan, say)]
    if plan.losses:
        parts += ["", *losses(plan, say)]
    if plan.attested:
        off = ", ".join(plan.attested)
        parts += [
            say(
                f"Rests on two people's word that {off} is off, and stays off until drctl has fenced what is in it",
                f"以两人署名确认 {off} 已停机、且在 drctl 完成隔离前不恢复为前提",
            )
        ]
    return Group(*parts)


def heading(plan: Plan, say: Words) -> Iterator[str]:
    """What the plan is."""
    yield f"{plan.scenario} · {say.name(plan.kind)} · {say.name(plan.mode)} · {plan.estate}"
    words = []
    if plan.lost:
        words.append(say("lost", "失效中心") + f" {', '.join(plan.lost)}")
    if plan.target:
        words.append(say("takes over", "接管中心") + f" {plan.target}")
    shown = ", ".join(plan.systems[:6]) + (" …" if len(plan.systems) > 6 else "")
    words.append(say(f"{len(plan.systems)} systems", f"{len(plan.systems)} 个系统") + f" ({shown})")
    if plan.fault:
        words.append(say("fault", "故障") + f" {plan.fault!r}")
    yield " · ".join(words)


def proven(certificate: Certificate, say: Words) -> str:
    """What the prover says of a plan, in one line."""
    counts = certificate.states, certificate.transitions
    if not certificate.complete:
        missing = ", ".join(certificate.unproven)
        return say(f"not proven, too many states: {missing}", f"未能证明（状态过多）：{missing}")
    least = min((s.troubles for s in certificate.shapes), default=3)
    bound = "" if least == 3 else say(f", at most {least} troubles together", f"，至多 {least} 类异常叠加")
    return say(
        f"proven: {counts[0]} states, {counts[1]} transitions, {certificate.violations} violations{bound}",
        f"已证明：状态 {counts[0]}，转移 {counts[1]}，违例 {certificate.violations}{bound}",
    )


def waves(plan: Plan, say: Words) -> Table:
    """Steps by wave; `*` marks the critical path."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name, justify in ((say("wave", "波次"), "right"), ("", "left"), (say("phase", "阶段"), "left")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    table.add_column(say("step", "步骤"), no_wrap=len(plan.steps) <= STEPS_MAX, overflow="fold")
    table.add_column(say("what is done", "内容"), overflow="fold")
    table.add_column(say("forecast", "预计"), justify="right", no_wrap=True)
    last = -1
    for line in lines(plan, say):
        wave = str(line.wave) if line.wave != last else ""
        last = line.wave
        style = "bold" if line.critical else None
        mark = "*" if line.critical else ""
        table.add_row(wave, mark, line.phase, line.name, line.text, f"{line.forecast_s:.1f} s", style=style)
    return table


def lines(plan: Plan, say: Words) -> Iterator[Line]:
    """A line per step; per wave and kind of step in a large plan."""
    if len(plan.steps) <= STEPS_MAX:
        yield from (_line(s, say) for s in plan.steps)
        return
    for wave, inside in groupby(plan.steps, key=lambda s: s.wave):
        kinds: dict[str, list[Step]] = {}
        for step in inside:
            kinds.setdefault(_template(step), []).append(step)
        for name, steps in kinds.items():
            yield _line(steps[0], say) if len(steps) == 1 else _counted(wave, name, steps, say)


def _line(step: Step, say: Words) -> Line:
    return Line(
        wave=step.wave,
        critical=step.critical,
        phase=say.name(step.phase),
        name=step.id,
        text=say.of(step.text),
        forecast_s=step.forecast_s,
    )


def _counted(wave: int, name: str, steps: Sequence[Step], say: Words) -> Line:
    first = next((s for s in steps if s.critical), steps[0])
    text = say(f"e.g. {say.of(first.text)}", f"例如：{say.of(first.text)}")
    return Line(
        wave=wave,
        critical=any(s.critical for s in steps),
        phase=say.name(first.phase),
        name=f"{name} ×{len(steps)}",
        text=text,
        forecast_s=max(s.forecast_s for s in steps),
    )


def _template(step: Step) -> str:
    return step.id.rpartition(":")[2]


def critical_path(plan: Plan, say: Words) -> str:
    """The way that the users wait for, step by step."""
    path = [s for s in plan.steps if s.critical and not _after_service(s) and s.verb is not Verb.INJECT]
    return say("Critical path: ", "关键路径：") + (" → ".join(s.id for s in path) or say("none", "无"))


def _after_service(step: Step) -> bool:
    return step.phase.value == "protect"


def _forecast(plan: Plan, say: Words) -> Iterator[str]:
    rto, total = say.seconds(plan.forecast_rto_s), say.seconds(plan.forecast_total_s)
    if plan.kind is ScenarioKind.EXERCISE:
        yield say(f"Forecast: {total}, and users notice nothing", f"预计用时 {total}，用户无感知")
        return
    yield say(
        f"Forecast: users served after {rto}, protected again after {total}; {len(plan.steps)} steps",
        f"预计：{rto}后恢复服务，{total}后恢复保护；共 {len(plan.steps)} 步",
    )


def losses(plan: Plan, say: Words) -> Iterator[str]:
    """What each promotion may lose, those that are not proven to lose nothing first."""
    ordered = sorted(plan.losses, key=lambda loss: (loss.proven_zero, loss.service))
    zero = [loss for loss in ordered if loss.proven_zero]
    if zero:
        yield say(f"Nothing acknowledged is lost: {_some(zero)}", f"已确认数据零丢失：{_some(zero)}")
    for loss in [loss for loss in ordered if not loss.proven_zero][:LOSSES_MAX]:
        told = say("unknown", "未知") if loss.seconds is None else say.seconds(loss.seconds)
        within = loss.seconds is not None and loss.seconds <= loss.budget_s
        verdict = say("within", "未超出") if within else say("ABOVE", "超出")
        yield say(
            f"{loss.service}: may lose {told}, {verdict} its RPO of {say.target(loss.budget_s)}: {loss.reason.en}",
            f"{loss.service}：可能丢失 {told}，{verdict} RPO {say.target(loss.budget_s)}：{loss.reason.zh}",
        )
    more = len(ordered) - len(zero) - LOSSES_MAX
    if more > 0:
        yield say(f"and {more} more services that may lose data", f"另有 {more} 个服务可能丢失数据")


def _some(found: Sequence[Loss]) -> str:
    return ", ".join(loss.service for loss in found[:6]) + (f" … ({len(found)})" if len(found) > 6 else "")


def next_commands(plan: Plan, file: str, say: Words) -> Iterator[str]:
    """What to type next; its proof first, though a run asks for that by itself."""
    yield f"  drctl prove {file}"
    mode = f" --mode {plan.mode.value}"
    if plan.needs_two:
        why = (
            say("may lose data", "可能丢失数据") if plan.loses_data else say("changes a real estate", "将改动真实环境")
        )
        off = ", ".join(plan.attested)
        if off:
            why = say(f"rests on people's word that {off} is off", f"以人工确认 {off} 已停机为前提")
        loss = (" --accept-loss" if plan.loses_data else "") + (" --attest-off" if off else "")
        yield say(
            f"The plan {why}: {APPROVERS} people approve it by name",
            f"该方案{why}：须由 {APPROVERS} 人署名批准",
        )
        yield f"  drctl approve {file} --name NAME{loss}"
    yield f"  drctl drill run {file}{mode}"


def scenarios(runbooks: Iterable[Runbook], say: Words) -> Table:
    """Every scenario with what it needs."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(say("scenario", "场景"), no_wrap=True)
    table.add_column(say("words", "参数"), no_wrap=True)
    table.add_column(say("what it does", "说明"), overflow="fold")
    for runbook in runbooks:
        table.add_row(runbook.id, _words(runbook), say.of(runbook.summary))
    return table


def _words(runbook: Runbook) -> str:
    lost = {LostRule.NONE: "", LostRule.CENTRE: "--lost C", LostRule.SITE: "--lost C --lost C"}[runbook.scope.lost]
    target = {TargetRule.NAMED: "--to C"}.get(runbook.scope.target, "")
    system = "--system S" if runbook.scope.systems is SystemRule.NAMED else ""
    return " ".join(filter(None, (lost, target, system)))
