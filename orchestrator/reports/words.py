"""Words and figures of the reports in both languages. Pure.

A sentence that stands in one place is written there, as `words("English", "中文")`; here stands what several share.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

from orchestrator.model.observation import Reach, Verdict
from orchestrator.model.plan import Fact, Mode, Phase, ScenarioKind
from orchestrator.model.proof import Sameness
from orchestrator.model.run import RunState
from orchestrator.model.topology import CentreRole, Text

BEIJING = timezone(timedelta(hours=8))
"""Chinese reports show the time that their readers live by; the evidence itself is in UTC."""


class Outcome(StrEnum):
    """What became of a step."""

    DONE = "done"
    WOULD = "would"
    """A tabletop or rehearsal: nothing was touched."""
    FAILED = "failed"
    UNDONE = "undone"
    UNDO_FAILED = "undo_failed"
    SKIPPED = "skipped"
    OPEN = "open"
    """Begun, and the journal does not tell its end."""
    NOT_REACHED = "not_reached"


def _t(en: str, zh: str) -> Text:
    return Text(en=en, zh=zh)


_MEMBERS: tuple[tuple[StrEnum, Text], ...] = (
    (Phase.PREPARE, _t("prepare", "准备")),
    (Phase.DETECT, _t("detect", "发现")),
    (Phase.DECIDE, _t("decide", "决策")),
    (Phase.FENCE, _t("fence", "隔离")),
    (Phase.PROMOTE, _t("promote", "提升")),
    (Phase.REDIRECT, _t("redirect", "切流")),
    (Phase.VERIFY, _t("verify", "验证")),
    (Phase.PROTECT, _t("protect", "恢复保护")),
    (Mode.TABLETOP, _t("tabletop (no contact)", "桌面推演（不接触系统）")),
    (Mode.REHEARSAL, _t("rehearsal (probes only)", "预演（只读探测）")),
    (Mode.ISOLATED, _t("isolated (a bubble beside production)", "隔离演练（与生产并行的隔离环境）")),
    (Mode.LIVE, _t("live", "实战（真实切换）")),
    (ScenarioKind.FAILOVER, _t("failover", "故障切换")),
    (ScenarioKind.SWITCHOVER, _t("planned switchover", "计划切换")),
    (ScenarioKind.FAILBACK, _t("failback", "回切")),
    (ScenarioKind.EXERCISE, _t("exercise", "演练")),
    (RunState.RUNNING, _t("not finished", "尚未结束")),
    (RunState.DONE, _t("done", "完成")),
    (RunState.DEGRADED, _t("done, protection not restored", "已恢复服务，保护尚未恢复")),
    (RunState.UNDONE, _t("failed and undone", "失败，已全部回退")),
    (RunState.PARTIAL, _t("a person is needed now", "中间状态，须立即人工处置")),
    (RunState.ABORTED, _t("aborted and undone", "已中止并回退")),
    (Outcome.DONE, _t("done", "完成")),
    (Outcome.WOULD, _t("rehearsed", "已推演")),
    (Outcome.FAILED, _t("failed", "失败")),
    (Outcome.UNDONE, _t("undone", "已回退")),
    (Outcome.UNDO_FAILED, _t("undo failed", "回退失败")),
    (Outcome.SKIPPED, _t("skipped", "跳过")),
    (Outcome.OPEN, _t("outcome unknown", "结果未知")),
    (Outcome.NOT_REACHED, _t("not reached", "未执行")),
    (Verdict.PASS, _t("pass", "通过")),
    (Verdict.FAIL, _t("fail", "未通过")),
    (Verdict.UNKNOWN, _t("unknown", "无法判定")),
    (Reach.ANSWERED, _t("answered", "正常应答")),
    (Reach.REFUSED, _t("refused", "拒绝连接")),
    (Reach.DENIED, _t("denied", "拒绝访问")),
    (Reach.SILENT, _t("silent", "无应答")),
    (Reach.UNKNOWN, _t("unknown", "未知")),
    (Sameness.EQUAL, _t("equal", "一致")),
    (Sameness.DIFFERENT, _t("different", "不一致")),
    (Sameness.UNKNOWN, _t("could not tell", "无法判定")),
    (Sameness.SKIPPED, _t("not compared", "未比对")),
    (CentreRole.PRODUCTION, _t("production", "生产中心")),
    (CentreRole.METRO, _t("same city", "同城中心")),
    (CentreRole.REMOTE, _t("remote", "异地中心")),
    (Fact.NOT_SERVING, _t("does not serve", "不可服务")),
    (Fact.ANSWERS, _t("answers", "正常应答")),
    (Fact.WRITABLE_PRIMARY, _t("is the writable primary", "为可写主库")),
    (Fact.NOT_WRITABLE, _t("takes no writes", "不可写")),
    (Fact.STANDBY_OF, _t("streams as a standby", "作为备库接收中")),
    (Fact.SYNC_STANDBY_OF, _t("is a synchronous standby", "为同步备库")),
    (Fact.DETACHED, _t("receives from nobody", "已断开接收")),
    (Fact.CANNOT_ACK, _t("can acknowledge no write", "无法再确认写入")),
    (Fact.HOLDS_ALL, _t("holds everything acknowledged", "持有全部已确认写入")),
    (Fact.FENCED, _t("is fenced", "已隔离")),
    (Fact.NO_SYNC_WAIT, _t("waits for no absent standby", "不等待缺席备库")),
    (Fact.CALLS, _t("calls the right database", "连接目标数据库")),
    (Fact.ROUTED_TO, _t("sends users where it should", "按预期引流")),
    (Fact.SERVES_USERS, _t("serves users", "可为用户服务")),
)
NAMES: Mapping[tuple[type[StrEnum], str], Text] = {(type(m), m.value): text for m, text in _MEMBERS}
"""What people call the members of the model's enumerations (members of two of them may be equal as text)."""


class Words:
    """One language: chooses between two texts, and writes figures as its readers do."""

    def __init__(self, lang: str) -> None:
        self.lang = "zh" if lang.lower().startswith("zh") else "en"
        self.chinese = self.lang == "zh"

    def __call__(self, en: str, zh: str) -> str:
        """The text in this language."""
        return zh if self.chinese else en

    def of(self, text: Text) -> str:
        """A text of the model in this language; the other one where this is empty."""
        return text.of(self.lang) or text.en or text.zh

    def name(self, member: StrEnum) -> str:
        """What people call a member of an enumeration."""
        return self.of(NAMES[type(member), member.value])

    def fact(self, name: str) -> str:
        """What people call a condition; the journal's own word where it is a new one."""
        known = NAMES.get((Fact, name))
        return self.of(known) if known else name.replace("_", " ")

    def seconds(self, value: float | None) -> str:
        """A measured duration: `0.61 s`, `14.2 s`, `1 min 58 s`; None is `not measured`."""
        if value is None:
            return self("not measured", "未测得")
        if value < 0:
            return f"−{self.seconds(-value)}"
        if round(value, 1) < 60:
            digits = "0" if value == 0 else f"{value:.2f}" if round(value, 2) < 10 else f"{value:.1f}"
            return f"{digits} {self('s', '秒')}"
        return self._long(round(value))

    def target(self, value: float) -> str:
        """A target as it was set: `0 s`, `60 s`, `4 h`."""
        if value < 120 or value % 60:
            return f"{value:g} {self('s', '秒')}" if value < 120 else self._long(round(value))
        hours, minutes = divmod(round(value) // 60, 60)
        return self._long(hours * 3600 + minutes * 60)

    def _long(self, value: int) -> str:
        days, rest = divmod(value, 86400)
        hours, rest = divmod(rest, 3600)
        minutes, seconds = divmod(rest, 60)
        units = (("d", "天"), ("h", "小时"), ("min", "分"), ("s", "秒"))
        parts = [f"{n} {self(*u)}" for n, u in zip((days, hours, minutes, seconds), units, strict=True) if n]
        return " ".join(parts[:2]) or f"0 {self('s', '秒')}"

    def count(self, value: int | None) -> str:
        """A number with separators; None is `not measured`."""
        return self("not measured", "未测得") if value is None else f"{value:,}"

    def moment(self, text: str, *, fraction: bool = False) -> str:
        """A time of the evidence (UTC, RFC 3339): UTC, in Chinese Beijing time; as it is where it cannot be read."""
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return text or "–"
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(BEIJING if self.chinese else UTC)
        clock = f"{moment:%Y-%m-%d %H:%M:%S}" + (f".{moment.microsecond // 1000:03d}" if fraction else "")
        return f"{clock} {self('UTC', '北京时间')}"

    def met(self, value: bool | None) -> str:
        """The verdict on an objective."""
        return (
            self("not measured", "未测得")
            if value is None
            else self("met", "达成")
            if value
            else self("missed", "未达成")
        )

    def size(self, value: int) -> str:
        """Bytes, with the unit that gives a short number."""
        amount, units = float(value), ["B", "KB", "MB", "GB"]
        while amount >= 1000 and len(units) > 1:
            amount, _ = amount / 1000, units.pop(0)
        return f"{amount:.0f} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"
