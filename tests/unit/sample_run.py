"""Run folders as the engine leaves them, for tests: the lab's own topology, a real journal, ledgers, real measurements.

Times are made up; everything that is derived from them (hashes, chain, measurements) is made by the program.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec

from orchestrator.evidence.journal import Clock, Entry, Journal, genesis
from orchestrator.evidence.versions import collect_versions
from orchestrator.loader import load_topology
from orchestrator.measure import measure
from orchestrator.model.canary import Header, Ledger, Operation, Result, value_of
from orchestrator.model.observation import Downstream, Reach, Reading, Snapshot, Verdict
from orchestrator.model.plan import (
    Approval,
    Condition,
    Fact,
    Loss,
    Mode,
    Phase,
    Plan,
    ScenarioKind,
    Step,
    Undo,
    Verb,
)
from orchestrator.model.proof import (
    CanaryProof,
    ContentProof,
    Method,
    Part,
    PositionProof,
    ReplicaProof,
    Sameness,
    ServiceProof,
    TableProof,
)
from orchestrator.model.run import Event, Record, RunState
from orchestrator.model.topology import Role, Setting, Text, Topology
from orchestrator.providers.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
T0_MONO = 5000.0
"""Monotonic time of the fault."""
T0_UTC = datetime(2026, 11, 23, 2, 30, 15, 204_113, tzinfo=UTC)
BOOT = "6d1f0a52-5a3e-4d0c-9a57-0d5f4c1a2b3c"
SYSTEMS = ("legal-person", "sharing", "open-data")
PG = "18.6"


@cache
def lab_topology() -> Topology:
    """The lab's topology, read by the program's own loader."""
    return load_topology(ROOT / "inventories" / "lab", {kind.name: kind for kind in KINDS})


def utc(second: float) -> str:
    """RFC 3339 of a second after the fault."""
    return (T0_UTC + timedelta(seconds=second)).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass
class Script:
    """What happens in a made-up run, in seconds after the fault."""

    name: str
    scenario: str
    kind: ScenarioKind
    lost: tuple[str, ...]
    target: str
    fault: str
    state: RunState
    begin_s: float = -6.0
    end_s: float = 24.0
    timed: list[tuple[Step, float, float]] = field(default_factory=list)
    events: list[tuple[float, Entry]] = field(default_factory=list)
    losses: tuple[Loss, ...] = ()
    outages: dict[str, tuple[float, float]] = field(default_factory=dict)
    """System → begin and end of the time without service."""
    lost_window_s: float = 0.0
    """Writes acknowledged so shortly before the outage are lost."""
    missing: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()

    def step(self, step: Step, begin: float, end: float, *, fails: str = "") -> None:
        """A step from `begin` to `end`; one with `fails` does not reach its end."""
        self.timed.append((step, begin, end))
        self.events.append((begin, Entry(event=Event.STEP_STARTED, step=step.id)))
        for condition in step.gates:
            judged = (
                Setting(name="fact", value=condition.fact.value),
                Setting(name="instance", value=condition.instance),
                Setting(name="verdict", value="pass"),
                Setting(name="detail_zh", value="条件成立"),
            )
            self.events.append((begin, Entry(event=Event.GATE_JUDGED, step=step.id, detail="it holds", data=judged)))
        if step.verb is Verb.INJECT:
            self.events.append((begin, Entry(event=Event.FAULT_INJECTED, step=step.id, detail=self.fault)))
        if step.verb not in {Verb.CONFIRM, Verb.ASK}:
            self.events.append((begin, Entry(event=Event.EFFECT_STARTED, step=step.id, detail=step.verb.value)))
        if fails:
            self.events.append((end, Entry(event=Event.STEP_FAILED, step=step.id, detail=fails)))
            return
        if step.verb not in {Verb.CONFIRM, Verb.ASK}:
            self.events.append((end, Entry(event=Event.EFFECT_DONE, step=step.id, detail="done")))
        data = (Setting(name="own_s", value="0.0061"), Setting(name="action_s", value=f"{end - begin - 0.0061:.4f}"))
        self.events.append((end, Entry(event=Event.STEP_DONE, step=step.id, detail="done", data=data)))

    def undo(self, step: Step, begin: float, end: float) -> None:
        """The way back of a step."""
        self.events.append((begin, Entry(event=Event.UNDO_STARTED, step=step.id)))
        self.events.append((end, Entry(event=Event.UNDO_DONE, step=step.id, detail="undone")))


def make_step(
    target: str,
    verb: Verb,
    phase: Phase,
    text: tuple[str, str],
    *,
    wave: int,
    needs: tuple[str, ...] = (),
    towards: tuple[str, ...] = (),
    gates: tuple[Condition, ...] = (),
    critical: bool = False,
    forecast_s: float = 0.2,
    name: str = "",
    undo: Undo | None = None,
) -> Step:
    """A step on an instance; its id is `instance:verb`."""
    return Step(
        id=f"{target}:{name or verb.value}",
        verb=verb,
        text=Text(en=text[0], zh=text[1]),
        system=target.split("/", maxsplit=1)[0],
        service=target.split("@", maxsplit=1)[0] if "/" in target else "",
        instance=target if "/" in target else "",
        towards=towards,
        needs=needs,
        gates=gates,
        undo=undo,
        phase=phase,
        wave=wave,
        critical=critical,
        forecast_s=forecast_s,
    )


def cannot_ack(system: str) -> tuple[Condition, ...]:
    """The two gates of a promotion of the copy in b."""
    return (
        Condition(fact=Fact.CANNOT_ACK, instance=f"{system}/db@a", others=(f"{system}/db@b",)),
        Condition(fact=Fact.HOLDS_ALL, instance=f"{system}/db@b", others=(f"{system}/db@a",)),
    )


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
    db, app, entry = f"{system}/db", f"{system}/app", f"{system}/entry@edge"
    zh = {"legal-person": "法人库", "sharing": "共享系统"}[system]
    plan: list[tuple[Step, float, float]] = [
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


def write_run(home: Path, script: Script) -> Path:
    """The run folder of a script; everything but the bundle and the reports."""
    folder = home / "runs" / script.name
    for name in ("canary", "artifacts"):
        (folder / name).mkdir(parents=True)
    topology, plan = lab_topology(), make_plan(script)
    approvals = tuple(
        Approval(plan_sha256=plan.sha256, name=name, at=utc(-60), accepts_loss=plan.loses_data)
        for name in script.approvers
    )
    _put(folder, "plan", plan)
    _put(folder, "topology", topology)
    _put(folder, "approvals", approvals)
    before, after = look(script, -7.0, after=False), look(script, script.end_s, after=True)
    _put(folder, "before", before)
    _put(folder, "after", after)
    records = _journal(folder, script, plan)
    ledgers = [_ledger(folder, script, system) for system in SYSTEMS]
    surviving = {s: _survivors(script, ledger) for s, ledger in zip(SYSTEMS, ledgers, strict=True)}
    _put(folder, "measurements", measure(topology, plan, records, ledgers, surviving))
    _put(folder, "proofs", tuple(proof(script, system) for system in SYSTEMS))
    _put(folder, "versions", collect_versions(before))
    _artifacts(folder, script)
    (folder / "owner.json").write_text("{}")
    return folder


def make_plan(script: Script) -> Plan:
    """The plan that a script carries out."""
    steps = tuple(sorted((s for s, _, _ in script.timed), key=lambda s: s.wave))
    return Plan(
        scenario=script.scenario,
        kind=script.kind,
        mode=Mode.LIVE,
        estate="lab",
        lab=True,
        topology_sha256=_topology_sha256(),
        created_at=utc(-65),
        lost=script.lost,
        target=script.target,
        systems=SYSTEMS,
        steps=steps,
        losses=script.losses,
        forecast_rto_s=1.1,
        forecast_total_s=12.0,
        fault=script.fault,
        version="1",
    )


def _topology_sha256() -> str:
    from orchestrator.evidence.verifier import topology_sha256

    return topology_sha256(lab_topology())


def _put(folder: Path, name: str, value: object) -> None:
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1))


def _journal(folder: Path, script: Script, plan: Plan) -> tuple[Record, ...]:
    now = script.begin_s - 1.0
    clock = Clock(monotonic=lambda: T0_MONO + now, utc=lambda: utc(now), boot=lambda: BOOT, simulated=True)
    journal = Journal(
        folder / "journal.jsonl",
        run=script.name,
        first_prev=genesis(plan.sha256, script.name),
        epoch=3,
        epoch_now=lambda: 3,
        clock=clock,
    )
    opened = (Setting(name="plan_sha256", value=plan.sha256),)
    journal.append([Entry(event=Event.RUN_OPENED, detail=plan.scenario, data=opened)])
    for at, entry in sorted(script.events, key=lambda e: e[0]):
        now = at
        journal.append([entry], sync=False)
    now = script.end_s - 1.0
    state = (Setting(name="state", value=script.state.value),)
    missing = tuple(Setting(name="missing", value=text) for text in script.missing)
    journal.append([Entry(event=Event.RUN_CLOSED, detail=script.state.value, data=state + missing)])
    journal.close()
    return journal.records


def operations(script: Script, system: str) -> Iterable[Operation]:
    """200 operations a second, writes and reads in turn; those within the outage fail."""
    chance = random.Random(system)
    begin, end = script.outages.get(system, (0.0, 0.0))
    prefix = f"{script.name}.{system}.4711."
    acked: list[str] = []
    for number in range(round((script.end_s - script.begin_s - 2) * 200)):
        sent = script.begin_s + number * 0.005
        took = 0.0026 + chance.expovariate(1 / 0.0009) + (0.02 if chance.random() < 0.004 else 0)
        write, out = number % 2 == 0 or not acked, begin < sent + took and sent < end
        record = f"{prefix}{number:08d}" if write else chance.choice(acked[-500:])
        result, status, centre = (Result.OK, 201 if write else 200, "a" if chance.random() < 0.5 else "b")
        if out:
            result, status, centre, took = _outage(sent - begin, end - begin, write, chance)
        elif write:
            acked.append(record)
        yield Operation(
            k="w" if write else "r",
            i=record,
            s=T0_MONO + sent,
            e=T0_MONO + sent + took,
            o=result,
            c=status,
            n=centre,
        )


def _outage(into: float, length: float, write: bool, chance: random.Random) -> tuple[Result, int, str, float]:
    if into < 0.02 and write:
        return Result.DOUBT, 504, "", min(1.0, length)
    if into < 0.1:
        return Result.REFUSED, 503, "", 0.05 + chance.random() * 0.05
    return Result.REFUSED, 503, "", 0.002 + chance.random() * 0.004


def _ledger(folder: Path, script: Script, system: str) -> Ledger:
    header = Header(
        entry=f"{system}/entry@edge",
        system=system,
        boot=BOOT,
        t0_utc=utc(script.begin_s),
        t0_mono=T0_MONO + script.begin_s,
        rate=200.0,
        prefix=f"{script.name}.{system}.",
    )
    ordered = tuple(sorted(operations(script, system), key=lambda o: o.e))
    lines: Sequence[object] = (header, *ordered)
    (folder / "canary" / f"{system}.jsonl").write_bytes(b"".join(msgspec.json.encode(x) + b"\n" for x in lines))
    return Ledger(header=header, operations=ordered)


def _survivors(script: Script, ledger: Ledger) -> dict[str, str]:
    begin = script.outages.get(ledger.header.system, (0.0, 0.0))[0]
    edge = T0_MONO + begin - script.lost_window_s
    gone = (
        {o.i for o in ledger.acknowledged() if edge < o.e <= T0_MONO + begin + 0.01} if script.lost_window_s else set()
    )
    return {o.i: value_of(o.i) for o in ledger.acknowledged() if o.i not in gone}


def look(script: Script, at: float, *, after: bool) -> Snapshot:
    """Every instance before, or after the run."""
    readings = tuple(
        _reading(script, instance.id, instance.role, after=after) for instance in lab_topology().instances()
    )
    return Snapshot(estate="lab", taken_at=utc(at), took_s=0.061, readings=readings)


def _reading(script: Script, instance: str, declared: Role, *, after: bool) -> Reading:
    service, _, centre = instance.partition("@")
    moved = after and script.state in {RunState.DONE, RunState.DEGRADED}
    if moved and script.state is RunState.DEGRADED and centre in script.lost:
        return Reading(instance=instance, reach=Reach.REFUSED, took_s=0.001, error="connection refused")
    base = Reading(instance=instance, reach=Reach.ANSWERED, took_s=0.004, role=declared, answers=True)
    if service.endswith("/entry"):
        routes = ("c",) if moved and script.target == "c" else ("a", "b")
        return msgspec.structs.replace(base, routes_to=routes)
    if service.endswith("/app"):
        return msgspec.structs.replace(base, upstream=_primary(script, service, moved=moved), epoch=3 if moved else 0)
    return _database(base, script, service, centre, moved=moved)


def _primary(script: Script, service: str, *, moved: bool) -> str:
    home = "b" if service.startswith("open-data") else "a"
    return script.target if moved and home in script.lost else home


def _database(base: Reading, script: Script, service: str, centre: str, *, moved: bool) -> Reading:
    primary = _primary(script, service, moved=moved)
    peer = {"a": "b", "b": "a", "c": ""}[primary]
    source = "" if centre == primary else primary if centre == peer else peer or primary
    leads = centre == primary
    downstream = Downstream(centre=peer, sync=True, streaming=True, position=118_489_088, flush_lag_s=0.002)
    return msgspec.structs.replace(
        base,
        role=Role.PRIMARY if leads else Role.STANDBY,
        writable=leads,
        epoch=3 if moved else 0,
        timeline=2 if moved else 1,
        position=118_489_088,
        replayed=118_489_088,
        lag_s=None if leads else 0.0,
        upstream=source,
        receiving=None if leads else True,
        downstreams=(downstream,) if leads and peer else (),
        sync_required=((peer,) if peer else ()) if leads else None,
        clock_offset_s=0.0004,
        settings=(Setting(name="version", value=PG), Setting(name="max_connections", value="100")),
    )


def proof(script: Script, system: str) -> ServiceProof:
    """The content of every replica compared after the run."""
    primary = _primary(script, f"{system}/db", moved=script.state is RunState.DONE)
    replicas = tuple(_replica_proof(f"{system}/db@{c}") for c in "abc" if c != primary)
    return ServiceProof(
        service=f"{system}/db",
        primary=f"{system}/db@{primary}",
        asked=(Part.POSITIONS, Part.CANARY, Part.CONTENT),
        replicas=replicas,
        took_s=1.4,
    )


def _replica_proof(instance: str) -> ReplicaProof:
    tables = tuple(
        TableProof(
            database="app",
            table=name,
            sameness=Sameness.EQUAL,
            rows_left=rows,
            rows_right=rows,
            key=("id",),
            position=118_490_112,
        )
        for name, rows in (("public.drctl_canary", 2811), ("public.registry", 20_000), ("public.licence", 5_120))
    )
    why = Text(en="a lock of 20 ms is acceptable", zh="可以接受 20 毫秒的锁")
    return ReplicaProof(
        instance=instance,
        position=PositionProof(
            verdict=Verdict.PASS,
            target=118_490_112,
            received=118_490_112,
            replayed=118_490_112,
            received_s=0.003,
            replayed_s=0.004,
        ),
        canary=CanaryProof(
            verdict=Verdict.PASS, samples=20, unseen=0, lag_p50_s=0.0021, lag_p95_s=0.0044, lag_max_s=0.0061
        ),
        content=ContentProof(method=Method.CUT, why=why, position=118_490_112, held_s=0.021, took_s=0.4, tables=tables),
    )


def _artifacts(folder: Path, script: Script) -> None:
    for step, _, _ in script.timed:
        if step.verb in {Verb.FENCE, Verb.REJOIN}:
            place = folder / "artifacts" / step.id.replace("/", "_").replace(":", "_")
            place.mkdir(parents=True)
            (place / "stdout").write_text(
                "PLAY [fence] ***\nok: [db@a]\nPLAY RECAP ***\ndb@a : ok=4 changed=3 failed=0\n"
            )
            (place / "rc").write_text("0")
