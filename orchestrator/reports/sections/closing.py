"""Assessment, standards, limits, conclusion, and the evidence with the way to check it."""

from __future__ import annotations

from orchestrator.model.evidence import Clock
from orchestrator.reports.charts import silences
from orchestrator.reports.judgement import Light
from orchestrator.reports.markup import Child, Markup, el, join, table
from orchestrator.reports.sections.base import View, bullets, code, facts, para, people, pill
from orchestrator.reports.sections.course import deviation_texts

FILES_MAX = 300
ASPECTS = (
    ("Feasibility of the plan", "方案可行性"),
    ("Monitoring and alerting", "监控告警"),
    ("Locating the fault", "故障定位"),
    ("Command and coordination", "指挥协调"),
    ("Ability to respond", "处置能力"),
    ("Work with related parties", "关联方联动"),
    ("Support and supplies", "保障"),
    ("Objectives reached", "目标实现"),
    ("Cost and benefit", "成本效益"),
)
"""The nine items of GB/T 38645-2020 A.9, in our own words."""
ITEMS = (
    ("GB/T 20988-2025 8.3", "Response and takeover", "响应与接管"),
    ("GB/T 20988-2025 8.4", "Rebuilding and failback", "重建与回切"),
    ("GB/T 20988-2025 9", "Test and evaluation methods", "测试与评价方法"),
    ("关键信息基础设施安全保护条例 15(三)", "Periodic exercises", "定期开展应急演练"),
    ("NIST SP 800-53r5 CP-4", "Contingency plan testing", "应急计划测试"),
    ("NIST SP 800-53r5 CP-10", "Recovery and reconstitution", "恢复与重建"),
)
"""Items that this evidence bears on; only those whose headings were read in a source."""


def scores(view: View) -> Markup:
    """Scores are people's; the machine adds what it measured."""
    words, judgement = view.words, view.judgement
    detected = view.dossier.timeline.declared_s
    measured = {
        "Monitoring and alerting": words(
            f"the loss was declared {words.seconds(detected)} after the start of counting",
            f"计时起点后 {words.seconds(detected)}确认失效",
        )
        if detected is not None and view.dossier.timeline.fault_s is not None
        else "",
        "Objectives reached": words(
            f"{judgement.objectives_met} of {judgement.objectives} met",
            f"{judgement.objectives} 项中 {judgement.objectives_met} 项达成",
        )
        if judgement.objectives
        else "",
    }
    heads = (
        words("Aspect", "评估项"),
        words("Measured by the machine", "机器实测"),
        words("Score (1, 3, 5)", "评分（1、3、5）"),
    )
    rows = [(words(*aspect), measured.get(aspect[0]) or "–", "") for aspect in ASPECTS]
    return join((table(heads, rows, class_="ledger"), people(words, "the scores.", "各项评分。")))


def controls(view: View) -> Markup:
    """What the evidence bears on; nothing is claimed without an evaluation."""
    words = view.words
    lead = words(
        "No profile was evaluated with this run, so every item is not assessed; missing evidence never passes.",
        "本次运行未按标准条款进行评价，以下各项均为“未评估”；缺少证据不视为通过。",
    )
    heads = (
        words("Item", "条款"),
        words("Subject (our words)", "内容（概述）"),
        words("Evidence here", "本包证据"),
        words("Result", "结论"),
    )
    held = "journal.jsonl, measurements.json"
    rows = [
        (name, words(en, zh), code(held), pill(Light.WARN, words("not assessed", "未评估"))) for name, en, zh in ITEMS
    ]
    return join((para(lead), table(heads, rows)))


def limits(view: View) -> Markup:
    """What this report does not show."""
    words, dossier = view.words, view.dossier
    items: list[Child] = []
    if dossier.plan.lab:
        items.append(
            words(
                "Done in the lab, three centres on one machine: real databases and real faults; links, hardware and "
                "load are not those of production, so the times are not production's.",
                "在实验环境（单机三中心）中进行：数据库与故障均为真实，链路、硬件与负载与生产不同，所测时间不代表生产环境。",
            )
        )
    items.append(
        words(
            "A canary in one place stood in for the users; users elsewhere may have seen a longer outage (DNS, "
            "caches, sessions).",
            "用户由单一位置的拨测代表；其他位置的用户可能因 DNS、缓存、会话等经历更长中断。",
        )
    )
    items += _silence_words(view)
    items.append(_clock_words(view, dossier.versions.clock if dossier.versions else None))
    absent = [n for n, v in _parts(view) if not v]
    if absent:
        items.append(words(f"Not part of this run: {', '.join(absent)}.", f"本次运行不含：{'、'.join(absent)}。"))
    items.append(
        words(
            "The signature shows by whose key the evidence was sealed, and that it is unchanged since; no third party "
            "vouches for the time.",
            "签名证明由哪把密钥封存及封存后未改动，不含第三方时间证明。",
        )
    )
    return bullets(items)


def _silence_words(view: View) -> list[Child]:
    """Entries at which nobody was asked for a while: their outage is an upper bound."""
    words, found = view.words, []
    for ledger in view.dossier.ledgers:
        quiet = sum(end - begin for begin, end in silences(ledger))
        if quiet:
            entry = ledger.header.entry
            found.append(
                words(
                    f"The canary at {entry} was not at work for {words.seconds(quiet)}; an outage that spans this "
                    "time is an upper bound.",
                    f"{entry} 的拨测有 {words.seconds(quiet)}未运行；跨越该时段的中断为上界。",
                )
            )
    return [*found]


def _parts(view: View) -> list[tuple[str, object]]:
    words, d = view.words, view.dossier
    return [
        (words("measurements", "测量结果"), d.measurements),
        (words("canary ledgers", "拨测台账"), d.ledgers),
        (words("comparison of the copies", "副本比对"), d.proofs),
        (words("a look afterwards", "事后观测"), d.after),
    ]


def _clock_words(view: View, clock: Clock | None) -> str:
    words = view.words
    if clock is None or clock.synchronised is None:
        return words(
            "Whether the operator's clock was synchronised is not known; durations come from a monotonic clock.",
            "操作主机时钟同步状态未知；时长取自单调时钟。",
        )
    if clock.synchronised:
        error = words.seconds(clock.error_max_s)
        return words(
            f"The operator's clock was synchronised (largest error by the kernel: {error}).",
            f"操作主机时钟已同步（内核给出的最大误差 {error}）。",
        )
    return words(
        "The operator's clock was not synchronised: times of day are indicative; durations come from a monotonic "
        "clock and are not affected.",
        "操作主机时钟未同步：绝对时刻仅供参考；时长取自单调时钟，不受影响。",
    )


def conclusion(view: View) -> Markup:
    """What the machine can conclude, and who concludes the rest."""
    words, judgement = view.words, view.judgement
    text = words(
        f"Result of the run: {words.name(judgement.state)}. Objectives met: {judgement.objectives_met} of "
        f"{judgement.objectives}. Deviations: {len(deviation_texts(view))}.",
        f"运行结果：{words.name(judgement.state)}。目标达成 {judgement.objectives_met} / {judgement.objectives} 项。"
        f"偏差 {len(deviation_texts(view))} 项。",
    )
    return join((para(text), people(words, "the overall conclusion and recommendations.", "总体结论与建议。")))


def exhibits(view: View) -> Markup:
    """Files with hashes, and how anyone checks them."""
    words, dossier = view.words, view.dossier
    head = dossier.records[-1].hash if dossier.records else "–"
    rows: list[tuple[str, Child]] = [
        (words("Plan (SHA-256)", "方案（SHA-256）"), code(dossier.plan.sha256)),
        (words("Journal: records", "日志记录数"), str(len(dossier.records))),
        (words("Journal: last hash", "日志末条哈希"), code(head)),
        *_versions(view),
    ]
    heads = (words("File", "文件"), words("Size", "大小"), "SHA-256")
    files = [(code(f.path), words.size(f.size), code(f.sha256)) for f in dossier.files[:FILES_MAX]]
    rest = len(dossier.files) - FILES_MAX
    more = para(words(f"{rest} more in SHA256SUMS.", f"其余 {rest} 个见 SHA256SUMS。")) if rest > 0 else None
    return join(
        (
            facts(rows),
            el("h3", words("How to verify", "核验方法")),
            _how(view),
            el("h3", words("Files", "证据清单")),
            table(heads, files, numeric=(1,), class_="files"),
            more,
        )
    )


def _how(view: View) -> Markup:
    words = view.words
    commands = (
        "openssl pkey -pubin -in public.pem -outform DER | sha256sum\n"
        "openssl pkeyutl -verify -rawin -pubin -inkey public.pem -sigfile MANIFEST.sig -in MANIFEST.json\n"
        'grep -qF "$(sha256sum SHA256SUMS | cut -d " " -f 1)" MANIFEST.json && echo agree\n'
        "sha256sum --quiet --strict -c SHA256SUMS && echo unchanged"
    )
    lead = words(
        "In the bundle's folder, with coreutils and openssl alone (VERIFY.md explains each); the first line gives the "
        "fingerprint of the key, to be compared with the one that the signer gave by another way. "
        "“drctl evidence verify” does all of it and checks the journal's chain.",
        "在证据包目录内仅用 coreutils 与 openssl 即可核验（各步说明见 VERIFY.md）；第一行输出公钥指纹，"
        "须与签名人通过其他渠道提供的指纹比对。“drctl evidence verify”一次完成全部核验并检查日志哈希链。",
    )
    return join((para(lead), el("pre", commands)))


def _versions(view: View) -> list[tuple[str, Child]]:
    words, versions = view.words, view.dossier.versions
    if versions is None:
        return []
    databases = words(", ", "、").join(dict.fromkeys(i.version for i in versions.instances if i.version))
    offsets = [abs(i.clock_offset_s) for i in versions.instances if i.clock_offset_s is not None]
    largest = f"{max(offsets) * 1000:.1f} ms" if offsets else words("not measured", "未测得")
    libraries = ", ".join(f"{s.name} {s.value}" for s in versions.libraries)
    return [
        (words("Program", "程序"), f"drctl {versions.drctl} · {versions.python} · {versions.system}"),
        (words("Libraries", "依赖库"), libraries),
        (words("Databases", "数据库版本"), databases or words("not recorded", "未记录")),
        (
            words("Clock", "时钟"),
            f"{versions.clock.source or '–'} · {words('largest offset of an instance', '实例最大偏移')} {largest}",
        ),
    ]
