"""What every check is made of: the case it judges, the ruling it gives, and the words they share.

Pure. Leaves out: how readings are taken (observer), how findings are shown (reports.findings).
A rule that all checks keep: what could not be read is `unknown`, never `pass` and never "down".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from orchestrator.model.observation import Finding, Reach, Reading, Snapshot, Verdict
from orchestrator.model.topology import Frozen, Instance, Nature, Role, Service, System, Text, Topology
from orchestrator.providers.kinds import S3_BUCKET


class Ruling(Frozen, kw_only=True):
    """A verdict with its reason, before it is told of whom."""

    verdict: Verdict
    reason: Text
    advice: Text = Text(en="", zh="")

    def about(self, check: str, subject: str) -> Finding:
        """The finding of `check` about `subject`."""
        return Finding(check=check, subject=subject, verdict=self.verdict, reason=self.reason, advice=self.advice)


def yes(en: str, zh: str) -> Ruling:
    """It holds, and this is how it is known."""
    return Ruling(verdict=Verdict.PASS, reason=Text(en=en, zh=zh))


def no(en: str, zh: str, advice: Text | None = None) -> Ruling:
    """It is known not to hold."""
    return Ruling(verdict=Verdict.FAIL, reason=Text(en=en, zh=zh), advice=advice or Text(en="", zh=""))


def unsure(en: str, zh: str, advice: Text | None = None) -> Ruling:
    """It could not be told."""
    return Ruling(verdict=Verdict.UNKNOWN, reason=Text(en=en, zh=zh), advice=advice or Text(en="", zh=""))


class Case(Frozen, kw_only=True):
    """One service under judgement, with all that was seen of the estate."""

    topology: Topology
    snapshot: Snapshot
    system: System
    service: Service

    def reading(self, instance: Instance) -> Reading:
        """What was seen of an instance."""
        return self.snapshot.of(instance.id)

    def at(self, centre: str) -> Reading | None:
        """What was seen of this service's instance in `centre`; None where the service has none there."""
        instance = self.service.at(centre)
        return self.reading(instance) if instance else None

    def behind(self) -> Case | None:
        """The case of the service that this one serves (app → database, entry → app)."""
        service = self.topology.service_by_id.get(self.service.serves)
        if service is None:
            return None
        system = self.topology.system_by_id[service.system]
        return Case(topology=self.topology, snapshot=self.snapshot, system=system, service=service)

    def writable(self) -> tuple[Instance, ...]:
        """Instances that were seen to take writes."""
        return tuple(i for i in self.service.instances if takes_writes(self.reading(i)))

    def primary(self) -> Instance | None:
        """The one instance that was seen to take writes; None where there is none or more than one."""
        found = self.writable()
        return found[0] if len(found) == 1 else None


def takes_writes(reading: Reading) -> bool:
    """Whether it answered and would take a client's write."""
    return reading.reach is Reach.ANSWERED and reading.writable is True


BUCKETS = frozenset({S3_BUCKET.name})
"""A bucket keeps no log for its copies, and tells nothing of its disks."""

JudgeService = Callable[[Case], Iterator[Finding]]
JudgeInstance = Callable[[Case, Instance, Reading], Ruling | None]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One named judgement. `judge` yields nothing for a kind that has no such notion."""

    id: str
    title: Text
    short: Text
    """At most six columns of a terminal: heads the matrix."""
    natures: frozenset[Nature]
    judge: JudgeService
    not_of: frozenset[str] = frozenset()
    """Kinds that have no such notion, though others of their nature have."""


def each_instance(check: str, rule: JudgeInstance) -> JudgeService:
    """Judge the instances of a service one by one; None from `rule` skips an instance."""

    def judge(case: Case) -> Iterator[Finding]:
        for instance in case.service.instances:
            ruling = rule(case, instance, case.reading(instance))
            if ruling is not None:
                yield ruling.about(check, instance.id)

    return judge


def whole_service(check: str, rule: Callable[[Case], Ruling | None]) -> JudgeService:
    """Judge a service as a whole; None from `rule` skips it."""

    def judge(case: Case) -> Iterator[Finding]:
        ruling = rule(case)
        if ruling is not None:
            yield ruling.about(check, case.service.id)

    return judge


def met(reading: Reading) -> Text:
    """In words: how an instance that did not answer met the probe."""
    waited = f"{reading.took_s:.0f}" if reading.took_s >= 1 else f"{reading.took_s:.1f}"
    words = {
        Reach.ANSWERED: Text(en="it answered", zh="已应答"),
        Reach.REFUSED: Text(en="nobody listens there", zh="该地址没有进程监听"),
        Reach.DENIED: Text(en="a server is there and lets us not in", zh="有服务进程，但拒绝接入"),
        Reach.SILENT: Text(
            en=f"no answer within {waited} s (down, frozen or cut off: it cannot be told which)",
            zh=f"{waited} 秒内无应答（停机、冻结或断网，无法区分）",
        ),
        Reach.UNKNOWN: Text(en="it could not be probed", zh="未能探测"),
    }[reading.reach]
    if not reading.error or reading.reach not in {Reach.DENIED, Reach.UNKNOWN}:
        return words  # what a client library says of a closed port or a time-out adds nothing
    return Text(en=f"{words.en}: {reading.error}", zh=f"{words.zh}：{reading.error}")


def unread(reading: Reading) -> Ruling | None:
    """`unknown` for an instance that did not answer; None where it did."""
    if reading.reach is Reach.ANSWERED:
        return None
    why = met(reading)
    return unsure(f"not read: {why.en}", f"未读到：{why.zh}")


def untold(what_en: str, what_zh: str) -> Ruling:
    """`unknown` for an instance that answered and did not say this."""
    return unsure(f"it answered and did not tell {what_en}", f"已应答，但未给出{what_zh}")


def role_words(role: Role) -> Text:
    """The role in both languages."""
    return {
        Role.PRIMARY: Text(en="primary", zh="主"),
        Role.STANDBY: Text(en="standby", zh="备"),
        Role.DETACHED: Text(en="detached", zh="脱离"),
    }[role]


def size_words(size_bytes: int) -> str:
    """A size for people: binary units, one decimal (IEC 80000-13)."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def span_words(seconds: float) -> str:
    """A duration for people: milliseconds below one second."""
    return f"{seconds * 1000:.0f} ms" if abs(seconds) < 1 else f"{seconds:.1f} s"


def names(items: tuple[str, ...] | list[str]) -> str:
    """A list for people."""
    return ", ".join(items)
