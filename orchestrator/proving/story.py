"""Tells a way through a plan as an operator would live it: numbered sentences, in both languages. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from orchestrator.machine.faults import Fault
from orchestrator.model.plan import Step
from orchestrator.model.topology import Text, Topology
from orchestrator.proving.course import Courses
from orchestrator.proving.moves import Found, Label, Move
from orchestrator.proving.worlds import Worlds

NO_END = "comes-to-its-end"
"""The rule that a plan, where nothing more goes wrong, can be done."""

HARM: Mapping[str, Text] = {
    "one-acknowledger": Text(en="two instances acknowledge writes (split brain)", zh="两个实例同时确认写入（双主）"),
    "promotion-licensed": Text(en="a split brain in waiting", zh="提升时另一实例仍可确认写入"),
    "promotion-keeps-all": Text(
        en="acknowledged writes are lost, and nobody accepted a loss", zh="已确认的写入丢失，且无人批准该损失"
    ),
    "users-led-to-the-primary": Text(
        en="users are sent to what cannot take their writes", zh="用户被引导至无法写入之处"
    ),
    "three-copies": Text(
        en="the run calls itself done without its protected copies", zh="任务自称完成，但受保护副本并不齐全"
    ),
    NO_END: Text(
        en="the plan cannot come to its end, though nothing more goes wrong", zh="即使不再出现故障，方案也无法完成"
    ),
}
STARTS: Mapping[str, Text] = {
    "blackout": Text(en="Centre {c} loses its power.", zh="{c}断电。"),
    "kill-centre": Text(en="Every process in centre {c} ends.", zh="{c}的全部进程终止。"),
    "freeze-centre": Text(en="Centre {c} stands still and answers nobody.", zh="{c}冻结，不再应答。"),
    "darken": Text(
        en="Centre {c} does not answer us; its users may still reach it.", zh="{c}对我方失联，其用户或仍可访问。"
    ),
}
MOVED: Mapping[str, Text] = {
    "superseded": Text(
        en="An earlier run promoted the present primary; this run took over, and that order is still on its way.",
        zh="先前的任务提升了当前主库，本任务已将其接替，而该指令仍在途中。",
    ),
    "alone": Text(
        en="Since the plan was made the primary was set to acknowledge without its standby.",
        zh="方案制定之后，主库被改为无需备库即可确认写入。",
    ),
    "behind": Text(
        en="Since the plan was made the copy that is to take over stopped following, and fell back.",
        zh="方案制定之后，拟接管的副本停止复制并落后。",
    ),
}
FAULTS: Mapping[str, Text] = {
    **STARTS,
    "cut-link": Text(en="The link {c} is cut.", zh="链路 {c} 中断。"),
    "stop-service": Text(en="{c} stops by itself.", zh="{c} 自行停止。"),
    "thaw-centre": Text(
        en="Centre {c} wakes up and goes on as if nothing had happened.", zh="{c}苏醒，若无其事地继续运行。"
    ),
    "lighten": Text(en="The hosts of centre {c} answer again.", zh="{c}的主机恢复应答。"),
    "restart-centre": Text(en="Centre {c} comes back by itself, as what it was.", zh="{c}自行恢复，一切如故。"),
}
MOVES: Mapping[Move, Text] = {
    Move.BEGIN: Text(
        en="drctl finds the gates of {id} open and begins: {en}.", zh="drctl 判定 {id} 准入通过并开始：{zh}。"
    ),
    Move.SHUT: Text(en="The gates of {id} are shut: the step fails.", zh="{id} 准入未通过：步骤失败。"),
    Move.BLIND: Text(
        en="The look at the gates of {id} does not come in time: the step fails.", zh="{id} 的准入探测超时：步骤失败。"
    ),
    Move.CONFIRM: Text(en="drctl: {en}.", zh="drctl：{zh}。"),
    Move.LAND: Text(en="drctl: {en}.", zh="drctl：{zh}。"),
    Move.IN_VAIN: Text(
        en="drctl: {en}: it is done, and no stream comes about; the step fails.",
        zh="drctl：{zh}：已执行，但复制未能建立，步骤失败。",
    ),
    Move.REFUSE: Text(en="drctl: {en}: it is refused, the step fails.", zh="drctl：{zh}：被拒绝，步骤失败。"),
    Move.HANG: Text(
        en="drctl: {en}: nobody answers, the step fails; the order may still take effect later.",
        zh="drctl：{zh}：无应答，步骤失败；该指令之后仍可能生效。",
    ),
    Move.UNANSWERED: Text(
        en="drctl: {en}: the answer does not come, drctl takes it as failed; the order may still take effect.",
        zh="drctl：{zh}：未收到应答，drctl 视为失败；该指令仍可能生效。",
    ),
    Move.DONE: Text(en="drctl: {en}.", zh="drctl：{zh}。"),
    Move.FAILED: Text(en="drctl: {en}: it fails.", zh="drctl：{zh}：失败。"),
    Move.GIVE_UP: Text(
        en="drctl waits in vain for the proof of {id}: the step fails.", zh="drctl 未等到 {id} 的验证：步骤失败。"
    ),
    Move.SLOW: Text(en="The proof of {id} does not come in time: the step fails.", zh="{id} 的验证超时：步骤失败。"),
    Move.UNDONE: Text(en="drctl undoes {id}.", zh="drctl 回退 {id}。"),
    Move.STUCK: Text(en="drctl cannot undo {id}.", zh="drctl 无法回退 {id}。"),
    Move.CRASH: Text(
        en="drctl dies; another one goes on from the journal, under a higher epoch.",
        zh="drctl 进程终止；另一进程以更高纪元从日志继续。",
    ),
    Move.ABORT: Text(en="The operator aborts the run.", zh="操作员中止任务。"),
}


def tell(found: Found, worlds: Worlds, courses: Courses, lost: Sequence[str]) -> tuple[Text, ...]:
    """The sentences of a way that ends in harm."""
    topology = worlds.ground.topology
    told = list(_begin(found, lost, topology))
    labels = found.way
    for n, label in enumerate(labels):
        after = labels[n + 1] if n + 1 < len(labels) else None
        # An effect that follows its gate at once is one sentence.
        at_once = label.move is Move.BEGIN and after and after.move is Move.LAND and after.step == label.step
        sentence = None if at_once else _sentence(label, worlds, courses)
        if sentence:
            told.append(sentence)
    return (*told, _harm(found, topology))


def _begin(found: Found, lost: Sequence[str], topology: Topology) -> Iterator[Text]:
    moved, _, start = found.start.rpartition("/")
    if moved:
        yield MOVED[moved]
    if start in STARTS:
        for centre in lost:
            yield _filled(STARTS[start], c=lambda lang, centre=centre: _place(centre, topology, lang))  # type: ignore[misc]


def _sentence(label: Label, worlds: Worlds, courses: Courses) -> Text | None:
    topology = worlds.ground.topology
    if label.faults:
        return _struck(label.faults[0], topology)
    if label.move is Move.LATE:
        act = worlds.deeds[label.deed].act
        assert act is not None
        return Text(
            en=f"The late order `{act.verb.value} {act.instance}` takes effect only now.",
            zh=f"迟到的指令 `{act.verb.value} {act.instance}` 此时才生效。",
        )
    pattern = MOVES.get(label.move)
    if pattern is None:
        return None
    step = courses.steps[label.step] if label.step >= 0 else None
    return _about(pattern, step)


def _about(pattern: Text, step: Step | None) -> Text:
    words = {"id": step.id, "en": step.text.en, "zh": step.text.zh} if step else {}
    return Text(en=pattern.en.format(**words), zh=pattern.zh.format(**words))


def _struck(fault: Fault, topology: Topology) -> Text:
    return _filled(FAULTS[fault.name], c=lambda lang: _place(fault.place, topology, lang))


def _filled(pattern: Text, c: Callable[[str], str]) -> Text:
    return Text(en=pattern.en.format(c=c("en")), zh=pattern.zh.format(c=c("zh")))


def _place(place: str, topology: Topology, lang: str) -> str:
    """A centre by its id (its name follows it), anything else as it is."""
    centre = topology.centre_by_id.get(place)
    if centre is None:
        return place
    return f"{centre.name.zh}（{place}）" if lang == "zh" else place


def _harm(found: Found, topology: Topology) -> Text:
    assert found.wrong is not None
    what = HARM[found.wrong.rule]
    concerned = [name for name in re.findall(r"[\w./@-]+", found.wrong.text) if name in topology.instance_by_id]
    who = "、".join(dict.fromkeys(concerned))
    return Text(en=f"{found.wrong.text}: {what.en}.", zh=f"{who}：{what.zh}。" if who else f"{what.zh}。")
