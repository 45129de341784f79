"""A replica is not further behind than the system's RPO and the declared lag allow."""

from __future__ import annotations

from orchestrator.checks.base import (
    BUCKETS,
    Case,
    Check,
    Ruling,
    each_instance,
    no,
    size_words,
    span_words,
    unread,
    unsure,
    untold,
    yes,
)
from orchestrator.model.observation import Reading
from orchestrator.model.topology import CopyMode, Frozen, Instance, Nature, Replication, Role, Text

SLOW = Text(
    en="look at the link, at the replica's load and at a paused replay; a failover to it now would lose this much",
    zh="检查链路、备端负载以及回放是否暂停；此时切换到它将丢失相应数据",
)
REPLAY = Text(
    en="nothing is lost, but a take-over waits for the replay: look at the replica's load and at a paused replay",
    zh="不会丢失数据，但接管须等待回放完成：检查备端负载以及回放是否暂停",
)
BROKEN = Text(
    en="bring its source or the link back, or give it another source (repoint); its lag grows until then",
    zh="恢复其来源或链路，或为其更换来源（repoint）；在此之前延迟持续增长",
)


class Limit(Frozen, kw_only=True):
    """What the lag is held against, in seconds."""

    seconds: float
    declared: Text
    advice: Text


def rule(case: Case, instance: Instance, reading: Reading) -> Ruling | None:
    """Judges what is a standby now, whatever was declared; a primary is skipped."""
    if reading.role is Role.PRIMARY or (reading.role is None and instance.role is Role.PRIMARY):
        return None
    if (not_read := unread(reading)) is not None:
        return not_read
    if reading.role is None and case.service.kind in BUCKETS:
        return None  # a store that tells nothing of its replication: `drctl verify` times it
    if reading.receiving is False:
        since = "" if reading.last_heard_s is None else f" ({span_words(reading.last_heard_s)})"
        return no(f"receives from nobody{since}: its lag grows", f"未在接收数据{since}：延迟持续增长", BROKEN)
    if reading.receiving is None or reading.lag_s is None:
        return _untold(reading)
    limit = _limit(case, instance, reading)
    return _silent_stream(case, reading, limit) or _held(reading.lag_s, limit)


def _untold(reading: Reading) -> Ruling:
    if reading.position is None or reading.replayed is None or reading.position <= reading.replayed:
        return untold("how far it is behind", "延迟")
    behind = size_words(reading.position - reading.replayed)
    return unsure(
        f"{behind} received and not replayed, and it does not tell for how long",
        f"已接收但未回放 {behind}，且未给出时长",
        REPLAY,
    )


def _held(lag_s: float, limit: Limit) -> Ruling:
    lag = span_words(lag_s)
    told = limit.declared
    if lag_s > limit.seconds:
        return no(f"{lag} behind, above {told.en}", f"落后 {lag}，超过{told.zh}", limit.advice)
    return yes(f"{lag} behind, within {told.en}", f"落后 {lag}，在{told.zh}之内")


def _silent_stream(case: Case, reading: Reading, limit: Limit) -> Ruling | None:
    """A stream that is cut without a word still looks alive: `lag_s` is only as fresh as the last message.

    Then the positions decide: behind the primary is a failure, level with it is a pass, and not told is unknown.
    """
    heard = reading.last_heard_s
    if heard is None or heard <= limit.seconds:
        return None
    primary = case.primary()
    ahead = case.reading(primary).position if primary else None
    if ahead is None or reading.position is None:
        return unsure(
            f"last heard its source {span_words(heard)} ago: how far it is behind cannot be told",
            f"{span_words(heard)} 未收到来源消息：无法判断延迟",
        )
    behind = ahead - reading.position
    if behind <= 0:
        return None
    return no(
        f"last heard its source {span_words(heard)} ago and is {size_words(behind)} behind, above {limit.declared.en}",
        f"{span_words(heard)} 未收到来源消息且落后 {size_words(behind)}，超过{limit.declared.zh}",
        BROKEN,
    )


def _limit(case: Case, instance: Instance, reading: Reading) -> Limit:
    """The tighter of the declared lag and the RPO of the loss that this replica protects against.

    A synchronous replica holds what was acknowledged whatever its replay does: there the replay's lag only delays a
    take-over, and is held against the RTO.
    """
    replication = _replication(case, instance, reading)
    primary = case.primary() or case.service.primary
    near = primary is None or case.topology.same_site(primary.centre, instance.centre)
    target = case.system.centre_loss if near else case.system.site_loss
    if _acknowledges(case, instance, replication):
        words = Text(en=f"the RTO of {target.rto_s:g} s", zh=f" RTO {target.rto_s:g} 秒")
        return Limit(seconds=target.rto_s, declared=words, advice=REPLAY)
    rpo = Text(en=f"the RPO of {target.rpo_s:g} s", zh=f" RPO {target.rpo_s:g} 秒")
    lag_max = None if replication is None else replication.lag_max_s
    if lag_max is None or lag_max >= target.rpo_s or replication is None or replication.mode is CopyMode.SYNC:
        return Limit(seconds=target.rpo_s, declared=rpo, advice=SLOW)
    both = Text(
        en=f"the declared lag of {lag_max:g} s (RPO {target.rpo_s:g} s)",
        zh=f"声明的延迟上限 {lag_max:g} 秒（RPO {target.rpo_s:g} 秒）",
    )
    return Limit(seconds=lag_max, declared=both, advice=SLOW)


def _acknowledges(case: Case, instance: Instance, replication: Replication | None) -> bool:
    """Whether the primary waits for this replica; by the declaration where the primary does not tell."""
    primary = case.primary()
    asked = case.reading(primary).sync_required if primary else None
    if asked is not None:
        return instance.centre in asked
    return replication is not None and replication.mode is CopyMode.SYNC


def _replication(case: Case, instance: Instance, reading: Reading) -> Replication | None:
    """The declared replication to this instance; after a move, the same one turned round."""
    here = instance.centre
    declared = [r for r in case.service.replications if r.target == here]
    turned = [r for r in case.service.replications if r.source == here and r.target == reading.upstream]
    return next(iter(declared + turned), None)


CHECK = Check(
    id="lag",
    title=Text(en="lag within the RPO and as declared", zh="延迟在 RPO 及声明范围内"),
    short=Text(en="lag", zh="延迟"),
    natures=frozenset({Nature.REPLICATED}),
    judge=each_instance("lag", rule),
)
