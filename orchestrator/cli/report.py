"""`drctl report`: what a run came to, for people and for programs."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.options import Settings
from orchestrator.cli.runfolder import run_folder
from orchestrator.errors import BadFile


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--lang", type=click.Choice(["en", "zh"]), default=None, help="Language of the report.  [default: drctl's]"
)
@click.option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE")
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "json"]),
    default="html",
    show_default=True,
    help="One self-contained page, or the figures.",
)
@click.pass_obj
def report(settings: Settings, run: str, lang: str | None, target: Path | None, form: str) -> int:
    """Render the report of RUN (a folder, an id, or `last`) and print its summary.

    Without -o the page becomes RUN/report.<lang>.html, and JSON goes to standard output.

    \b
    Examples:
      drctl report last
      drctl report last --lang zh -o drill.html
      drctl report last --format json
    """
    folder, chosen = run_folder(settings.home, run), lang or settings.lang
    if form == "json":
        return _json(folder, target)
    from orchestrator.reports.publish import evidence_of, write_report
    from orchestrator.reports.summary import render

    path = write_report(folder, chosen, target)
    click.echo(render(evidence_of(folder), chosen) if target else render(folder, chosen))
    if target:
        click.echo(f"\n{path}")
    return 0


def _json(folder: Path, target: Path | None) -> int:
    import msgspec

    from orchestrator.reports.publish import evidence_of
    from orchestrator.reports.results import results_of

    content = msgspec.json.format(msgspec.json.encode(results_of(evidence_of(folder))), indent=2)
    if target is None:
        click.echo(content.decode())
        return 0
    try:
        target.write_bytes(content + b"\n")
    except OSError as error:
        raise BadFile(f"{target}: {error.strerror}") from error
    return 0
