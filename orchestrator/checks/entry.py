"""An entry sends users only to what writes to the writable primary (invariant 5)."""

from __future__ import annotations

from orchestrator.checks.app import calls_primary
from orchestrator.checks.base import (
    Case,
    Check,
    Ruling,
    each_instance,
    met,
    names,
    no,
    takes_writes,
    unread,
    unsure,
    untold,
    yes,
)
from orchestrator.model.observation import Reach, Reading, Verdict
from orchestrator.model.topology import Instance, Nature, Text

REDIRECT = Text(
    en="send users elsewhere (redirect), or repair what it points at; `drctl plan` shows the order",
    zh="将用户引导到别处（redirect），或修复其所指目标；`drctl plan` 会给出次序",
)


def rule(case: Case, instance: Instance, reading: Reading) -> Ruling | None:
    """Every target must serve from the primary, and a user's request must come back right; a bare link is skipped."""
    behind = case.behind()
    if behind is None:
        return None
    if (not_read := unread(reading)) is not None:
        return not_read
    if reading.routes_to is None:
        return untold("whom it sends users to", "用户流向")
    if not reading.routes_to:
        return no("sends users nowhere", "没有任何用户流向", REDIRECT)
    targets = [(centre, _target(behind, centre)) for centre in reading.routes_to]
    return (
        _first(targets, Verdict.FAIL)
        or _own_answer(reading)
        or _first(targets, Verdict.UNKNOWN)
        or yes(
            f"sends users to {names(reading.routes_to)}, and they answer from the primary",
            f"用户流向 {names(reading.routes_to)}，均由主实例正常响应",
        )
    )


def _first(targets: list[tuple[str, Ruling]], verdict: Verdict) -> Ruling | None:
    """The first target with `verdict`, told as the entry's."""
    found = next(((c, r) for c, r in targets if r.verdict is verdict), None)
    if found is None:
        return None
    centre, ruling = found
    told_en, told_zh = f"sends users to {centre}: {ruling.reason.en}", f"用户流向 {centre}：{ruling.reason.zh}"
    return no(told_en, told_zh, REDIRECT) if verdict is Verdict.FAIL else unsure(told_en, told_zh)


def _own_answer(reading: Reading) -> Ruling | None:
    """What a user's request through the entry itself showed; None where it came back right."""
    if reading.answers is True:
        return None
    if reading.answers is False:
        return no("gives users no right answer", "用户经此入口得不到正确响应", REDIRECT)
    return untold("whether users get an answer", "用户能否得到响应")


def _target(behind: Case, centre: str) -> Ruling:
    """Whether the instance behind the entry in `centre` serves from the writable primary."""
    reading = behind.at(centre)
    if reading is None:
        return no("nothing is declared there", "该处未声明实例")
    if reading.reach is Reach.REFUSED:
        why = met(reading)
        return no(why.en, why.zh)
    if (not_read := unread(reading)) is not None:
        return not_read
    if behind.service.nature is Nature.REPLICATED:
        return _database(reading)
    if reading.answers is False:
        return no("it gives no right answer", "其未能正确响应")
    return untold("whether it answers", "能否响应") if reading.answers is None else calls_primary(behind, reading)


def _database(reading: Reading) -> Ruling:
    if reading.writable is None:
        return untold("whether it takes writes", "是否可写")
    if takes_writes(reading):
        return yes("takes writes", "可写")
    return no("it takes no writes", "其不可写")


CHECK = Check(
    id="entry",
    title=Text(en="entry sends users to the writable primary", zh="入口指向可写主实例"),
    short=Text(en="entry", zh="入口"),
    natures=frozenset({Nature.ROUTE}),
    judge=each_instance("entry", rule),
)
