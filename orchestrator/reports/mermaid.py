"""The topology as Mermaid text (https://mermaid.js.org/syntax/flowchart.html), for pages that render it themselves.

Up to MAX_SYSTEMS systems are written with every service; more as one node per group and centre with counts, since
a flow chart of a thousand nodes can be read by nobody.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from orchestrator.model.observation import Snapshot
from orchestrator.model.topology import EDGE, Centre, Instance, Nature, Service, System, Topology
from orchestrator.reports.topology_frame import FLOW_WORDS, PAINTS
from orchestrator.reports.topology_look import NAMES, Arrow, Flow, Look, arrows, face

MAX_SYSTEMS: Final = 12
_LINKS: Final = {Flow.SYNC: "==>", Flow.ASYNC: "-.->", Flow.BROKEN: "-. x .->", Flow.CALL: "-->", Flow.ROUTE: "-->"}


def topology_mermaid(
    topology: Topology, *, lang: str, snapshot: Snapshot | None = None, systems: Collection[str] | None = None
) -> str:
    """A Mermaid flow chart of an estate; see topology_svg for the arguments."""
    chosen = [s for s in topology.systems if systems is None or s.id in systems]
    body = _rows if len(chosen) <= MAX_SYSTEMS else _groups
    lines = ["flowchart LR", *(f"  {line}" for line in body(topology, chosen, lang, snapshot)), *_classes()]
    return "\n".join(lines) + "\n"


def _rows(topology: Topology, chosen: Sequence[System], lang: str, snapshot: Snapshot | None) -> Iterator[str]:
    services = [v for s in chosen for v in s.services]
    outside = [(v, i) for v in services for i in v.instances if i.centre == EDGE]
    for service, instance in outside:
        yield _node(topology, service, instance, lang, snapshot)
    for site in topology.sites:
        yield f'subgraph {_id("site", site.id)}["{_text(site.name.of(lang))}"]'
        for centre in (c for c in topology.centres if c.site == site.id):
            yield f"  {_centre(centre, lang)}"
            for service in services:
                instance_here = service.at(centre.id)
                if instance_here is not None:
                    yield f"    {_node(topology, service, instance_here, lang, snapshot)}"
            yield "  end"
        yield "end"
    for arrow in (a for v in services for a in arrows(topology, v, snapshot)):
        yield _link(arrow, lang)
    names = {s.id: s.name.of(lang) for s in chosen}
    yield from _order({(s.id, other) for s in chosen for other in s.depends_on if other in names}, names, lang)


def _centre(centre: Centre, lang: str) -> str:
    return f'subgraph {_id("centre", centre.id)}["{_text(centre.name.of(lang))}"]'


def _node(topology: Topology, service: Service, instance: Instance, lang: str, snapshot: Snapshot | None) -> str:
    look = face(service, instance, snapshot)
    system = topology.system_by_id[service.system].name.of(lang)
    words = f"{_text(system)}<br/>{_text(service.name)} · {_text(service.kind)}<br/>{_text(look.caption.of(lang))}"
    left, right = {Nature.REPLICATED: ("[(", ")]"), Nature.ACTIVE: ("[", "]"), Nature.ROUTE: ("([", "])")}[
        service.nature
    ]
    return f'{_id("i", instance.id)}{left}"{words}"{right}:::{look.look.value}'


def _link(arrow: Arrow, lang: str) -> str:
    label = f'|"{_text(arrow.label.of(lang))}"|' if arrow.label.of(lang) else ""
    return f"{_id('i', arrow.source)} {_LINKS[arrow.flow]}{label} {_id('i', arrow.target)}"


def _groups(topology: Topology, chosen: Sequence[System], lang: str, snapshot: Snapshot | None) -> Iterator[str]:
    keys = list(dict.fromkeys(s.group for s in chosen))
    names = {g.id: g.name.of(lang) for g in topology.groups} | {
        "": "其他系统" if lang.startswith("zh") else "Other systems"
    }
    for site in topology.sites:
        yield f'subgraph {_id("site", site.id)}["{_text(site.name.of(lang))}"]'
        for centre in (c for c in topology.centres if c.site == site.id):
            yield f"  {_centre(centre, lang)}"
            for key in keys:
                members = [s for s in chosen if s.group == key]
                yield f"    {_group_node(members, centre, (key, names[key]), (lang, snapshot))}"
            yield "  end"
        yield "end"
    yield from _group_links(topology, chosen, lang, snapshot)
    group_of = {s.id: s.group for s in chosen}
    pairs = {(s.group, group_of[other]) for s in chosen for other in s.depends_on if other in group_of}
    yield from _order({(later, first) for later, first in pairs if later != first}, names, lang)


def _group_node(
    members: Sequence[System], centre: Centre, group: tuple[str, str], view: tuple[str, Snapshot | None]
) -> str:
    lang, snapshot = view
    here = [(v, i) for s in members for v in s.services if v.nature is Nature.REPLICATED and (i := v.at(centre.id))]
    looks = Counter(face(v, i, snapshot).look for v, i in here)
    parts = [f"{NAMES[look].of(lang)}: {looks[look]}" for look in Look if looks[look]]
    main = next((look for look in Look if looks[look]), Look.IDLE)
    words = "<br/>".join(_text(part) for part in (f"{group[1]} ({len(members)})", *parts))
    return f'{_id("g", centre.id, group[0])}["{words}"]:::{main.value}'


def _group_links(topology: Topology, chosen: Sequence[System], lang: str, snapshot: Snapshot | None) -> Iterator[str]:
    found: Counter[tuple[str, str, str, Flow]] = Counter()
    for system in chosen:
        for service in (v for v in system.services if v.nature is Nature.REPLICATED):
            for arrow in arrows(topology, service, snapshot):
                source, target = (name.partition("@")[2] for name in (arrow.source, arrow.target))
                found[system.group, source, target, arrow.flow] += 1
    for (group, source, target, flow), number in found.items():
        label = f'|"{FLOW_WORDS[flow].of(lang)} {number}"|'
        yield f"{_id('g', source, group)} {_LINKS[flow]}{label} {_id('g', target, group)}"


def _order(pairs: Collection[tuple[str, str]], names: Mapping[str, str], lang: str) -> Iterator[str]:
    """What must serve before what, in a box of its own, so that it does not pull the centres apart."""
    if not pairs:
        return
    title = "启动顺序" if lang.startswith("zh") else "Order: what must serve first"
    yield f'subgraph order["{title}"]'
    for key in sorted({end for pair in pairs for end in pair}):
        yield f'  {_id("o", key)}["{_text(names[key])}"]'
    yield "end"
    for later, first in sorted(pairs):
        yield f"{_id('o', first)} --> {_id('o', later)}"


def _classes() -> Iterator[str]:
    for look, paint in PAINTS.items():
        yield f"  classDef {look.value} fill:{paint.fill},stroke:{paint.stroke.colour},color:{paint.ink}"


def _id(*parts: str) -> str:
    """An identifier that Mermaid takes; different names stay different."""
    return "_".join(re.sub(r"[^a-z0-9]", lambda m: f"x{ord(m[0]):x}x", part) or "none" for part in parts)


def _text(text: str) -> str:
    """A text inside quotes, with what Mermaid or HTML would interpret written as entities."""
    return "".join(f"#{ord(c)};" if c in '"#<>&`[]{}|;\\' else c for c in text)
