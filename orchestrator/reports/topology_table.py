"""The topology as tables for a terminal: the estate first, then its groups, then systems or single instances."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from rich.table import Table

from orchestrator.model.topology import EDGE, CopyMode, Instance, Nature, Role, Service, System, Topology
from orchestrator.reports.topology_look import face, span


def summary(topology: Topology, systems: Sequence[System], lang: str) -> str:
    """One line: how much there is."""
    services = [v for s in systems for v in s.services]
    instances = sum(len(v.instances) for v in services)
    placeholders = sum(s.filing.startswith("PLACEHOLDER") for s in systems)
    sites, centres = len(topology.sites), len(topology.centres)
    if lang.startswith("zh"):
        waiting = f" · {placeholders} 个备案号为占位" if placeholders else ""
        return f"{sites} 地 {centres} 中心 · {len(systems)} 个系统，{len(services)} 个组件，{instances} 个实例{waiting}"
    waiting = f" · {_many(placeholders, 'placeholder')} for filing numbers" if placeholders else ""
    parts = (_many(len(systems), "system"), _many(len(services), "service"), _many(instances, "instance"))
    cities = f"{sites} {'city' if sites == 1 else 'cities'}"
    return f"{cities}, {_many(centres, 'centre')} · {', '.join(parts)}{waiting}"


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def centres_table(topology: Topology, systems: Sequence[System], lang: str) -> Table:
    """Per centre: its city, its part, and how much stands there."""
    table = _table(lang, "Centre", "Name", "City", "Role", "Primaries", "Standbys", "Apps serving")
    sites = {site.id: site.name.of(lang) for site in topology.sites}
    data = [v for s in systems for v in s.services if v.nature is Nature.REPLICATED]
    apps = [v for s in systems for v in s.services if v.nature is Nature.ACTIVE]
    for centre in topology.centres:
        roles = [i.role for v in data if (i := v.at(centre.id))]
        serving = sum(i.role is Role.PRIMARY for v in apps if (i := v.at(centre.id)))
        counts = (roles.count(Role.PRIMARY), roles.count(Role.STANDBY), serving)
        table.add_row(
            centre.id, centre.name.of(lang), sites[centre.site], centre.role.value, *(str(count) for count in counts)
        )
    return table


def groups_table(topology: Topology, systems: Sequence[System], lang: str) -> Table:
    """Per group: how many systems, and the range of their targets."""
    table = _table(lang, "Group", "Name", "Systems", "Tier", "RTO/RPO centre loss", "RTO/RPO city loss", "Depends on")
    group_of = {s.id: s.group for s in topology.systems}
    for group in topology.groups:
        members = [s for s in systems if s.group == group.id]
        if not members:
            continue
        needs = dict.fromkeys(group_of.get(name, "") or name for s in members for name in s.depends_on)
        table.add_row(
            group.id,
            group.name.of(lang),
            str(len(members)),
            "–".join(dict.fromkeys(str(f(s.tier for s in members)) for f in (min, max))),
            _targets([s.centre_loss.rto_s for s in members], [s.centre_loss.rpo_s for s in members]),
            _targets([s.site_loss.rto_s for s in members], [s.site_loss.rpo_s for s in members]),
            ", ".join(name for name in needs if name != group.id) or "–",
        )
    return table


def systems_table(systems: Sequence[System], lang: str) -> Table:
    """Per system: where its data is and how it is copied, and its targets."""
    table = _table(lang, "System", "Name", "Tier", "Data", "RTO/RPO centre loss", "RTO/RPO city loss", "Depends on")
    for system in systems:
        centre, site = system.centre_loss, system.site_loss
        table.add_row(
            system.id,
            system.name.of(lang),
            str(system.tier),
            ", ".join(_copies(v) for v in system.services if v.nature is Nature.REPLICATED) or "–",
            _targets([centre.rto_s], [centre.rpo_s]),
            _targets([site.rto_s], [site.rpo_s]),
            _few(system.depends_on),
        )
    return table


def instances_table(systems: Sequence[System], centres: Collection[str], lang: str) -> Table:
    """Per instance, in these centres (all where empty): its part, its address, and where it receives from."""
    table = _table(lang, "Instance", "Kind", "Role", "Address", "Receives from or serves")
    for service in (v for s in systems for v in s.services):
        for instance in service.instances:
            if centres and instance.centre not in centres:
                continue
            role = face(service, instance, None).caption.of(lang)
            table.add_row(instance.id, service.kind, role, instance.address or "–", _behind(service, instance))
    return table


def in_centres(systems: Sequence[System], centres: Collection[str]) -> list[System]:
    """Systems that have an instance in one of the centres; all where none is asked for."""
    return [s for s in systems if not centres or any(i.centre in centres for v in s.services for i in v.instances)]


def _behind(service: Service, instance: Instance) -> str:
    feed = next((r for r in service.replications if r.target == instance.centre), None)
    if feed is not None:
        return f"{feed.source}, {feed.mode.value}" + (f" ≤ {span(feed.lag_max_s)}" if feed.lag_max_s else "")
    return service.serves or "–"


def _copies(service: Service) -> str:
    """`a ⇒ b → c`: from the primary, ⇒ for sync and → for async."""
    primary = service.primary
    if primary is None:
        return "–"
    shown, centre, seen = primary.centre, primary.centre, {primary.centre, EDGE}
    while copy := next((r for r in service.replications if r.source == centre and r.target not in seen), None):
        shown += f" {'⇒' if copy.mode is CopyMode.SYNC else '→'} {copy.target}"
        centre = copy.target
        seen.add(centre)
    others = [r for r in service.replications if r.target not in seen]
    return shown + "".join(f", {r.source} {'⇒' if r.mode is CopyMode.SYNC else '→'} {r.target}" for r in others)


def _targets(rto: Sequence[float], rpo: Sequence[float]) -> str:
    return f"{_span(rto)} / {_span(rpo)}"


def _span(values: Sequence[float]) -> str:
    return "–".join(dict.fromkeys(span(f(values)) for f in (min, max)))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "–"


_CHINESE: Final = {
    "Centre": "中心",
    "Name": "名称",
    "City": "地",
    "Role": "角色",
    "Primaries": "主",
    "Standbys": "备",
    "Apps serving": "服务中的应用",
    "Group": "分组",
    "Systems": "系统数",
    "Tier": "级别",
    "RTO/RPO centre loss": "RTO/RPO 中心失效",
    "RTO/RPO city loss": "RTO/RPO 城市失效",
    "Depends on": "依赖",
    "System": "系统",
    "Data": "数据",
    "Instance": "实例",
    "Kind": "类型",
    "Address": "地址",
    "Receives from or serves": "复制源或所服务组件",
}


def _table(lang: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        number = column in {"Systems", "Tier", "Primaries", "Standbys", "Apps serving"}
        name = _CHINESE[column] if lang.startswith("zh") else column
        table.add_column(name, justify="right" if number else "left", no_wrap=column in {"System", "Instance", "Data"})
    return table
