"""The plain facts of a condition, each judged from what one or two readings say now.

Pure. The two facts that license a promotion are in promotion.py.
"""

from __future__ import annotations

from orchestrator.checks.base import Ruling, met, names, no, role_words, unsure, untold, yes
from orchestrator.checks.evidence import Evidence, attested_off, not_read
from orchestrator.checks.promotion import keeps_out, promoted_by_run
from orchestrator.model.observation import Reach, Reading, Verdict
from orchestrator.model.plan import Condition
from orchestrator.model.topology import Nature, Role


def not_serving(condition: Condition, evidence: Evidence) -> Ruling:
    """Does not answer, or answers and gives users nothing. Says nothing of what may happen behind a cut: no licence."""
    name, reading = condition.instance, evidence.now.of(condition.instance)
    if reading.reach in {Reach.REFUSED, Reach.SILENT}:
        why = met(reading)
        return yes(f"{name}: {why.en}", f"{name}：{why.zh}")
    if reading.reach is Reach.DENIED and keeps_out(reading):
        return yes(f"{name} bars its clients", f"{name} 的访问规则拒绝客户端")
    if reading.reach is not Reach.ANSWERED:
        why = met(reading)
        return unsure(f"{name}: {why.en}", f"{name}：{why.zh}")
    service = evidence.service_of(name)
    data = service is not None and service.nature is Nature.REPLICATED
    return _is_false(name, reading.writable if data else reading.answers)


def _is_false(name: str, serves: bool | None) -> Ruling:
    if serves is None:
        return untold("whether it serves", "是否在服务")
    if serves:
        return no(f"{name} answers and serves", f"{name} 有应答且在服务")
    return yes(f"{name} answers and does not serve", f"{name} 有应答但不在服务")


def answers(condition: Condition, evidence: Evidence) -> Ruling:
    """It answered its probe."""
    name, reading = condition.instance, evidence.now.of(condition.instance)
    return not_read(reading, name) or yes(f"{name} answers", f"{name} 有应答")


def writable_primary(condition: Condition, evidence: Evidence) -> Ruling:
    """It answers, is primary and takes writes."""
    name, reading = condition.instance, evidence.now.of(condition.instance)
    if (unseen := not_read(reading, name)) is not None:
        return unseen
    if reading.role is not None and reading.role is not Role.PRIMARY:
        return _wrong_role(name, reading.role)
    if reading.writable is False:
        return no(f"{name} takes no writes", f"{name} 不接受写入")
    if reading.role is None or reading.writable is None:
        return untold("whether it is a writable primary", "是否为可写主实例")
    return yes(f"{name} is primary and takes writes", f"{name} 为主且可写")


def _wrong_role(name: str, role: Role) -> Ruling:
    words = role_words(role)
    return no(f"{name} is {words.en}", f"{name} 的角色是{words.zh}")


def not_writable(condition: Condition, evidence: Evidence) -> Ruling:
    """It answered and would not take a write; nobody listening or silence does not pass."""
    name, reading = condition.instance, evidence.now.of(condition.instance)
    if reading.reach is not Reach.ANSWERED:
        why = met(reading)
        return unsure(f"{name}: {why.en}", f"{name}：{why.zh}")
    if reading.writable is None:
        return untold("whether it takes writes", "是否可写")
    if reading.writable:
        return no(f"{name} takes writes", f"{name} 接受写入")
    return yes(f"{name} answers and takes no writes", f"{name} 有应答且不接受写入")


def standby_of(condition: Condition, evidence: Evidence) -> Ruling:
    """It is a standby, set to receive from the centre of `others[0]`, and a live stream comes from there."""
    name, reading = condition.instance, evidence.now.of(condition.instance)
    if not condition.others:
        return unsure("no source is named", "未指明来源")
    if (unseen := not_read(reading, name)) is not None:
        return unseen
    source = evidence.centre_of(condition.others[0])
    if reading.role is not None and reading.role is not Role.STANDBY:
        return _wrong_role(name, reading.role)
    if reading.upstream is not None and reading.upstream != source:
        return no(
            f"{name} is set to receive from {reading.upstream or 'nobody'}, not from {source}",
            f"{name} 的来源为 {reading.upstream or '空'}，而非 {source}",
        )
    if reading.receiving is False:
        return no(f"{name} receives nothing from {source}", f"{name} 未从 {source} 接收数据")
    if reading.role is None or reading.upstream is None or reading.receiving is None:
        return untold("its role, source or stream", "角色、来源或接收状态")
    sent = evidence.now.of(condition.others[0]).timeline
    if reading.timeline is not None and sent is not None and reading.timeline != sent:
        # What is left of the old timeline is sent again and again to a standby whose history has parted.
        return no(
            f"{name} is on timeline {reading.timeline}, and {source} on {sent}: it does not follow",
            f"{name} 位于时间线 {reading.timeline}，而 {source} 位于 {sent}：未跟随",
        )
    return yes(f"{name} streams from {source}", f"{name} 正从 {source} 复制")


def sync_standby_of(condition: Condition, evidence: Evidence) -> Ruling:
    """STANDBY_OF, and the source says that it requires this standby and counts it as synchronous now."""
    standby = standby_of(condition, evidence)
    if standby.verdict is not Verdict.PASS:
        return standby
    name, source_name = condition.instance, condition.others[0]
    source, centre = evidence.now.of(source_name), evidence.centre_of(condition.instance)
    if (unseen := not_read(source, source_name)) is not None:
        return unseen
    if source.sync_required is None:
        return untold("whose acknowledgement it asks for", "需要谁的同步确认")
    if centre not in source.sync_required:
        return no(f"{source_name} does not ask {name} to acknowledge", f"{source_name} 不要求 {name} 确认")
    copy = next((d for d in source.downstreams if d.centre == centre), None)
    if copy is None or not copy.streaming or not copy.sync:
        return no(
            f"{source_name} does not count {name} as synchronous and streaming yet",
            f"{source_name} 尚未将 {name} 计为同步复制",
        )
    return yes(f"{name} is a synchronous standby of {source_name}", f"{name} 是 {source_name} 的同步备实例")


def detached(condition: Condition, evidence: Evidence) -> Ruling:
    """A standby that is set to receive from nobody, and no stream comes in; or this very run has promoted it since."""
    name, reading = condition.instance, evidence.now.of(condition.instance)
    if (unseen := not_read(reading, name)) is not None:
        return unseen
    if promoted_by_run(reading, evidence):  # run again after a crash, and the promotion that this licensed has happened
        return yes(f"{name} is primary already, by this run", f"{name} 已由本任务提升为主")
    if reading.role is Role.PRIMARY:
        return _wrong_role(name, reading.role)
    if reading.receiving is True or reading.upstream:
        source = reading.upstream or "?"
        return no(f"{name} still receives from {source}", f"{name} 仍在从 {source} 接收")
    if reading.role is None or reading.receiving is None or reading.upstream is None:
        return untold("its role, source or stream", "角色、来源或接收状态")
    return yes(f"{name} is a standby that receives from nobody", f"{name} 为备且未从任何来源接收")


def fenced(condition: Condition, evidence: Evidence) -> Ruling:
    """A fence of this run is done, and nobody listens there or clients are denied; silence does not show it.

    Where two people attest that its centre is off, their word stands for the fence as long as nothing answers there.
    """
    name, reading = condition.instance, evidence.now.of(condition.instance)
    if reading.reach is Reach.ANSWERED:
        return no(f"{name} answers: no fence holds it", f"{name} 有应答：隔离无效")
    if (word := attested_off(reading, evidence)) is not None:
        return word
    if name not in evidence.fenced:
        return no(f"no fence of this run was done on {name}", f"本任务未对 {name} 执行隔离")
    why = met(reading)
    judge = yes if keeps_out(reading) else unsure
    return judge(f"{name} was fenced; {why.en}", f"{name} 已隔离；{why.zh}")


def no_sync_wait(condition: Condition, evidence: Evidence) -> Ruling:
    """A primary whose every required standby streams synchronously, or which requires none: its writes do not hang."""
    name, reading = condition.instance, evidence.now.of(condition.instance)
    if (unseen := not_read(reading, name)) is not None:
        return unseen
    if reading.role is None or reading.sync_required is None:
        return untold("its role or whose acknowledgement it asks for", "角色或需要谁的同步确认")
    if reading.role is not Role.PRIMARY:
        return _wrong_role(name, reading.role)
    there = {d.centre for d in reading.downstreams if d.streaming and d.sync}
    absent = [c for c in reading.sync_required if c not in there]
    if absent:
        return no(f"{name} waits for {names(absent)}, which is absent", f"{name} 在等待缺席的 {names(absent)}")
    asked = names(reading.sync_required)
    return yes(
        f"{name} waits for {asked}, all present" if asked else f"{name} waits for nobody",
        f"{name} 所需的 {asked} 均在" if asked else f"{name} 不等待任何备实例",
    )


def calls(condition: Condition, evidence: Evidence) -> Ruling:
    """An app calls the centre of `others[0]`."""
    name, reading = condition.instance, evidence.now.of(condition.instance)
    if not condition.others:
        return unsure("nobody is named whom it should call", "未指明调用目标")
    if (unseen := not_read(reading, name)) is not None:
        return unseen
    if reading.upstream is None:
        return untold("whom it calls", "调用目标")
    wanted = evidence.centre_of(condition.others[0])
    if reading.upstream != wanted:
        return no(
            f"{name} calls {reading.upstream or 'nobody'}, not {wanted}",
            f"{name} 调用 {reading.upstream or '空'}，而非 {wanted}",
        )
    return yes(f"{name} calls {wanted}", f"{name} 调用 {wanted}")


def routed_to(condition: Condition, evidence: Evidence) -> Ruling:
    """An entry sends users to the centres of `others`, to every one of them and to no other."""
    name, reading = condition.instance, evidence.now.of(condition.instance)
    if not condition.others:
        return unsure("nobody is named to whom it should send users", "未指明用户流向")
    if (unseen := not_read(reading, name)) is not None:
        return unseen
    if reading.routes_to is None:
        return untold("whom it sends users to", "用户流向")
    wanted = {evidence.centre_of(o) for o in condition.others}
    seen = names(sorted(reading.routes_to))
    if set(reading.routes_to) != wanted:
        hope = names(sorted(wanted))
        return no(
            f"{name} sends users to {seen or 'nobody'}, not {hope}", f"{name} 的用户流向为 {seen or '空'}，而非 {hope}"
        )
    return yes(f"{name} sends users to {seen}", f"{name} 的用户流向为 {seen}")


def serves_users(condition: Condition, evidence: Evidence) -> Ruling:
    """It gave a right answer end to end; an app with a database behind it must also take a write."""
    name, reading = condition.instance, evidence.now.of(condition.instance)
    if (unseen := not_read(reading, name)) is not None:
        return unseen
    if reading.answers is False or reading.writable is False:
        return no(f"{name} gives users no right answer to a read and a write", f"{name} 未能正确响应用户的读写")
    if reading.answers is None or (reading.writable is None and _must_write(evidence, reading)):
        return untold("whether it serves users", "能否服务用户")
    return yes(f"{name} serves users", f"{name} 正常服务用户")


def _must_write(evidence: Evidence, reading: Reading) -> bool:
    service = evidence.service_of(reading.instance)
    behind = evidence.topology.service_by_id.get(service.serves) if service else None
    active = service is not None and service.nature is Nature.ACTIVE
    return active and behind is not None and behind.nature is Nature.REPLICATED
