"""A standby can carry what the primary carries: same version, and no setting below the primary's."""

from __future__ import annotations

from orchestrator.checks.base import Case, Check, Ruling, each_instance, names, no, unread, unsure, untold, yes
from orchestrator.model.observation import Reach, Reading
from orchestrator.model.topology import Instance, Nature, Role, Setting, Text

CAPACITY = "max_"
"""A setting whose name begins so is a capacity: more is fine. Others (version, identity, format) must be the same."""

ADVICE = Text(
    en="raise the standby's settings to the primary's: one too small stops replaying, or falls over under users",
    zh="将备端设置提升至不低于主端：过小的备端会停止回放，或在接管后过载",
)


def rule(case: Case, instance: Instance, reading: Reading) -> Ruling | None:
    """Judges every instance but the primary it is compared with."""
    primary = _primary(case)
    if primary is not None and primary.id == instance.id:
        return None
    if (not_read := unread(reading)) is not None:
        return None if primary is None and instance.role is Role.PRIMARY else not_read
    if primary is None:
        return unsure("no primary to compare with was read", "未读到可供比较的主实例")
    wanted = case.reading(primary).settings
    if not wanted or not reading.settings:
        return untold("its settings" if wanted else "the primary's settings", "设置项")
    return _compare(primary.centre, wanted, reading)


def _primary(case: Case) -> Instance | None:
    """The writable primary, or the only one that answers as primary though it is read-only."""
    claims = [i for i in case.service.instances if _claims(case.reading(i))]
    return case.primary() or (claims[0] if len(claims) == 1 else None)


def _claims(reading: Reading) -> bool:
    return reading.reach is Reach.ANSWERED and reading.role is Role.PRIMARY


def _compare(primary: str, wanted: tuple[Setting, ...], reading: Reading) -> Ruling:
    missing = [s.name for s in wanted if reading.setting(s.name) is None]
    told = [(s, v) for s in wanted if (v := reading.setting(s.name)) is not None]
    wrong = [f"{s.name} {v} ({primary}: {s.value})" for s, v in told if not _ok(s, v)]
    if wrong:
        return no(f"below or unlike the primary's: {names(wrong)}", f"低于或不同于主端：{names(wrong)}", ADVICE)
    if missing:
        return unsure(f"not told: {names(missing)}", f"未给出：{names(missing)}")
    return yes(f"{len(wanted)} settings match {primary}'s", f"{len(wanted)} 项设置与 {primary} 相符")


def _ok(wanted: Setting, value: str) -> bool:
    """A capacity must not be below the primary's; everything else must be the same."""
    if not wanted.name.startswith(CAPACITY):
        return value == wanted.value
    try:
        return float(value) >= float(wanted.value)
    except ValueError:
        return value == wanted.value


CHECK = Check(
    id="capacity",
    title=Text(en="standby's capacity as the primary's", zh="备端容量与设置不低于主端"),
    short=Text(en="cap", zh="容量"),
    natures=frozenset({Nature.REPLICATED}),
    judge=each_instance("capacity", rule),
)
