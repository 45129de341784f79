"""What a condition is judged on: the world now, the world before the loss, and what this run has done.

Pure. Leaves out: who gathers it (executor, planner).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from orchestrator.checks.base import Ruling, met, no, unread, unsure, yes
from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.topology import Frozen, Role, Service, Text, Topology

BEFORE_AGE_MAX_S = 3600.0
"""An older look than this proves nothing of a primary that is silent now: meanwhile somebody may have taken its
standby out of the acknowledgement. It never happens by itself (a database does not degrade on its own), so the bound is
on how long a change by hand may go unseen."""


CLOCK_STEP_MAX_S = 1.0
"""How far a look before may seem to lie in the future (our own clock was set back between two looks)."""


class Evidence(Frozen, kw_only=True):
    """All that may be weighed. The caller adds to `fenced` only what a fence of this run reported as done."""

    topology: Topology
    now: Snapshot
    before: Snapshot | None = None
    """The last look at a time when the old primary still answered (see `remember`); None where there is none."""
    fenced: frozenset[str] = frozenset()
    """Instances with a fence done in this run, the step that is being verified included."""
    epoch: int = 0
    """The run's epoch; 0 outside a run, where no instance counts as promoted by it."""
    attested: frozenset[str] = frozenset()
    """Centres that two people attest to be off, in an approval of this very plan."""
    before_age_max_s: float = BEFORE_AGE_MAX_S

    def service_of(self, instance: str) -> Service | None:
        """The service of an instance; None for one that the topology does not hold."""
        found = self.topology.instance_by_id.get(instance)
        return self.topology.service_by_id[found.service] if found else None

    def centre_of(self, instance: str) -> str:
        """The centre of an instance; empty for one that the topology does not hold."""
        found = self.topology.instance_by_id.get(instance)
        return found.centre if found else ""

    def centres_of(self, instances: tuple[str, ...]) -> Mapping[str, str]:
        """Centre → instance."""
        return {self.centre_of(i): i for i in instances}


def remember(before: Snapshot | None, now: Snapshot) -> Snapshot:
    """What to keep as `before` for the time when an instance is silent: its newest answer, with one exception.

    It is the latest answer and not the best: a primary that was seen to acknowledge alone must not be judged by a
    better look from before that. But one that asks for the same standby as before, which has left it since, is kept
    with that standby: only there stands that it was synchronous. Carried readings keep their own time in `at`.
    """
    if before is None:
        return now
    merged = {r.instance: r for r in now.readings}
    for old in before.readings:
        new = merged.get(old.instance)
        answered = new is not None and new.reach is Reach.ANSWERED
        if old.reach is Reach.ANSWERED and (new is None or not answered or _has_lost_its_standby(old, new)):
            merged[old.instance] = replace(old, at=old.at or before.taken_at)
    return Snapshot(estate=now.estate, taken_at=now.taken_at, took_s=now.took_s, readings=tuple(merged.values()))


def _has_lost_its_standby(old: Reading, new: Reading) -> bool:
    """A primary that no run has touched, on the same timeline, asks as before, and whom it asks is no longer there."""
    same = (old.sync_required, old.timeline, old.epoch) == (new.sync_required, new.timeline, new.epoch)
    known = old.timeline is not None and old.epoch is not None and new.role is Role.PRIMARY
    return same and known and bool(old.sync_required) and _attended(old) and not _attended(new)


def _attended(reading: Reading) -> bool:
    """Whether every standby that a primary asks for streams to it synchronously."""
    there = {d.centre for d in reading.downstreams if d.sync and d.streaming}
    return set(reading.sync_required or ()) <= there


def age_s(evidence: Evidence, instance: str) -> float | None:
    """Seconds between the look before at an instance and the look now; None where a time cannot be read."""
    if evidence.before is None:
        return None
    try:
        then = datetime.fromisoformat(evidence.before.of(instance).at or evidence.before.taken_at)
        return (datetime.fromisoformat(evidence.now.taken_at) - then).total_seconds()
    except (ValueError, TypeError):
        return None


def stale(evidence: Evidence, instance: str) -> Ruling | None:
    """Why the look before proves nothing (none, undated, too old or from the future); None where it counts."""
    if evidence.before is None:
        return unsure("there is no look from before the loss", "没有故障前的观测")
    age = age_s(evidence, instance)
    if age is None:
        return unsure("the look from before the loss has no readable time", "故障前观测的时间无法解读")
    if not -CLOCK_STEP_MAX_S <= age <= evidence.before_age_max_s:
        return unsure(
            f"the look from before the loss is {age:.0f} s old, usable are 0 to {evidence.before_age_max_s:.0f} s",
            f"故障前观测距今 {age:.0f} 秒，可用范围为 0 至 {evidence.before_age_max_s:.0f} 秒",
        )
    return None


def superseded(evidence: Evidence, reading: Reading, name: str) -> Ruling | None:
    """`fail` where a later run has changed an instance, `unknown` where it does not tell; None where it is ours.

    Outside a run (epoch 0) there is nothing to compare with.
    """
    if not evidence.epoch:
        return None
    if reading.epoch is None:
        return unsure(f"{name} does not tell the epoch of its last run", f"{name} 未给出纪元")
    if reading.epoch > evidence.epoch:
        return no(
            f"a later run (epoch {reading.epoch}) has changed {name}; this run has epoch {evidence.epoch}",
            f"{name} 已被更新的任务（纪元 {reading.epoch}）改动；本任务纪元为 {evidence.epoch}",
            Text(en="stop: the later run decides", zh="停止：以更新的任务为准"),
        )
    return None


def attested_off(reading: Reading, evidence: Evidence) -> Ruling | None:
    """People's word that its centre is off (ground 6 of promotion); None where nobody gave it, or it answers."""
    centre = evidence.centre_of(reading.instance)
    if centre not in evidence.attested or reading.reach is Reach.ANSWERED:
        return None
    why = met(reading)
    return yes(
        f"two people attest that centre {centre} is off, and {why.en}", f"两人署名确认中心 {centre} 已停机，且{why.zh}"
    )


def not_read(reading: Reading, name: str) -> Ruling | None:
    """For statements that need an answer: nobody listening is a `fail`, everything else unread is `unknown`."""
    if reading.reach is Reach.REFUSED:
        why = met(reading)
        return no(f"{name}: {why.en}", f"{name}：{why.zh}")
    ruling = unread(reading)
    return ruling and unsure(f"{name} {ruling.reason.en}", f"{name} {ruling.reason.zh}")
