"""An app that serves answers its users, and calls the writable primary."""

from __future__ import annotations

from orchestrator.checks.base import Case, Check, Ruling, each_instance, no, unread, unsure, untold, yes
from orchestrator.model.observation import Reach, Reading
from orchestrator.model.topology import Instance, Nature, Role, Text

START = Text(
    en="look at the app's own log; `drctl plan` moves it where its database is",
    zh="查看应用日志；`drctl plan` 可将其切换到数据库所在处",
)
REPOINT = Text(
    en="it was left behind by a move: repoint it to the primary (`drctl runs resume`, or `drctl failback`)",
    zh="切换中被遗漏：将其指向主实例（`drctl runs resume` 或 `drctl failback`）",
)


def rule(case: Case, instance: Instance, reading: Reading) -> Ruling:
    """One that waits need only be there; one that serves, or is declared to, must answer from the primary."""
    if reading.reach is Reach.REFUSED and instance.role is Role.PRIMARY:
        return no("does not run: nobody listens there", "未运行：该地址没有进程监听", START)
    if (not_read := unread(reading)) is not None:
        return not_read
    if reading.role is None and instance.role is not Role.PRIMARY:
        return untold("whether it serves", "是否在服务")
    if instance.role is not Role.PRIMARY and reading.role is not Role.PRIMARY:
        return yes("waits, as declared", "待命，与声明一致")
    if reading.answers is None:
        return untold("whether it answers users", "能否响应用户")
    if reading.answers is False:
        why = f": {reading.error}" if reading.error else ""
        return no(f"gives users no right answer{why}", f"未能正确响应用户{why}", START)
    return calls_primary(case, reading)


def calls_primary(case: Case, reading: Reading) -> Ruling:
    """Whether an app's upstream is the one writable primary of the service behind it."""
    behind = case.behind()
    if behind is None:
        return yes("answers", "正常响应")
    if reading.upstream is None:
        return untold("whom it calls", "调用目标")
    if not reading.upstream:
        return no("calls nobody", "未指向任何数据库", REPOINT)
    primary = behind.primary()
    if primary is None:
        return unsure(
            f"answers and calls {reading.upstream}; which one is the writable primary could not be told",
            f"正常响应，调用 {reading.upstream}；无法确定可写主实例",
        )
    if reading.upstream != primary.centre:
        return no(
            f"calls {reading.upstream}, and the writable primary is in {primary.centre}",
            f"调用的是 {reading.upstream}，而可写主实例在 {primary.centre}",
            REPOINT,
        )
    return yes(f"answers, calls the primary in {primary.centre}", f"正常响应，调用 {primary.centre} 的主实例")


CHECK = Check(
    id="app",
    title=Text(en="app answers from the writable primary", zh="应用正常响应且指向可写主实例"),
    short=Text(en="app", zh="应用"),
    natures=frozenset({Nature.ACTIVE}),
    judge=each_instance("app", rule),
)
