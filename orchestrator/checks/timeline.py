"""All instances of a service are on one timeline: one history, nobody forked off."""

from __future__ import annotations

from orchestrator.checks.base import Case, Check, Ruling, names, no, unsure, whole_service, yes
from orchestrator.model.observation import Reach
from orchestrator.model.topology import Nature, Text

FORKED = Text(
    en="the one on the older timeline has forked off: `drctl failback` brings it back (rewound, never merged)",
    zh="处于旧时间线的实例已分叉：用 `drctl failback` 使其回归（回退重放，不合并）",
)


def rule(case: Case) -> Ruling | None:
    """Two timelines are a failure whoever is unseen; one is a pass where every instance told its own."""
    if len(case.service.instances) < 2:
        return None
    readings = {i.centre: case.reading(i) for i in case.service.instances}
    told = {c: r.timeline for c, r in readings.items() if r.reach is Reach.ANSWERED and r.timeline is not None}
    unseen = [c for c in readings if c not in told]
    if len(set(told.values())) > 1:
        each = names([f"{c}: {t}" for c, t in told.items()])
        return no(f"different timelines: {each}", f"时间线不一致：{each}", FORKED)
    if unseen:
        seen = names([f"{c}: {t}" for c, t in told.items()])
        return unsure(
            f"timeline of {names(unseen)} not read (seen: {seen or 'none'})",
            f"未读到 {names(unseen)} 的时间线（已读：{seen or '无'}）",
        )
    line = next(iter(told.values()))
    return yes(f"all {len(told)} on timeline {line}", f"{len(told)} 个实例均在时间线 {line}")


CHECK = Check(
    id="timeline",
    title=Text(en="all on one timeline", zh="时间线一致"),
    short=Text(en="line", zh="时线"),
    natures=frozenset({Nature.REPLICATED}),
    judge=whole_service("timeline", rule),
)
