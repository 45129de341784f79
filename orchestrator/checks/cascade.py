"""Every replica receives from the source that the topology declares.

A replica fed past its declared source may run ahead of it: after a take-over by that source it cannot follow any more
(PostgreSQL: "new timeline forked off before current recovery point") and must be rewound.
"""

from __future__ import annotations

from orchestrator.checks.base import Case, Check, Ruling, each_instance, no, unread, untold, yes
from orchestrator.model.observation import Reading
from orchestrator.model.topology import Instance, Nature, Role, Text

MOVED = Text(
    en="after a failover this is expected: `drctl failback` restores the declared chain",
    zh="故障切换后属预期：`drctl failback` 可恢复声明的复制链路",
)
ALONE = Text(
    en="give it its source again (repoint), or rejoin it",
    zh="重新指定其来源（repoint）或重新加入（rejoin）",
)


def rule(case: Case, instance: Instance, reading: Reading) -> Ruling | None:
    """Judges the declared targets that are not primary now."""
    source = next((r.source for r in case.service.replications if r.target == instance.centre), None)
    if source is None or reading.role is Role.PRIMARY:
        return None
    if (not_read := unread(reading)) is not None:
        return not_read
    if reading.upstream is None:
        return untold("its source", "来源")
    if not reading.upstream:
        return no(f"receives from nobody, declared {source}", f"没有来源，声明为 {source}", ALONE)
    if reading.upstream != source:
        return no(
            f"differs from declared: receives from {reading.upstream}, declared {source}",
            f"与声明不符：来源为 {reading.upstream}，声明为 {source}",
            MOVED,
        )
    return yes(f"receives from {source}, as declared", f"来源为 {source}，与声明一致")


CHECK = Check(
    id="cascade",
    title=Text(en="replication source as declared", zh="复制来源符合声明"),
    short=Text(en="from", zh="级联"),
    natures=frozenset({Nature.REPLICATED}),
    judge=each_instance("cascade", rule),
)
