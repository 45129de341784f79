"""What `drctl verify` found, for the terminal: one line per replica, then every difference and every doubt by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import (
    BUCKET,
    CanaryProof,
    ContentProof,
    DriftProof,
    Effect,
    Method,
    NamesProof,
    Part,
    PositionProof,
    ReplicaProof,
    RowDifference,
    Sameness,
    ServiceProof,
    StorageProof,
    TableProof,
    proof_ok,
)
from orchestrator.model.topology import Text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

MARK = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.UNKNOWN: "?"}
STYLE = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.UNKNOWN: "yellow"}
WORDS = {
    Sameness.EQUAL: Text(en="equal", zh="一致"),
    Sameness.DIFFERENT: Text(en="different", zh="不一致"),
    Sameness.UNKNOWN: Text(en="could not tell", zh="无法判定"),
    Sameness.SKIPPED: Text(en="not compared", zh="未比对"),
}
METHODS = {
    Method.CUT: Text(en="consistent cut", zh="一致性切点"),
    Method.RECHECK: Text(en="lock-free recheck", zh="无锁复核"),
    Method.APART: Text(en="without a common position", zh="无共同位点"),
}
KINDS = {
    "changed": Text(en="changed", zh="内容不同"),
    "missing": Text(en="missing at the replica", zh="备库缺失"),
    "extra": Text(en="extra at the replica", zh="备库多出"),
}
REPLICA = Text(en="replica", zh="副本")
METHOD = Text(en="method", zh="方法")
HEADS = {
    Part.POSITIONS: Text(en="position", zh="位点"),
    Part.CANARY: Text(en="canary p50 / p95 / max", zh="探针 p50 / p95 / 最大"),
    Part.CONTENT: Text(en="content", zh="内容"),
    Part.DRIFT: Text(en="drift", zh="漂移"),
    Part.STORAGE: Text(en="storage", zh="存储"),
}
ROWS, OBJECTS = Text(en="rows", zh="行"), Text(en="objects", zh="个对象")
LACKING = Text(en="named, and not in the bucket", zh="已引用但存储桶中不存在")
NO_PAIR = Text(
    en="no centre holds a copy of the bucket and one of the database that can be read",
    zh="没有同时持有存储桶与可读数据库副本的中心",
)


def render(proofs: Sequence[ServiceProof], lang: str) -> RenderableType:
    """The whole page: a table of replicas, details of what is not proven, a summary."""
    from rich.console import Group
    from rich.text import Text as Styled

    details = [line for proof in proofs for line in service_lines(proof, lang)]
    verdict = Verdict.PASS if proof_ok(proofs) else Verdict.FAIL
    table = [_table(proofs, lang)] if any(proof.replicas for proof in proofs) else []
    parts: list[RenderableType] = [*table, *([""] if table and details else [])]
    parts += [Styled(line) for line in details]
    return Group(*parts, "", Styled(summary(proofs, lang), style=STYLE[verdict]))


def _table(proofs: Sequence[ServiceProof], lang: str) -> Table:
    from rich.table import Table
    from rich.text import Text as Styled

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    asked = [part for part in HEADS if any(part in proof.asked for proof in proofs)]
    for head in (REPLICA, *(HEADS[part] for part in asked), METHOD):
        table.add_column(head.of(lang), no_wrap=True)
    for proof in proofs:
        for replica in proof.replicas:
            cells = [_cell(replica.verdict(part), part_text(replica, part, lang)) for part in asked]
            method = _method(replica.content, lang) if replica.content else ""
            table.add_row(
                f"{proof.primary} → {_place(replica.instance)}", *(Styled(t, style=s) for t, s in cells), method
            )
    return table


def _place(instance: str) -> str:
    return instance.rpartition("@")[2]


def _cell(verdict: Verdict | None, text: str) -> tuple[str, str]:
    return (f"{MARK[verdict]} {text}", STYLE[verdict]) if verdict else ("–", "dim")


def part_text(replica: ReplicaProof, part: Part, lang: str) -> str:
    """One part of one replica in a few words."""
    proof = {
        Part.POSITIONS: replica.position,
        Part.CANARY: replica.canary,
        Part.CONTENT: replica.content,
        Part.DRIFT: replica.drift,
        Part.STORAGE: replica.storage,
    }[part]
    match proof:
        case PositionProof():
            return _ms(proof.replayed_s) if proof.verdict is Verdict.PASS else _no(proof.verdict, lang)
        case CanaryProof():
            seen = f"{_ms(proof.lag_p50_s)} / {_ms(proof.lag_p95_s)} / {_ms(proof.lag_max_s)}"
            return seen if proof.verdict is Verdict.PASS else _no(proof.verdict, lang)
        case ContentProof():
            return _counts(proof, lang)
        case DriftProof():
            return _drifted(proof, lang)
        case StorageProof():
            return _stored(proof, lang)
    return ""


def _drifted(proof: DriftProof, lang: str) -> str:
    differing = sum(group.differing for group in proof.groups)
    if proof.verdict is not Verdict.FAIL:
        return WORDS[Sameness.EQUAL if proof.verdict is Verdict.PASS else Sameness.UNKNOWN].of(lang)
    return Text(en=f"{differing} differ", zh=f"{differing} 处不同").of(lang)


def _stored(proof: StorageProof, lang: str) -> str:
    checked = Text(
        en=f"{proof.tables} tables, {proof.indexes} indexes", zh=f"{proof.tables} 张表、{proof.indexes} 个索引"
    ).of(lang)
    sums = Text(en=", checksums", zh="，有校验和").of(lang) if proof.checksums else ""
    return checked + sums


def _no(verdict: Verdict, lang: str) -> str:
    failed = Text(en="not reached", zh="未达到")
    return (failed if verdict is Verdict.FAIL else WORDS[Sameness.UNKNOWN]).of(lang)


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.1f} ms"


def _counts(content: ContentProof, lang: str) -> str:
    told = [(WORDS[s].of(lang), content.count(s)) for s in Sameness]
    return ", ".join(f"{count} {word}" for word, count in told if count) or WORDS[Sameness.UNKNOWN].of(lang)


def _method(content: ContentProof, lang: str) -> str:
    held = Text(en=f", writers held {content.held_s * 1000:.0f} ms", zh=f"，暂停写入 {content.held_s * 1000:.0f} 毫秒")
    return METHODS[content.method].of(lang) + (held.of(lang) if content.held_s else "")


def service_lines(proof: ServiceProof, lang: str) -> Iterator[str]:
    """Every doubt and difference of a service, one line each."""
    if proof.reason.en:
        yield f"{proof.service}: {proof.reason.of(lang)}"
    for replica in proof.replicas:
        for part in (replica.position, replica.canary):
            if part is not None and part.reason.en:
                yield f"{replica.instance}: {part.reason.of(lang)}"
        if replica.content is not None:
            yield from content_lines(replica.instance, replica.content, lang)
        if replica.drift is not None:
            yield from drift_lines(replica.instance, replica.drift, lang)
        if replica.storage is not None:
            yield from storage_lines(replica.instance, replica.storage, lang)
    yield from names_lines(proof, lang)
    effects = [r.content.effect for r in proof.replicas if r.content and r.content.effect]
    if effects:
        yield effect_line(proof.primary, effects[0], lang)


def names_lines(proof: ServiceProof, lang: str) -> Iterator[str]:
    """The one statement over database and bucket, a line for each centre, then what is missing."""
    if proof.names == ():
        yield f"{proof.service}: {NO_PAIR.of(lang)}"
    for told in proof.names or ():
        head = f"{MARK[told.verdict]} {told.database} ({told.column}) → {told.bucket}: "
        counts = counted(told)
        yield head + "; ".join(text.of(lang) for text in (told.reason, counts) if text.en)
        yield from (f"    {LACKING.of(lang)}: {name}" for name in told.missing)
        if len(told.missing) < told.missing_count:
            yield "    …"


def counted(told: NamesProof) -> Text:
    """What a statement over a database and its bucket counted."""
    return Text(
        en=f"{told.named:,} named, {told.stored:,} stored, {told.missing_count:,} missing, "
        f"{told.unnamed_count:,} that no row names",
        zh=f"引用 {told.named:,} 个对象，存有 {told.stored:,} 个，缺失 {told.missing_count:,} 个，"
        f"未被引用 {told.unnamed_count:,} 个",
    )


def drift_lines(instance: str, drift: DriftProof, lang: str) -> Iterator[str]:
    """What stands otherwise around the rows of one replica."""
    if drift.reason.en:
        yield f"{instance}: {drift.reason.of(lang)}"
    for group in drift.groups:
        if group.sameness is not Sameness.EQUAL:
            where = f"{group.database}." if group.database else ""
            yield f"{instance} {where}{group.table}: {WORDS[group.sameness].of(lang)} {group.reason.of(lang)}".rstrip()
        for difference in group.differences:
            yield "    " + row_line(group.table, difference, lang)


def storage_lines(instance: str, storage: StorageProof, lang: str) -> Iterator[str]:
    """What the replica's server says is broken."""
    if storage.reason.en:
        yield f"{instance}: {storage.reason.of(lang)}"
    if storage.failures:
        yield f"{instance}: " + Text(
            en=f"{storage.failures} pages with a wrong checksum were met",
            zh=f"遇到 {storage.failures} 个校验和错误的页",
        ).of(lang)
    for text in storage.broken:
        yield f"{instance}: {text}"


def effect_line(primary: str, effect: Effect, lang: str) -> str:
    """What the comparison did to the primary."""
    alone = f"{effect.alone_p50_s * 1000:.1f} / {effect.alone_p95_s * 1000:.1f} ms"
    during = f"{effect.during_p50_s * 1000:.1f} / {effect.during_p95_s * 1000:.1f} ms"
    load = f"{effect.share * 100:g} %"
    return Text(
        en=f"{primary}: a small commit took {alone} (p50 / p95) without us, {during} during it; at most {load} load",
        zh=f"{primary}：一次小提交在比对之外用时 {alone}（p50 / p95），比对期间 {during}；负载上限 {load}",
    ).of(lang)


def content_lines(instance: str, content: ContentProof, lang: str) -> Iterator[str]:
    """What is not equal in the content of one replica; tables that are not compared once each."""
    if content.reason.en:
        yield f"{instance}: {content.reason.of(lang)}"
    for why in dict.fromkeys(table.read_whole for table in content.tables if table.read_whole.en):
        count = sum(table.read_whole == why for table in content.tables)
        whole = Text(en=f"{count} tables were read as a whole", zh=f"{count} 张表为全量读取").of(lang)
        yield f"{instance}: {whole}: {why.of(lang)}"
    for table in content.tables:
        if table.sameness is not Sameness.EQUAL:
            yield from table_lines(instance, table, lang)


def table_lines(instance: str, table: TableProof, lang: str) -> Iterator[str]:
    """One table that is not equal, then its rows."""
    head = f"{instance} {table.database}.{table.table}: {WORDS[table.sameness].of(lang)}"
    if table.differing:
        least = Text(en="at least ", zh="至少 ").of(lang) if table.more else ""
        unit = OBJECTS if table.database == BUCKET else ROWS
        rows = Text(en=f"{least}{table.differing} {unit.en}", zh=f"{least}{table.differing} {unit.zh}").of(lang)
        counted = Text(
            en=f"primary {table.rows_left}, replica {table.rows_right} {unit.en}",
            zh=f"主副本 {table.rows_left} {unit.zh}，副本 {table.rows_right} {unit.zh}",
        ).of(lang)
        head += f", {rows} ({counted})"
    yield head + (f": {table.reason.of(lang)}" if table.reason.en else "")
    name = ", ".join(table.key) or "row"
    for difference in table.differences:
        yield "    " + row_line(name, difference, lang)
    if len(table.differences) < table.differing:
        yield "    …"


def row_line(key: str, row: RowDifference, lang: str) -> str:
    """One differing row: what is wrong, its key, its columns, and the values where they were asked for."""
    columns = [
        c.name if c.left is None and c.right is None else f"{c.name}: {c.left!r} ≠ {c.right!r}" for c in row.columns
    ]
    listed = f" ({', '.join(columns)})" if columns else ""
    return f"{KINDS[row.kind.value].of(lang)}: {key} = {row.key}{listed}"


def summary(proofs: Sequence[ServiceProof], lang: str) -> str:
    """One line: how many replicas are proven."""
    replicas = [(p, r) for p in proofs for r in p.replicas]
    good = sum(p.proven(r) for p, r in replicas)
    took_s = max((p.took_s for p in proofs), default=0.0)
    told = [statement.verdict for proof in proofs for statement in proof.names or ()]
    whole = told.count(Verdict.PASS)
    copies = Text(en=f"{good} of {len(replicas)} replicas proven, ", zh=f"{len(replicas)} 个副本中 {good} 个得到证明，")
    named = Text(
        en=f"{whole} of {len(told)} statements over a database and its bucket hold, ",
        zh=f"数据库与存储桶一致性声明 {len(told)} 项中 {whole} 项成立，",
    )
    rest = Text(
        en=f"{len(proofs)} services · took {took_s:.1f} s", zh=f"共 {len(proofs)} 个组件 · 用时 {took_s:.1f} 秒"
    )
    shown = [copies] * bool(replicas or not told) + [named] * bool(told) + [rest]
    return "".join(text.of(lang) for text in shown)


def render_comparison(left: str, right: str, content: ContentProof, lang: str) -> RenderableType:
    """The page of `drctl verify --against`: two copies that do not follow each other."""
    from rich.console import Group
    from rich.text import Text as Styled

    counts = _counts(content, lang)
    head = Styled(f"{left} → {right}: {counts}, {METHODS[content.method].of(lang)}", style=STYLE[content.verdict])
    lines = list(content_lines(right, content, lang))
    return Group(head, Styled(content.why.of(lang), style="dim"), *([""] if lines else []), *map(Styled, lines))
