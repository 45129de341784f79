"""`drctl verify`: prove that replicas hold what the primary holds."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

import click

from orchestrator.cli import quickly
from orchestrator.cli.options import Settings, echo_json, output_option, refuse_unknown
from orchestrator.errors import Findings, Unreadable, Usage
from orchestrator.model.observation import Verdict
from orchestrator.model.proof import Part, Progress, ProofProgress, ServiceProof, proof_ok

if TYPE_CHECKING:
    from orchestrator.context import Context
    from orchestrator.model.topology import Service, Topology
    from orchestrator.verification.options import Options


def seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """The seconds of a time as it is given: 90s, 30m, 2h.

    Raises:
        BadParameter: it is none.
    """
    from orchestrator import yamltypes

    try:
        return None if value is None else yamltypes.seconds(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no time: 90s, 30m or 2h", ctx, param) from None


@click.command()
@click.option("--system", "systems", multiple=True, metavar="ID", help="Only this system; may be repeated.")
@click.option("--centre", "centres", multiple=True, metavar="ID", help="Only replicas in this centre.")
@click.option(
    "--only",
    "parts",
    multiple=True,
    type=click.Choice([part.value for part in Part]),
    help="Only this proof; may be repeated.",
)
@click.option(
    "--samples", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N", help="Canary rows to time."
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="PATTERN",
    help="Only tables like this: table, schema.table or database.schema.table, with * and ?.",
)
@click.option("--show-values", is_flag=True, help="Show the values that differ, not just the columns' names.")
@click.option("--no-locks", is_flag=True, help="Never hold writers, not even for milliseconds; slower.")
@click.option(
    "--against", default=None, metavar="INSTANCE", help="Compare the primary with a copy that follows nobody."
)
@click.option(
    "--from",
    "reference",
    default=None,
    metavar="INSTANCE",
    help="Compare with this standby instead of the primary, which may be gone.",
)
@click.option(
    "--within",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    show_default=True,
    metavar="S",
    help="Bound of each wait for a position or a canary row.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=600.0,
    show_default=True,
    metavar="S",
    help="Bound of one service's content; what is left by then could not be told.",
)
@click.option(
    "--max-load",
    type=click.FloatRange(1, 100),
    default=100.0,
    metavar="PERCENT",
    help="Read servers at most this share of the time, less while the primary suffers.  [default: 100]",
)
@click.option("--incremental", is_flag=True, help="Read only what changed since the last proof, where that is sound.")
@click.option("--resume", is_flag=True, help="Go on with a run that was interrupted.")
@click.option(
    "--budget",
    callback=seconds,
    default=None,
    metavar="TIME",
    help="Rolling: the oldest proofs first, for so long (90s, 30m, 2h); the next run goes on.",
)
@output_option
@click.pass_obj
def verify(
    settings: Settings,
    *,
    systems: tuple[str, ...],
    centres: tuple[str, ...],
    parts: tuple[str, ...],
    samples: int,
    tables: tuple[str, ...],
    show_values: bool,
    no_locks: bool,
    against: str | None,
    reference: str | None,
    within: float,
    timeout: float,
    max_load: float,
    incremental: bool,
    resume: bool,
    budget: float | None,
    output: str,
) -> int:
    """Prove that replicas hold what the primary holds, on databases that are being written to.

    \b
    positions  each replica flushes and shows the primary's position of now
    canary     rows written at the primary are timed until each replica shows them
    content    every table is compared at one common position
    drift      schema, extensions, roles and settings are the same
    storage    the replica's own checks of its pages, tables and indexes (amcheck); only where asked for
    names      the objects that a database's rows name are in its bucket, in each centre

    Exit code 0: everything is proven equal; 3: a difference, or it could not be told; 6: nothing could be read.

    \b
    Examples:
      drctl verify                                       everything
      drctl verify --system legal-person --only content  the tables of one system
      drctl verify --table 'public.person*' --show-values
      drctl verify --against legal-person/db@c           with a copy that was detached
      drctl verify --from legal-person/db@b --centre c   two standbys, also without a primary
      drctl verify --max-load 20                         gently, on a busy primary
      drctl verify --budget 2h --max-load 30             every night: as much of the estate as fits
      drctl verify --incremental                         what was written since the last proof
    """
    from orchestrator.app import open_context
    from orchestrator.verification.options import DEFAULT_PARTS, Options

    context = open_context(settings)
    options = Options(
        parts=tuple(Part(p) for p in parts) or DEFAULT_PARTS,
        centres=centres,
        samples=samples,
        within_s=within,
        timeout_s=timeout,
        tables=tables,
        show_values=show_values,
        reference=reference or "",
        locks=not no_locks and not reference,
        max_load=max_load / 100,
        watch=not reference,
        incremental=incremental,
        resume=resume,
        budget_s=budget,
    )
    if reference is not None:
        _refuse_beside_reference(options, systems)
    if against is not None:
        return _against(context, against, options, output)
    asked = choose(context.topology, systems, centres)
    chosen = asked if reference is None else (_holder(context, reference),)
    return _tell(quickly.run(_prove(context, chosen, options, output)), settings.lang, output)


def choose(topology: Topology, systems: Collection[str], centres: Collection[str]) -> tuple[Service, ...]:
    """Replicated services of the chosen systems with an instance in the chosen centres.

    Raises:
        Usage: a name that the estate does not have, or nothing left to verify.
    """
    from orchestrator.model.topology import Nature

    refuse_unknown("system", systems, topology.system_by_id)
    refuse_unknown("centre", centres, topology.centre_by_id)
    found = tuple(
        v
        for v in topology.services()
        if v.nature is Nature.REPLICATED
        and (not systems or v.system in systems)
        and (not centres or any(i.centre in centres for i in v.instances))
    )
    if not found:
        raise Usage("these filters leave nothing to verify", hint="take --system or --centre away")
    return found


async def _prove(
    context: Context, services: tuple[Service, ...], options: Options, output: str
) -> tuple[ServiceProof, ...]:
    from orchestrator.verification import estate

    memory, teller = context.home / "verification", _teller(context.lang, output)
    return await estate.verify(services, context.topology, context.readers, options, progress=teller, memory=memory)


def _refuse_beside_reference(options: Options, systems: Collection[str]) -> None:
    """Refuse what has no meaning between two standbys.

    Raises:
        Usage: nothing can be written or remembered there, and the instance says which service is meant.
    """
    if systems or options.incremental or options.resume or options.budget_s is not None or options.max_load < 1:
        raise Usage(
            "--from goes with none of --system, --incremental, --resume, --budget and --max-load",
            hint="two standbys of one service are compared as a whole, in one go",
        )
    if set(options.parts) <= {Part.CANARY, Part.NAMES}:
        raise Usage("--from proves neither canary rows nor names", hint="--only positions, content, drift or storage")


def _holder(context: Context, name: str) -> Service:
    """The service of an instance that holds rows.

    Raises:
        Usage: there is no such instance, or it holds none.
    """
    refuse_unknown("instance", [name], context.topology.instance_by_id)
    service = context.topology.service_by_id[context.topology.instance_by_id[name].service]
    if service.kind not in context.readers.rows:
        raise Usage(f"{name} holds no rows: it is of kind {service.kind}", hint="only databases are compared so")
    return service


def _against(context: Context, name: str, options: Options, output: str) -> int:
    """Compare the primary's content with a copy that follows nobody."""
    from orchestrator.verification.service import compare_against

    service = _holder(context, name)
    if options.reference and options.reference not in {i.id for i in service.instances if i.id != name}:
        raise Usage(
            f"{options.reference} is no other copy of {service.id}", hint="--from names another of its instances"
        )
    rows = context.readers.rows[service.kind]
    teller = _teller(context.lang, output)
    primary, content = quickly.run(compare_against(service, rows, name, options, teller))
    if output == "json":
        echo_json(content)
    else:
        from orchestrator.reports.findings import console
        from orchestrator.reports.verify_view import render_comparison

        console().print(render_comparison(primary, name, content, context.lang))
    return 0 if content.verdict is Verdict.PASS else Findings.exit_code


def _tell(proofs: tuple[ServiceProof, ...], lang: str, output: str) -> int:
    """Show the proofs; the command's exit code."""
    if output == "json":
        echo_json(proofs)
    else:
        from orchestrator.reports.findings import console
        from orchestrator.reports.verify_view import render

        console().print(render(proofs, lang))
    if not proofs:
        hint = "take --centre or --only away"
        raise Findings("nothing was verified: the chosen services hold nothing of that to prove there", hint=hint)
    if not any(proof.readable for proof in proofs):
        raise Unreadable("no instance of any service could be read", hint="`drctl check` shows what answers")
    return 0 if proof_ok(proofs) else Findings.exit_code


def _teller(lang: str, output: str) -> Progress | None:
    """Progress on standard error: one line that is written over, on a terminal only."""
    if output == "json" or not sys.stderr.isatty():
        return None

    def tell(note: ProofProgress) -> None:
        left = "" if note.eta_s is None else f" · {note.eta_s:.0f} s"
        speed = f" · {note.rows_per_s:,.0f} rows/s{left}" if note.rows else ""
        click.echo(f"\r\x1b[2K{note.service}: {note.text.of(lang)}{speed}"[:110] + "\r", nl=False, err=True)

    return tell
