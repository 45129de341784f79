"""The safety core: what licenses a promotion (invariants 1 to 4 of the design).

Pure. Two facts are judged here, and each names the whole of its grounds:

CANNOT_ACK(old; others): `old` cannot acknowledge a client's write any more. Grounds, any one of:
  1. it answers now and takes no writes;
  2. it answers now, asks only `others` for their acknowledgement, and none of them can give it (detached, or primary);
  3. it does not answer, a fence of this run is done on it, and the world agrees: nobody listens, or its access rules
     bar clients (a server that denies us since it is full or starting may still take others).
     Silence does not agree: it looks the same for a fence and for a cut cable behind which somebody took the fence
     away, and a power-off that cannot be seen is for a person to confirm, not for a program to believe;
  4. it does not answer, and before the loss it asked only `others`, and none of them can give it now. Silence of `old`
     is then harmless: whatever it does, no client gets an answer. The look before must be the latest (see
     evidence.remember) and recent (see evidence.stale),
     and an old primary that answers is judged by what it says now (2), never by what it said before;
  5. a candidate in `others` is primary already by this run's own epoch: the gate was open before, the effect has
     happened, and the step is run again after a crash. An old primary that answers is still judged by 1 and 2;
  6. it does not answer, and two people attest in their approval of this very plan that its centre is off: without
     power, or cut off from every user. That is a fence by hand (as Pacemaker's `stonith_admin --confirm`): the only
     ground on the day when a city is dark and no host can be asked. An old primary that answers proves them wrong.

HOLDS_ALL(candidate; others): `candidate` holds all that each of `others` acknowledged. Grounds, any one of, for each:
  1. the old one answers, takes no writes, and the candidate's position on the same timeline is not below its position;
  2. the old one acknowledges (or did, in a recent look before) nothing without this candidate alone, the candidate was
     its synchronous streaming standby, and has not fallen back behind the position that was seen then;
  3. the candidate is primary already by this run's own epoch (resumed after a crash).

Unknown is not down: a field that is None passes nothing. What a later run has changed is not ours to move.
"""

from __future__ import annotations

from orchestrator.checks.base import Ruling, met, names, no, size_words, unsure, yes
from orchestrator.checks.evidence import Evidence, age_s, attested_off, stale, superseded
from orchestrator.model.observation import Downstream, Reach, Reading, Verdict
from orchestrator.model.plan import Condition
from orchestrator.model.topology import Role, Text

FENCE_IT = Text(
    en="fence it, or detach its required standby (repoint it to nobody) and look again",
    zh="将其隔离，或使其所需的同步备实例脱离（repoint 至空）后再观测",
)
STATE_LOSS = Text(
    en="a take-over may lose data: state the loss in the plan and have two people accept it, or bring the old one back",
    zh="接管可能丢失数据：须在计划中写明损失并由两人批准，或恢复原主实例",
)


def cannot_ack(condition: Condition, evidence: Evidence) -> Ruling:
    """Whether the old primary is unable to acknowledge a write; see the module for the grounds."""
    old = evidence.now.of(condition.instance)
    if old.reach is Reach.ANSWERED:
        return superseded(evidence, old, condition.instance) or _answering_cannot_ack(condition, evidence, old)
    return (
        _fence_holds(evidence, old)
        or attested_off(old, evidence)
        or _promoted(condition.others, evidence)
        or _unfed(condition, evidence, old)
    )


def _answering_cannot_ack(condition: Condition, evidence: Evidence, old: Reading) -> Ruling:
    """Grounds 1 and 2: by what the old primary says now."""
    name = condition.instance
    if old.writable is False:
        return yes(f"{name} answers and takes no writes", f"{name} 有应答且不接受写入")
    asked = _asks_only(condition.others, evidence, old)
    if asked.verdict is not Verdict.PASS:
        provable = old.writable is True and asked.verdict is Verdict.FAIL
        judge = no if provable else unsure
        return judge(
            f"{name} answers and may take writes: {asked.reason.en}",
            f"{name} 有应答且可能接受写入：{asked.reason.zh}",
            FENCE_IT,
        )
    return _all_mute(condition.others, evidence, old, Text(en="asks", zh="需要"))


def _fence_holds(evidence: Evidence, old: Reading) -> Ruling | None:
    """Ground 3."""
    if old.instance not in evidence.fenced or not keeps_out(old):
        return None
    why = met(old)
    return yes(f"fenced by this run, and {why.en}", f"已由本任务隔离，且{why.zh}")


def keeps_out(reading: Reading) -> bool:
    """Whether it is seen that no client gets in: nobody listens, or the access rules bar clients."""
    return reading.reach is Reach.REFUSED or (reading.reach is Reach.DENIED and reading.barred is True)


def _unfed(condition: Condition, evidence: Evidence, old: Reading) -> Ruling:
    """Ground 4: by what the old primary asked before it was lost."""
    name, why = condition.instance, met(old)
    grounds = stale(evidence, name) or _asked_before(condition, evidence)
    if grounds.verdict is Verdict.PASS:
        assert evidence.before is not None
        was = evidence.before.of(name)
        return _all_mute(condition.others, evidence, was, Text(en="asked", zh="此前需要"))
    fence = _fence_words(evidence, name)
    return unsure(
        f"{name}: {why.en}; {fence.en}, and {grounds.reason.en}",
        f"{name}：{why.zh}；{fence.zh}，且{grounds.reason.zh}",
        FENCE_IT,
    )


def _fence_words(evidence: Evidence, name: str) -> Text:
    if name in evidence.fenced:
        return Text(en="a fence was done and cannot be seen to hold", zh="已执行隔离，但无法确认其有效")
    return Text(en="no fence of this run holds it", zh="本任务未将其隔离")


def _asked_before(condition: Condition, evidence: Evidence) -> Ruling:
    assert evidence.before is not None
    was = evidence.before.of(condition.instance)
    if was.reach is not Reach.ANSWERED or was.role is not Role.PRIMARY:
        return unsure("it was not seen as primary before the loss", "故障前未见其为主实例")
    return superseded(evidence, was, condition.instance) or _asks_only(condition.others, evidence, was)


def _asks_only(others: tuple[str, ...], evidence: Evidence, old: Reading) -> Ruling:
    """Whether every acknowledgement that a primary asks for would have to come from `others`."""
    ours = set(evidence.centres_of(others)) - {""}
    if old.sync_required is None:
        return unsure("whose acknowledgement it asks for is not known", "不知其需要谁的同步确认")
    if not old.sync_required:
        return no("it acknowledges without any standby", "它无需任何备实例即可确认写入")
    foreign = [c for c in old.sync_required if c not in ours]
    if foreign:
        return no(f"{names(foreign)} can acknowledge for it", f"{names(foreign)} 可为其提供确认")
    return yes(f"it asks {names(old.sync_required)}", f"它需要 {names(old.sync_required)} 的确认")


def _all_mute(others: tuple[str, ...], evidence: Evidence, old: Reading, asks: Text) -> Ruling:
    """Whether none of those that the old primary waits for can give it an acknowledgement now."""
    waited_for = old.sync_required or ()
    for centre in waited_for:
        name = evidence.centres_of(others)[centre]
        ruling = mute(evidence.now.of(name))
        if ruling.verdict is Verdict.PASS:
            ruling = superseded(evidence, evidence.now.of(name), name) or ruling
        if ruling.verdict is not Verdict.PASS:
            judge = no if ruling.verdict is Verdict.FAIL else unsure
            return judge(f"{name}: {ruling.reason.en}", f"{name}：{ruling.reason.zh}", FENCE_IT)
    who = names(waited_for)
    return yes(
        f"{old.instance} {asks.en} the acknowledgement of {who}, which is detached: no client gets an answer from it",
        f"{old.instance} {asks.zh} {who} 的确认，而其已脱离：任何客户端都得不到它的确认",
    )


def mute(reading: Reading) -> Ruling:
    """Whether a standby cannot acknowledge for anyone: it answers, and is primary, or receives from nobody."""
    if reading.reach is not Reach.ANSWERED:
        why = met(reading)
        return unsure(why.en, why.zh)
    if reading.role is Role.PRIMARY:
        return yes("is primary itself", "自身为主")
    if reading.receiving is True or reading.upstream:
        source = reading.upstream or "?"
        return no(f"still receives from {source}", f"仍在从 {source} 接收")
    if reading.role is None or reading.receiving is None or reading.upstream is None:
        return unsure("whether it receives from somebody could not be told", "无法判断其是否在接收数据")
    return yes("receives from nobody", "未从任何来源接收")


def _promoted(candidates: tuple[str, ...], evidence: Evidence) -> Ruling | None:
    """The ground of a resumed run: a candidate is primary by this run's own epoch."""
    for name in candidates:
        reading = evidence.now.of(name)
        if promoted_by_run(reading, evidence):
            return yes(
                f"{name} is primary already, by this run (epoch {evidence.epoch})",
                f"{name} 已由本任务（纪元 {evidence.epoch}）提升为主",
            )
    return None


def promoted_by_run(reading: Reading, evidence: Evidence) -> bool:
    """Whether an instance answers as primary and the last run that changed it is this one."""
    ours = evidence.epoch > 0 and reading.epoch == evidence.epoch
    return reading.reach is Reach.ANSWERED and reading.role is Role.PRIMARY and ours


def holds_all(condition: Condition, evidence: Evidence) -> Ruling:
    """Whether the candidate holds all that each of `others` acknowledged; see the module for the grounds."""
    name, candidate = condition.instance, evidence.now.of(condition.instance)
    if not condition.others:
        return unsure("nobody is named whose writes it should hold", "未指明应包含谁的写入")
    if candidate.reach is not Reach.ANSWERED:
        why = met(candidate)
        return unsure(f"{name}: {why.en}", f"{name}：{why.zh}")
    if (later := superseded(evidence, candidate, name)) is not None:
        return later
    if (promoted := _promoted((name,), evidence)) is not None:
        return promoted
    if candidate.role not in {Role.STANDBY, Role.DETACHED}:
        return unsure(f"{name} is not a standby", f"{name} 不是备实例")
    rulings = [_holds(candidate, old, evidence) for old in condition.others]
    return next((r for v in (Verdict.FAIL, Verdict.UNKNOWN) for r in rulings if r.verdict is v), rulings[0])


def _holds(candidate: Reading, old_name: str, evidence: Evidence) -> Ruling:
    old = evidence.now.of(old_name)
    if old.reach is not Reach.ANSWERED:
        return stale(evidence, old_name) or _held_before(candidate, old_name, evidence)
    if (later := superseded(evidence, old, old_name)) is not None:
        return later
    if old.writable is None:
        return unsure(f"whether {old_name} takes writes could not be told", f"无法判断 {old_name} 是否可写")
    if old.writable is False:
        return _by_position(candidate, old)
    return _still_writing(candidate, old, evidence)


def _by_position(candidate: Reading, old: Reading) -> Ruling:
    """Ground 1: the old one stands still, so that positions can be compared."""
    return _short_of(candidate, old, old.position) or yes(
        f"{candidate.instance} is at {candidate.position}, {old.instance} stands at {old.position}",
        f"{candidate.instance} 位于 {candidate.position}，{old.instance} 停在 {old.position}",
    )


def _short_of(candidate: Reading, old: Reading, position: int | None) -> Ruling | None:
    """Why the candidate is not shown to hold the old one's log up to `position`; None where it is."""
    if candidate.timeline is None or candidate.timeline != old.timeline:
        return unsure(
            f"timelines {candidate.timeline} and {old.timeline}: their positions cannot be compared",
            f"时间线分别为 {candidate.timeline} 与 {old.timeline}：位置不可比较",
        )
    if candidate.position is None or position is None:
        return unsure("a position is not known", "位置未知")
    return _behind(candidate, old.instance, position) if candidate.position < position else None


def _behind(candidate: Reading, old: str, position: int) -> Ruling:
    missing = size_words(position - (candidate.position or 0))
    return no(
        f"{candidate.instance} is {missing} behind what {old} had ({candidate.position} < {position})",
        f"{candidate.instance} 落后 {old} {missing}（{candidate.position} < {position}）",
        STATE_LOSS,
    )


def _held_before(candidate: Reading, old_name: str, evidence: Evidence) -> Ruling:
    """Ground 2 where the old one does not answer: by the look before the loss."""
    assert evidence.before is not None
    was = evidence.before.of(old_name)
    if was.reach is not Reach.ANSWERED or was.role is not Role.PRIMARY:
        return unsure(
            f"{old_name} was not seen as primary before the loss", f"故障前未见 {old_name} 为主实例", STATE_LOSS
        )
    if (later := superseded(evidence, was, old_name)) is not None:
        return later
    age = age_s(evidence, old_name) or 0.0
    ruling = _by_sync(candidate, was, evidence)
    if ruling.verdict is not Verdict.PASS:
        return ruling
    return yes(f"{ruling.reason.en} (seen {age:.0f} s ago)", f"{ruling.reason.zh}（{age:.0f} 秒前观测）")


def _still_writing(candidate: Reading, old: Reading, evidence: Evidence) -> Ruling:
    """Ground 2 where the old one answers and may take writes: what it asks for now, and what was seen before.

    A standby that is detached already is not among the downstreams any more, so its having been synchronous and
    streaming is taken from the look before; that it is still required must be said now.
    """
    if not _asks_for_alone(candidate, old, evidence):
        return _not_sync(candidate, old)
    streaming = _copy(candidate, old, evidence)
    if streaming is not None and streaming.sync and streaming.streaming:
        return _by_sync(candidate, old, evidence)
    return stale(evidence, old.instance) or _held_before(candidate, old.instance, evidence)


def _asks_for_alone(candidate: Reading, old: Reading, evidence: Evidence) -> bool:
    """A primary that may do with another standby's acknowledgement proves nothing of this one."""
    return old.sync_required == (evidence.centre_of(candidate.instance),)


def _copy(candidate: Reading, old: Reading, evidence: Evidence) -> Downstream | None:
    centre = evidence.centre_of(candidate.instance)
    return next((d for d in old.downstreams if d.centre == centre), None)


def _by_sync(candidate: Reading, old: Reading, evidence: Evidence) -> Ruling:
    """Ground 2: `old` acknowledged nothing without this candidate, and the candidate has not fallen back since."""
    copy = _copy(candidate, old, evidence)
    if not _asks_for_alone(candidate, old, evidence) or copy is None or not copy.sync or not copy.streaming:
        return _not_sync(candidate, old)
    name, source = candidate.instance, old.instance
    return _short_of(candidate, old, copy.position) or yes(
        f"{source} acknowledged nothing without {name}, which is at {candidate.position}, not below {copy.position}",
        f"{source} 的每次确认都经过 {name}，其位于 {candidate.position}，不低于 {copy.position}",
    )


def _not_sync(candidate: Reading, old: Reading) -> Ruling:
    """Provably behind is a failure; level with what was seen proves nothing, for more may have been acknowledged."""
    short = _short_of(candidate, old, old.position)
    if short is not None and short.verdict is Verdict.FAIL:
        return short
    return unsure(
        f"{old.instance} acknowledges without {candidate.instance}: what it acknowledged last is not known to be there",
        f"{old.instance} 无需 {candidate.instance} 即可确认：无法证明其最后确认的写入已在此",
        STATE_LOSS,
    )
