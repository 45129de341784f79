"""The data after the run: what was lost, whether copies agree, whether business works and protection is back."""

from __future__ import annotations

from orchestrator.model.plan import Phase
from orchestrator.model.proof import ReplicaProof, Sameness, ServiceProof
from orchestrator.model.run import EntryOutage
from orchestrator.reports.judgement import Light
from orchestrator.reports.markup import Child, Markup, el, join, table
from orchestrator.reports.sections.base import View, code, outcome_pill, para, people, pill
from orchestrator.reports.verify_view import counted

IDS_MAX = 120
ROWS_MAX = 120


def data(view: View) -> Markup:
    """Loss statement with ids, and the proofs of the copies."""
    words = view.words
    return join(
        (
            el("h3", words("Loss statement", "数据丢失声明")),
            _losses(view),
            el("h3", words("Do the copies agree?", "副本一致性比对")),
            _proofs(view),
        )
    )


def _losses(view: View) -> Markup:
    words, measured = view.words, view.dossier.measurements
    outages = measured.outages if measured else ()
    if not outages:
        return para(
            words("Not measured: no canary was held against a database.", "未测量：没有与数据库核对的拨测记录。")
        )
    lost = [o for o in outages if o.writes_lost]
    wrong = [o for o in outages if o.reads_wrong]
    acked, total = sum(o.writes_acked for o in outages), sum(len(o.writes_lost) for o in outages)
    verdict = (
        words(
            f"Of {acked:,} acknowledged writes, {total:,} are not in the surviving databases.",
            f"{acked:,} 笔已确认写入中，有 {total:,} 笔未存在于存活数据库。",
        )
        if total
        else words(
            f"All {acked:,} acknowledged writes were found in the surviving databases, unchanged.",
            f"{acked:,} 笔已确认写入全部存在于存活数据库且内容一致。",
        )
    )
    text = pill(Light.BAD if total else Light.GOOD, words("loss", "有丢失") if total else words("no loss", "无丢失"))
    return join((para(text, " ", verdict), *(_ids(view, o) for o in lost), *(_wrong(view, o) for o in wrong)))


def _ids(view: View, seen: EntryOutage) -> Markup:
    words = view.words
    ids = seen.writes_lost
    head = words(
        f"{view.system(seen.system)}: {len(ids)} lost within {words.seconds(seen.rpo_s)}",
        f"{view.system(seen.system)}：丢失 {len(ids)} 笔，跨度 {words.seconds(seen.rpo_s)}",
    )
    return _id_list(view, head, ids)


def _wrong(view: View, seen: EntryOutage) -> Markup:
    head = view.words(
        f"{view.system(seen.system)}: {len(seen.reads_wrong)} reads did not give what had been acknowledged",
        f"{view.system(seen.system)}：{len(seen.reads_wrong)} 次读取与已确认内容不符",
    )
    return _id_list(view, head, seen.reads_wrong)


def _id_list(view: View, head: str, ids: tuple[str, ...]) -> Markup:
    words, rest = view.words, len(ids) - IDS_MAX
    more = words(f" and {rest} more in measurements.json", f" 其余 {rest} 笔见 measurements.json") if rest > 0 else ""
    prefix = _shared_prefix(ids)
    listed = [join((code(i.removeprefix(prefix)), " ")) for i in ids[:IDS_MAX]]
    shared = join((code(f"{prefix}…"), " ")) if prefix else None
    return el("div", el("b", head), el("div", shared, *listed, more, class_="ids"))


def _shared_prefix(ids: tuple[str, ...]) -> str:
    """What all ids begin with, up to a dot; said once, so that the list can be read."""
    heads = {i.rpartition(".")[0] for i in ids}
    return heads.pop() if len(ids) > 1 and len(heads) == 1 else ""


def _proofs(view: View) -> Markup:
    words, proofs = view.words, view.dossier.proofs
    if not proofs:
        text = words(
            "Not compared in this run: whether the copies agree was not assessed.",
            "本次运行未比对副本内容，一致性未评估。",
        )
        return para(text, class_="quiet")
    heads = (
        words("Service", "组件"),
        words("Replica", "副本"),
        words("Holds all positions", "日志位置包含"),
        words("Seen after, 95 %", "可见延迟 95 %"),
        words("Tables equal", "表一致"),
        words("different", "不一致"),
        words("Verdict", "判定"),
    )
    rows = [row for p in proofs for row in _proof_rows(view, p)]
    return join((table(heads, rows[:ROWS_MAX], numeric=(3, 4, 5)), *_named(view), *_differences(view)))


def _proof_rows(view: View, proof: ServiceProof) -> list[tuple[Child, ...]]:
    words = view.words
    if not proof.replicas:
        reason = words.of(proof.reason) or words("no replica", "没有副本")
        return [(code(proof.service), "–", "–", "–", "–", "–", pill(Light.WARN, reason))]
    return [_proof_row(view, proof, replica) for replica in proof.replicas]


def _proof_row(view: View, proof: ServiceProof, replica: ReplicaProof) -> tuple[Child, ...]:
    words, content, canary = view.words, replica.content, replica.canary
    verdicts = [replica.verdict(part) for part in proof.asked]
    whole = bool(verdicts) and all(v == "pass" for v in verdicts)
    failed = any(v == "fail" for v in verdicts)
    light = Light.GOOD if whole else Light.BAD if failed else Light.WARN
    said = (
        words("equal", "一致")
        if whole
        else words("different", "不一致")
        if failed
        else words("could not tell", "无法判定")
    )
    tables = f"{content.count(Sameness.EQUAL)} / {len(content.tables)}" if content else "–"
    return (
        code(proof.service),
        code(replica.instance),
        words.name(replica.position.verdict) if replica.position else "–",
        f"{canary.lag_p95_s * 1000:.1f} ms" if canary and canary.lag_p95_s is not None else "–",
        tables,
        str(content.count(Sameness.DIFFERENT)) if content else "–",
        pill(light, said),
    )


def _named(view: View) -> list[Markup]:
    """Database and bucket together: a sentence for each centre."""
    words, found = view.words, []
    for told in (told for proof in view.dossier.proofs for told in proof.names or ()):
        counts = words.of(counted(told))
        light = {"pass": Light.GOOD, "fail": Light.BAD}.get(told.verdict, Light.WARN)
        names = code(", ".join(told.missing)) if told.missing else ""
        why = f"{words.of(told.reason)} " if told.reason.en else ""
        pair = code(f"{told.database} {told.column} → {told.bucket}")
        found.append(para(pair, " ", pill(light, words.name(told.verdict)), f" {why}{counts} ", names))
    return found[:ROWS_MAX]


def _differences(view: View) -> list[Markup]:
    words, found = view.words, []
    for proof in view.dossier.proofs:
        for replica in proof.replicas:
            for t in replica.content.tables if replica.content else ():
                if t.sameness is Sameness.DIFFERENT:
                    keys = ", ".join(f"{d.kind.value} {d.key}" for d in t.differences[:20])
                    text = words(f"{t.differing} rows differ: ", f"{t.differing} 行不一致：")
                    found.append(para(code(f"{replica.instance} {t.table}"), " ", text, code(keys)))
    return found[:ROWS_MAX]


def business(view: View) -> Markup:
    """Business verification: by machine through the entries, by people beyond."""
    words, measured = view.words, view.dossier.measurements
    outages = measured.outages if measured else ()
    reads, wrong = sum(o.reads_ok for o in outages), sum(len(o.reads_wrong) for o in outages)
    writes = sum(o.writes_acked for o in outages)
    text = words(
        f"Through {len(outages)} entries a canary used the systems as a user would: {writes:,} writes acknowledged, "
        f"{reads:,} reads answered, {wrong:,} of them wrong.",
        f"拨测程序以用户方式经 {len(outages)} 个入口使用业务：确认写入 {writes:,} 笔，成功读取 {reads:,} 次，"
        f"其中错误 {wrong:,} 次。",
    )
    none = words("No canary used the entries in this run.", "本次运行未在入口进行拨测。")
    note = people(words, "business functions checked by their users, with names.", "业务人员核验的功能项与核验人。")
    return join((para(text if outages else none), note))


def protection(view: View) -> Markup:
    """Copies after the run, the steps that brought them back, and what is missing."""
    words, judgement, timeline = view.words, view.judgement, view.dossier.timeline
    if not view.dossier.changed_anything:
        return para(words("Production was not moved, so there is no way back.", "生产未被切换，无需回切。"))
    heads = (
        words("Service", "组件"),
        words("Copies", "副本"),
        words("Missing", "缺失"),
        words("Protected", "保护状态"),
    )
    rows = []
    for copies in judgement.copies[:ROWS_MAX]:
        present = "–" if copies.present is None else f"{copies.present} / {copies.declared}"
        whole = copies.present == copies.declared
        light = Light.WARN if copies.present is None else Light.GOOD if whole else Light.BAD
        said = words("restored", "已恢复") if whole else words("not restored", "未恢复")
        rows.append((code(copies.service), present, ", ".join(copies.missing) or "–", pill(light, said)))
    steps = [t for t in timeline.steps if t.step.phase is Phase.PROTECT]
    ends = [t.end_s for t in steps if t.end_s is not None]
    last = words.seconds(max(ends, default=None))
    lead = words(
        f"Protection took {len(steps)} steps; the last ended {last} after the start of counting.",
        f"恢复保护共 {len(steps)} 步，末步于计时起点后 {last}结束。",
    )
    broken = [t for t in steps if t.outcome not in {"done", "would"}]
    failed = [para(words.of(t.step.text), " ", outcome_pill(t.outcome, words)) for t in broken]
    home = words(
        "The way home (failback to the declared primaries) is a run of its own: ", "回切至原生产中心为单独一次运行："
    )
    return join(
        (
            para(lead) if steps else None,
            table(heads, rows, numeric=(1,)),
            *failed,
            para(home, code("drctl failback"), class_="quiet"),
        )
    )
