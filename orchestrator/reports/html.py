"""The report of a run as one HTML file: no script, nothing from outside; the same evidence gives the same bytes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from orchestrator.reports.dossier import Dossier, read_dossier
from orchestrator.reports.markup import Markup, el, join
from orchestrator.reports.sections import sections
from orchestrator.reports.sections.base import View
from orchestrator.reports.sections.headline import masthead, tiles, verdicts
from orchestrator.reports.sections.results import decomposed, worst_entry
from orchestrator.reports.words import Words

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Content security policy: whatever a name contains, a browser fetches and runs nothing."""


def report_html(folder: Path, lang: str) -> str:
    """The report of the run in `folder` (a run folder or a bundle), in `lang` ("zh" or "en").

    Raises:
        BadFile: it is no run's folder, or a file of it cannot be read.
        Tampered: the journal's chain is broken.
    """
    return render(read_dossier(folder), lang)


def render(dossier: Dossier, lang: str) -> str:
    """The report of a run, as one HTML document."""
    view = View(dossier, Words(lang))
    words = view.words
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", f"{view.title} · {dossier.run}"),
        el("style", stylesheet()),
    )
    body = el(
        "body", el("main", masthead(view), tiles(view), _summary(view), _contents(view), *_parts(view), _foot(view))
    )
    return f"<!DOCTYPE html>\n{el('html', head, body, lang='zh-CN' if words.chinese else 'en')}\n"


@cache
def stylesheet() -> Markup:
    """The style sheet that goes into every report."""
    return Markup((Path(__file__).parent / "report.css").read_text("utf-8"))


def _summary(view: View) -> Markup:
    heading = el("h2", view.words("Executive summary", "结果摘要"))
    return el("section", heading, verdicts(view), worst_entry(view), decomposed(view), class_="summary")


def _contents(view: View) -> Markup:
    items = (el("li", el("a", s.title, href=f"#{s.anchor}")) for s in sections(view))
    return el("nav", el("ol", *items))


def _parts(view: View) -> list[Markup]:
    return [
        el("section", el("h2", el("span", str(number), class_="no"), part.title), part.make(view), id=part.anchor)
        for number, part in enumerate(sections(view), 1)
    ]


def _foot(view: View) -> Markup:
    words = view.words
    times = words("Times of day are UTC.", "时刻为北京时间（UTC+8），证据文件内为 UTC。")
    made = words("Made by drctl from the evidence of run ", "由 drctl 依据运行证据生成，运行编号 ")
    return el("footer", join((made, el("code", view.dossier.run), words(". ", "。"), times)))
