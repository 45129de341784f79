"""`drctl topology`: read, check and draw the estate's topology."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from orchestrator.cli.options import Settings, echo_json, output_option, refuse_unknown
from orchestrator.errors import Usage

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.model.topology import Topology


class Valid(msgspec.Struct, frozen=True, kw_only=True):
    """What `validate` says in JSON."""

    estate: str
    file: str
    valid: bool
    systems: int
    services: int
    instances: int
    notes: tuple[str, ...]


@click.group()
def topology() -> None:
    """Read, check and draw the estate's topology.

    \b
    Examples:
      drctl topology validate inventories/chongqing
      drctl --estate chongqing topology show --group base
      drctl topology graph --format svg -o topology.svg
      drctl topology schema > topology.schema.json
    """


@topology.command()
@click.argument("estate", required=False, metavar="[NAME|DIR]")
@output_option
@click.pass_obj
def validate(settings: Settings, estate: str | None, output: str) -> None:
    """Check a topology file and name every mistake in it; contacts nothing.

    Exit code 0: valid; 4: the file is wrong. Notes tell what is allowed and yet worth a thought.

    \b
    Examples:
      drctl topology validate
      drctl topology validate chongqing
      drctl topology validate ./my-estate --output json
    """
    from orchestrator.app import estate_path, kinds
    from orchestrator.loader import load_topology, notes, topology_file

    path = estate_path(msgspec.structs.replace(settings, estate=estate or settings.estate))
    found = load_topology(path, kinds())
    result = Valid(
        estate=found.id,
        file=str(topology_file(path)),
        valid=True,
        systems=len(found.systems),
        services=len(found.service_by_id),
        instances=len(found.instance_by_id),
        notes=tuple(note.of(settings.lang) for note in notes(found)),
    )
    if output == "json":
        echo_json(result)
        return
    from orchestrator.reports.topology_table import summary

    click.echo(f"{result.file}: valid")
    click.echo(summary(found, found.systems, settings.lang))
    for note in result.notes:
        click.echo(f"note: {note}")


@topology.command()
@click.option(
    "--system", "systems", multiple=True, metavar="ID", help="Only this system, with its instances; may be repeated."
)
@click.option("--group", "groups", multiple=True, metavar="ID", help="Only systems of this group; may be repeated.")
@click.option(
    "--centre",
    "centres",
    multiple=True,
    metavar="ID",
    help="Only instances in this centre (or `edge`); may be repeated.",
)
@output_option
@click.pass_obj
def show(
    settings: Settings, systems: tuple[str, ...], groups: tuple[str, ...], centres: tuple[str, ...], output: str
) -> None:
    """Show the estate: a summary, then groups and systems; single instances where --system or --centre is given.

    In the column Data, `a ⇒ b → c` means: primary in a, copied to b synchronously, from there to c asynchronously.

    \b
    Examples:
      drctl topology show
      drctl topology show --system legal-person
      drctl --estate chongqing topology show --group districts --centre a
      drctl topology show --output json | jq '.systems[].id'
    """
    from orchestrator.app import load
    from orchestrator.reports import topology_table as tables

    found = load(settings)
    known = {*found.centre_by_id, *(i.centre for i in found.instances())}
    refuse_unknown("centre", centres, known)
    chosen = tables.in_centres([s for s in found.systems if s.id in _chosen(found, systems, groups)], centres)
    if output == "json":
        echo_json(msgspec.structs.replace(found, systems=tuple(chosen)))
        return
    click.echo(f"{found.id}: {found.name.of(settings.lang)}")
    click.echo(tables.summary(found, chosen, settings.lang))
    _print(tables.centres_table(found, chosen, settings.lang))
    if found.groups:
        _print(tables.groups_table(found, chosen, settings.lang))
    _print(tables.systems_table(chosen, settings.lang))
    if systems or centres:
        _print(tables.instances_table(chosen, centres, settings.lang))


@topology.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid", "svg"]),
    default="mermaid",
    show_default=True,
    help="Mermaid text, or a self-contained SVG picture.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE.  [default: standard output]"
)
@click.option("--system", "systems", multiple=True, metavar="ID", help="Only this system; may be repeated.")
@click.option("--group", "groups", multiple=True, metavar="ID", help="Only systems of this group; may be repeated.")
@click.pass_obj
def graph(settings: Settings, form: str, out: Path | None, systems: tuple[str, ...], groups: tuple[str, ...]) -> None:
    """Draw the estate as declared: centres as columns, a row per system; many systems as tiles by group.

    \b
    Examples:
      drctl topology graph --format svg -o topology.svg
      drctl --estate chongqing topology graph --format svg --group base -o base.svg
      drctl --lang zh topology graph --system legal-person
    """
    from orchestrator.app import load
    from orchestrator.reports.mermaid import topology_mermaid
    from orchestrator.reports.topology_svg import topology_svg

    found = load(settings)
    draw = topology_svg if form == "svg" else topology_mermaid
    text = draw(found, lang=settings.lang, systems=_chosen(found, systems, groups))
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Usage(f"cannot write {out}: {error.strerror}", hint="give another file with -o") from error
    click.echo(f"wrote {out}")


@topology.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of topology.yaml, for editors.

    \b
    Example:
      drctl topology schema > topology.schema.json
      # first line of topology.yaml:  # yaml-language-server: $schema=topology.schema.json
    """
    import json

    from orchestrator.app import kinds
    from orchestrator.loader import topology_schema

    click.echo(json.dumps(topology_schema(kinds()), ensure_ascii=False, indent=2))


def _chosen(found: Topology, systems: Collection[str], groups: Collection[str]) -> set[str]:
    """Ids of the systems that are asked for by name or by group; all where nothing is asked for."""
    refuse_unknown("system", systems, found.system_by_id)
    refuse_unknown("group", groups, {group.id for group in found.groups})
    everything = not systems and not groups
    return {s.id for s in found.systems if everything or s.id in systems or s.group in groups}


def _print(table: Table) -> None:
    """A table in full width where it is piped, so that no line of it is torn."""
    import sys

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    with console.capture() as captured:
        console.print(table)
    lines = (line.rstrip() for line in captured.get().splitlines())
    click.echo("\n" + "\n".join(lines))
