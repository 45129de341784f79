"""Every instance plays the role that the topology declares, and no primary is of a superseded epoch."""

from __future__ import annotations

from orchestrator.checks.base import Case, Check, Ruling, each_instance, no, role_words, unread, untold, yes
from orchestrator.model.observation import Reach, Reading
from orchestrator.model.topology import Instance, Nature, Role, Text

SUPERSEDED = Text(
    en="keep its clients away and fence it now; `drctl failback` brings it back as a standby",
    zh="立即断开其客户端并隔离；用 `drctl failback` 使其作为备实例回归",
)


def rule(case: Case, instance: Instance, reading: Reading) -> Ruling:
    """The role that was seen against the declared one."""
    if (not_read := unread(reading)) is not None:
        return not_read
    if reading.role is None:
        return untold("its role", "角色")
    newer = _newer_primary(case, reading)
    if newer is not None:
        centre, epoch = newer
        return no(
            f"superseded: it claims primary with epoch {reading.epoch}, {centre} is primary with epoch {epoch}",
            f"已被取代：它以纪元 {reading.epoch} 自称为主，而 {centre} 以纪元 {epoch} 为主",
            SUPERSEDED,
        )
    seen = role_words(reading.role)
    told_en, told_zh = ("", "") if reading.epoch is None else (f", epoch {reading.epoch}", f"，纪元 {reading.epoch}")
    if reading.role is instance.role:
        return yes(f"{seen.en}, as declared{told_en}", f"{seen.zh}，与声明一致{told_zh}")
    return _differs(case, instance, seen, Text(en=told_en, zh=told_zh))


def _newer_primary(case: Case, reading: Reading) -> tuple[str, int] | None:
    """Centre and epoch of a primary of a later run than this primary's, where there is one."""
    if reading.role is not Role.PRIMARY or reading.epoch is None or case.service.nature is not Nature.REPLICATED:
        return None
    others = ((i.centre, case.reading(i)) for i in case.service.instances)
    later = [(r.epoch, c) for c, r in others if _is_primary(r) and r.epoch is not None and r.epoch > reading.epoch]
    return (max(later)[1], max(later)[0]) if later else None


def _is_primary(reading: Reading) -> bool:
    return reading.reach is Reach.ANSWERED and reading.role is Role.PRIMARY


def _differs(case: Case, instance: Instance, seen: Text, told: Text) -> Ruling:
    declared = role_words(instance.role)
    where = _where(case)
    return no(
        f"differs from declared: is {seen.en}, declared {declared.en}{where.en}{told.en}",
        f"与声明不符：实为{seen.zh}，声明为{declared.zh}{where.zh}{told.zh}",
        Text(
            en="expected after a failover: go home with `drctl failback`, or declare the new home in the topology",
            zh="故障切换后属预期：用 `drctl failback` 回切，或在拓扑中改为新的主中心",
        ),
    )


def _where(case: Case) -> Text:
    """Where the primary is now, for a service that has but one."""
    primary = case.primary() if case.service.nature is Nature.REPLICATED else None
    if primary is None:
        return Text(en="", zh="")
    return Text(en=f"; primary is in {primary.centre}", zh=f"；主实例现在 {primary.centre}")


CHECK = Check(
    id="roles",
    title=Text(en="role and epoch as declared", zh="角色与纪元符合声明"),
    short=Text(en="role", zh="角色"),
    natures=frozenset({Nature.REPLICATED, Nature.ACTIVE}),
    judge=each_instance("roles", rule),
)
