"""What happened in made-up runs: steps with their times, outages and losses (see sample_run)."""

from __future__ import annotations

from orchestrator.model.plan import (
    Loss,
    Phase,
    ScenarioKind,
    Step,
    Undo,
    Verb,
)
from orchestrator.model.run import RunState
from orchestrator.model.topology import Text
from tests.unit.sample_steps import SYSTEMS, Script, cannot_ack, make_step


def centre_lost() -> Script:
    """Centre a is killed, b takes over, nothing is lost, three copies at the end."""
    script = Script(
        name="20261123-023009-centre-lost-a-k7m2",
        scenario="centre-lost",
        kind=ScenarioKind.FAILOVER,
        lost=("a",),
        target="b",
        fault="kill-centre a",
        state=RunState.DONE,
        losses=tuple(_no_loss(system) for system in ("legal-person", "sharing")),
        approvers=("Zhang Wei 张伟",),
    )
    inject = make_step("lab", Verb.INJECT, Phase.PREPARE, ("Inject: kill-centre a", "注入故障：kill-centre a"), wave=0)
    script.step(inject, 0.0, 0.06)
    for number, system in enumerate(("legal-person", "sharing")):
        _take_over(script, system, offset=0.02 * number, last=system == "sharing")
    _release_sync_wait(script)
    _protect(script)
    return script


def _take_over(script: Script, system: str, *, offset: float, last: bool) -> None:
    zh = {"legal-person": "法人库", "sharing": "共享系统"}[system]
    plan = [*_to_the_new_primary(system, zh), *_to_the_users(system, zh, offset, last=last)]
    for step, begin, end in plan:
        script.step(step, begin + offset, end + offset)
    script.outages[system] = (0.0, plan[4][2] + offset)


def _release_sync_wait(script: Script) -> None:
    detach = make_step(
        "open-data/db@a",
        Verb.DEMOTE,
        Phase.FENCE,
        ("open-data/db@b stops waiting for a", "开放系统主库不再等待 A 中心确认"),
        wave=1,
        towards=("open-data/db@b",),
        needs=("lab:inject",),
        forecast_s=0.15,
    )
    cascade = make_step(
        "open-data/db@c",
        Verb.REPOINT,
        Phase.PROTECT,
        ("open-data/db@c receives from b", "开放系统 C 中心副本改从 B 中心接收"),
        wave=2,
        towards=("open-data/db@b",),
        needs=(detach.id,),
        forecast_s=0.15,
    )
    redirect = make_step(
        "open-data/entry@edge",
        Verb.REDIRECT,
        Phase.REDIRECT,
        ("open-data/entry@edge sends users to b", "开放系统入口切换到 B 中心"),
        wave=2,
        towards=("open-data/app@b",),
        needs=(detach.id,),
        forecast_s=0.25,
    )
    script.step(detach, 0.07, 0.17)
    script.step(cascade, 0.18, 0.33)
    script.step(redirect, 0.18, 0.26)
    script.outages["open-data"] = (0.0, 0.26)


def _protect(script: Script) -> None:
    heal = make_step(
        "lab",
        Verb.HEAL,
        Phase.PROTECT,
        ("Take the fault away", "解除注入的故障"),
        wave=8,
        needs=tuple(s.id for s, _, _ in script.timed if s.phase is Phase.VERIFY),
        forecast_s=2.0,
    )
    script.step(heal, 6.6, 8.9)
    for number, system in enumerate(SYSTEMS):
        db, app, entry = f"{system}/db@a", f"{system}/app@a", f"{system}/entry@edge"
        begin = 9.0 + 0.3 * number
        rejoin = make_step(
            db,
            Verb.REJOIN,
            Phase.PROTECT,
            (f"{db} comes back as a standby of b", f"{db} 作为 B 中心的备库归队"),
            wave=9,
            needs=(heal.id,),
            towards=(f"{system}/db@b",),
            forecast_s=5.0,
        )
        repoint = make_step(
            app,
            Verb.REPOINT,
            Phase.PROTECT,
            (f"{app} calls b and starts", f"{app} 改连 B 中心并启动"),
            wave=10,
            needs=(rejoin.id,),
            towards=(f"{system}/db@b",),
            forecast_s=0.5,
        )
        back = make_step(
            entry,
            Verb.REDIRECT,
            Phase.PROTECT,
            (f"{entry} sends users to a and b", f"{entry} 恢复 A、B 双活"),
            wave=11,
            needs=(repoint.id,),
            towards=(f"{system}/app@a", f"{system}/app@b"),
            forecast_s=0.25,
            name="both",
        )
        copies = make_step(
            f"{system}/db@c",
            Verb.CONFIRM,
            Phase.PROTECT,
            (f"{system} has three copies again", f"{system} 恢复三份副本"),
            wave=12,
            needs=(back.id,),
            forecast_s=0.2,
        )
        script.step(rejoin, begin, begin + 4.2 + number * 0.7)
        script.step(repoint, begin + 5.8, begin + 6.2)
        script.step(back, begin + 6.3, begin + 6.4)
        script.step(copies, begin + 6.5, begin + 6.7)


def _no_loss(system: str) -> Loss:
    reason = Text(
        en="the synchronous standby in b holds everything acknowledged", zh="B 中心同步副本持有全部已确认的写入"
    )
    return Loss(service=f"{system}/db", proven_zero=True, seconds=0.0, reason=reason, budget_s=0.0)


def city_lost() -> Script:
    """A and b are killed, c takes over, writes of the last tenth of a second are lost."""
    script = Script(
        name="20261123-031500-city-lost-a-b-p4x9",
        scenario="city-lost",
        kind=ScenarioKind.FAILOVER,
        lost=("a", "b"),
        target="c",
        fault="kill-centre a; kill-centre b",
        state=RunState.DEGRADED,
        lost_window_s=0.085,
        missing=("legal-person/db@a: not a standby", "sharing/db@a: not a standby"),
        approvers=("Zhang Wei 张伟", "Li Na 李娜"),
    )
    reason = Text(en="c receives asynchronously and was 0.2 s behind at most", zh="C 中心为异步复制，最大落后 0.2 秒")
    inject = make_step("lab", Verb.INJECT, Phase.PREPARE, ("Inject: both centres", "注入故障：双中心失效"), wave=0)
    script.step(inject, 0.0, 0.09)
    for number, system in enumerate(SYSTEMS):
        db, at = f"{system}/db", 0.05 * number
        for verb, instance, phase, begin, end, forecast in (
            (Verb.CONFIRM, f"{db}@a", Phase.DETECT, 0.1, 0.7, 0.5),
            (Verb.FENCE, f"{db}@b", Phase.FENCE, 0.8, 3.6, 2.5),
            (Verb.REPOINT, f"{db}@c", Phase.FENCE, 3.7, 3.9, 0.15),
            (Verb.PROMOTE, f"{db}@c", Phase.PROMOTE, 4.0, 4.3, 0.2),
            (Verb.REDIRECT, f"{system}/entry@edge", Phase.REDIRECT, 4.4, 4.7, 0.25),
            (Verb.CONFIRM, f"{system}/entry@edge", Phase.VERIFY, 4.8, 4.9, 0.1),
        ):
            needs = (script.timed[-1][0].id,) if verb is not Verb.CONFIRM or phase is Phase.VERIFY else ("lab:inject",)
            text = (f"{verb.value} {instance}", f"{verb.value} {instance}")
            wave = len([s for s, _, _ in script.timed if s.system == system]) + 1
            script.step(
                make_step(
                    instance, verb, phase, text, wave=wave, needs=needs, critical=number == 2, forecast_s=forecast
                ),
                begin + at,
                end + at,
            )
        script.outages[system] = (0.0, 4.7 + at)
    script.losses = tuple(
        Loss(service=f"{s}/db", proven_zero=False, seconds=0.2, reason=reason, budget_s=60.0) for s in SYSTEMS
    )
    rejoin = make_step(
        "legal-person/db@a",
        Verb.REJOIN,
        Phase.PROTECT,
        ("db@a comes back", "A 中心副本归队"),
        wave=8,
        needs=("legal-person/entry@edge:confirm",),
        forecast_s=5.0,
    )
    script.step(rejoin, 6.0, 14.0, fails="pg_rewind: the source has no log back to the fork")
    return script


def undone() -> Script:
    """A switchover in which the promotion is not proven in time; everything before it is undone."""
    script = Script(
        name="20261123-040000-switchover-b-q2w3",
        scenario="switchover",
        kind=ScenarioKind.SWITCHOVER,
        lost=(),
        target="b",
        fault="",
        state=RunState.UNDONE,
        missing=("legal-person/db@b:promote: not proven within 5 s",),
        end_s=16.0,
    )
    demote = make_step(
        "legal-person/db@a",
        Verb.DEMOTE,
        Phase.FENCE,
        ("legal-person/db@a takes no more writes", "法人库 A 中心主库停止写入"),
        wave=0,
        critical=True,
        undo=Undo(verb=Verb.UNFENCE, instance="legal-person/db@a"),
    )
    promote = make_step(
        "legal-person/db@b",
        Verb.PROMOTE,
        Phase.PROMOTE,
        ("Promote legal-person/db@b", "法人库 B 中心副本提升为主库"),
        wave=1,
        needs=(demote.id,),
        gates=cannot_ack("legal-person"),
        critical=True,
    )
    script.step(demote, 1.0, 1.2)
    script.step(
        promote, 1.3, 6.4, fails="not proven within 5 s: writable_primary legal-person/db@b: unknown, no answer"
    )
    script.undo(demote, 6.5, 6.8)
    script.outages["legal-person"] = (1.0, 6.8)
    return script


def _to_the_new_primary(system: str, zh: str) -> list[tuple[Step, float, float]]:
    db, app = f"{system}/db", f"{system}/app"
    return [
        (
            make_step(
                f"{db}@a",
                Verb.CONFIRM,
                Phase.DETECT,
                (f"Confirm that {db}@a does not serve", f"确认 {zh} A 中心主库不可服务"),
                wave=1,
                needs=("lab:inject",),
                critical=True,
                forecast_s=0.2,
            ),
            0.07,
            0.19,
        ),
        (
            make_step(
                f"{db}@b",
                Verb.REPOINT,
                Phase.FENCE,
                (f"Detach {db}@b from a", f"{zh} B 中心副本与 A 中心断开复制"),
                wave=2,
                needs=(f"{db}@a:confirm",),
                critical=True,
                forecast_s=0.15,
                name="detach",
                undo=Undo(verb=Verb.REPOINT, instance=f"{db}@b", towards=(f"{db}@a",)),
            ),
            0.20,
            0.29,
        ),
        (
            make_step(
                f"{db}@b",
                Verb.PROMOTE,
                Phase.PROMOTE,
                (f"Promote {db}@b", f"{zh} B 中心副本提升为主库"),
                wave=3,
                needs=(f"{db}@b:detach",),
                gates=cannot_ack(system),
                critical=True,
                forecast_s=0.2,
            ),
            0.30,
            0.46,
        ),
        (
            make_step(
                f"{app}@b",
                Verb.REPOINT,
                Phase.REDIRECT,
                (f"{app}@b calls the new primary", f"{zh} B 中心应用改连新主库"),
                wave=4,
                needs=(f"{db}@b:promote",),
                towards=(f"{db}@b",),
                critical=True,
                forecast_s=0.05,
            ),
            0.47,
            0.52,
        ),
    ]


def _to_the_users(system: str, zh: str, offset: float, *, last: bool) -> list[tuple[Step, float, float]]:
    db, app, entry = f"{system}/db", f"{system}/app", f"{system}/entry@edge"
    return [
        (
            make_step(
                entry,
                Verb.REDIRECT,
                Phase.REDIRECT,
                (f"{entry} sends users to b", f"{zh} 入口切换到 B 中心"),
                wave=6 if last else 5,
                needs=(f"{app}@b:repoint", *(("legal-person/entry@edge:redirect",) if last else ())),
                towards=(f"{app}@b",),
                critical=True,
                forecast_s=0.25,
            ),
            0.53 if not last else 0.62,
            0.61 if not last else 0.69,
        ),
        (
            make_step(
                entry,
                Verb.CONFIRM,
                Phase.VERIFY,
                (f"A user's write goes through {entry}", f"确认用户可经 {zh} 入口写入"),
                wave=7,
                needs=(f"{entry}:redirect",),
                critical=last,
                forecast_s=0.1,
            ),
            0.62 if not last else 0.70,
            0.67 if not last else 0.76,
        ),
        (
            make_step(
                f"{db}@a",
                Verb.FENCE,
                Phase.FENCE,
                (f"Fence {db}@a", f"隔离 {zh} A 中心旧主库"),
                wave=2,
                needs=(f"{db}@a:confirm",),
                forecast_s=2.5,
            ),
            0.21,
            2.9 + offset if system == "legal-person" else 6.4,
        ),
    ]
