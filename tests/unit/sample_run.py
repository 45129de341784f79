"""Run folders as the engine leaves them, for tests: the lab's own topology, a real journal, ledgers, real measurements.

Times are made up; everything that is derived from them (hashes, chain, measurements) is made by the program.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from orchestrator.evidence.journal import Clock, Entry, Journal, genesis
from orchestrator.evidence.versions import collect_versions
from orchestrator.measure import measure
from orchestrator.model.canary import Header, Ledger, Operation, Result, value_of
from orchestrator.model.observation import Downstream, Reach, Reading, Snapshot, Verdict
from orchestrator.model.plan import (
    Approval,
    Mode,
    Plan,
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
from orchestrator.model.topology import Role, Setting, Text
from tests.unit.sample_steps import BOOT, PG, SYSTEMS, T0_MONO, Script, lab_topology, utc


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
