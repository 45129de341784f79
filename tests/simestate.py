"""The simulated estate, and plans on it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.model.plan import Condition, Mode, Phase, Plan, ScenarioKind, Step, Undo, Verb
from orchestrator.model.topology import (
    Centre,
    CentreRole,
    CopyMode,
    Instance,
    Nature,
    Objective,
    Replication,
    Role,
    Service,
    Setting,
    Site,
    System,
    Text,
    Topology,
)

KINDS = {"simdb": Nature.REPLICATED, "simapp": Nature.ACTIVE, "simentry": Nature.ROUTE}


def text(words: str) -> Text:
    """The same words in both languages."""
    return Text(en=words, zh=words)


def topology(systems: Sequence[str] = ("people",)) -> Topology:
    """Centres a, b, c; every system with db (a primary, b sync, c from b), app (a, b, c) and entry."""
    roles = {"a": CentreRole.PRODUCTION, "b": CentreRole.METRO, "c": CentreRole.REMOTE}
    sites = {"a": "near", "b": "near", "c": "far"}
    return Topology(
        id="sim",
        name=text("sim"),
        sites=(Site(id="near", name=text("near")), Site(id="far", name=text("far"))),
        centres=tuple(Centre(id=c, site=sites[c], role=roles[c], name=text(c)) for c in "abc"),
        links=(),
        systems=tuple(_system(s) for s in systems),
        lab=True,
    )


def _system(name: str) -> System:
    copies = (
        Replication(source="a", target="b", mode=CopyMode.SYNC, lag_max_s=0),
        Replication(source="b", target="c", mode=CopyMode.ASYNC, lag_max_s=30),
    )
    db_roles = {"a": Role.PRIMARY, "b": Role.STANDBY, "c": Role.STANDBY}
    app_roles = {"a": Role.PRIMARY, "b": Role.PRIMARY, "c": Role.STANDBY}
    return System(
        id=name,
        name=text(name),
        tier=1,
        owner=text("owner"),
        filing="PLACEHOLDER",
        centre_loss=Objective(rto_s=60, rpo_s=0),
        site_loss=Objective(rto_s=300, rpo_s=60),
        depends_on=(),
        services=(
            _service(name, "db", "simdb", db_roles, copies=copies),
            _service(name, "app", "simapp", app_roles, serves=f"{name}/db"),
            _service(name, "entry", "simentry", {"edge": Role.PRIMARY}, serves=f"{name}/app"),
        ),
    )


def _service(
    system: str,
    name: str,
    kind: str,
    roles: dict[str, Role],
    *,
    serves: str = "",
    copies: tuple[Replication, ...] = (),
) -> Service:
    service = f"{system}/{name}"
    return Service(
        id=service,
        system=system,
        name=name,
        kind=kind,
        nature=KINDS[kind],
        instances=tuple(
            Instance(id=f"{service}@{c}", service=service, centre=c, role=r, address="127.0.0.1:1")
            for c, r in roles.items()
        ),
        replications=copies,
        serves=serves,
    )


def step(
    name: str,
    verb: Verb,
    instance: str = "",
    *,
    towards: Sequence[str] = (),
    needs: Sequence[str] = (),
    gates: Sequence[Condition] = (),
    verify: Sequence[Condition] = (),
    undo: Verb | None = None,
    undo_towards: Sequence[str] = (),
    phase: Phase = Phase.PREPARE,
    params: dict[str, str] | None = None,
    timeout_s: float = 5.0,
    system: str | None = None,
) -> Step:
    """A step; its system is the instance's."""
    back = None
    if undo is not None:
        marked = (Setting(name="undo", value="yes"),)
        back = Undo(verb=undo, instance=instance, towards=tuple(undo_towards), params=marked)
    return Step(
        id=name,
        verb=verb,
        text=text(name),
        system=instance.partition("/")[0] if system is None else system,
        service=instance.partition("@")[0],
        instance=instance,
        towards=tuple(towards),
        params=tuple(Setting(name=k, value=v) for k, v in (params or {}).items()),
        needs=tuple(needs),
        gates=tuple(gates),
        verify=tuple(verify),
        undo=back,
        phase=phase,
        wave=0,
        timeout_s=timeout_s,
    )


def plan(
    steps: Sequence[Step],
    *,
    kind: ScenarioKind = ScenarioKind.SWITCHOVER,
    mode: Mode = Mode.LIVE,
    lab: bool = True,
    fault: str = "",
) -> Plan:
    """A plan of these steps."""
    return Plan(
        scenario="sim",
        kind=kind,
        mode=mode,
        estate="sim",
        lab=lab,
        topology_sha256="0" * 64,
        created_at="2026-11-23T00:00:00Z",
        lost=(),
        target="b",
        systems=tuple(dict.fromkeys(s.system for s in steps if s.system)),
        steps=tuple(steps),
        forecast_rto_s=1.0,
        forecast_total_s=2.0,
        fault=fault,
        version="1",
    )
