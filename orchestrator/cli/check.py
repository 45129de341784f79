"""`drctl check`: health checks over every centre at once."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec.structs import replace

from orchestrator.cli.options import Settings, echo_json, output_option, refuse_unknown
from orchestrator.cli.quickly import run
from orchestrator.errors import Findings, Unreadable, Usage

if TYPE_CHECKING:
    from orchestrator.context import Context
    from orchestrator.model.topology import Topology
    from orchestrator.reports.findings import CentreSight, CheckReport

WATCH_S = 2.0


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be judged; None is everything."""

    systems: tuple[str, ...] | None
    centres: tuple[str, ...] | None
    kinds: tuple[str, ...] | None
    checks: tuple[str, ...] | None
    within_s: float


@click.command()
@click.option("--system", "systems", multiple=True, metavar="ID", help="Only this system; may be repeated.")
@click.option("--centre", "centres", multiple=True, metavar="ID", help="Only instances in this centre (or `edge`).")
@click.option("--kind", "kinds", multiple=True, metavar="NAME", help="Only services of this kind.")
@click.option("--check", "checks", multiple=True, metavar="ID", help="Only this check.")
@click.option(
    "--watch",
    is_flag=False,
    flag_value=WATCH_S,
    type=click.FloatRange(min=0.1),
    default=None,
    metavar="[SECONDS]",
    help=f"Look again and again, every SECONDS (default {WATCH_S:g}), until Ctrl-C.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.05, max=60),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Bound of each probe in seconds; all run at once, so a dark centre costs this once.",
)
@output_option
@click.pass_obj
def check(
    settings: Settings,
    *,
    systems: tuple[str, ...],
    centres: tuple[str, ...],
    kinds: tuple[str, ...],
    checks: tuple[str, ...],
    watch: float | None,
    timeout: float,
    output: str,
) -> int:
    """Health checks over every centre at once: pass, fail or unknown, with the reason and what to do.

    Exit code 0: all pass; 3: something fails or is unknown; 6: nothing could be read.

    \b
    Examples:
      drctl check                              everything
      drctl check --system legal-person        one system
      drctl check --centre a --check lag       one check in one centre
      drctl check --watch                      again every two seconds, until Ctrl-C
      drctl check --output json | jq '.findings[] | select(.verdict != "pass")'
    """
    from orchestrator.app import open_context

    context = open_context(settings)
    choice = Choice(
        systems=systems or None,
        centres=centres or None,
        kinds=kinds or None,
        checks=checks or None,
        within_s=timeout,
    )
    _refuse_unknown_names(context.topology, choice)
    if watch is not None:
        return _watch(context, choice, watch, output)
    result = run(_look(context, choice))
    if result.answered or output == "json":
        _show(context, result, output)
    return _exit_code(result)


def _refuse_unknown_names(topology: Topology, choice: Choice) -> None:
    """A misspelt filter must not judge nothing and look like a pass."""
    from orchestrator.checks import CHECKS, choose

    centres = {i.centre for i in topology.instances()} | set(topology.centre_by_id)
    refuse_unknown("system", choice.systems, topology.system_by_id)
    refuse_unknown("centre", choice.centres, centres)
    refuse_unknown("kind", choice.kinds, {v.kind for v in topology.services()})
    refuse_unknown("check", choice.checks, [c.id for c in CHECKS])
    found = choose(topology, choice.systems, choice.kinds)
    if not any(i.centre in (choice.centres or centres) for _, service in found for i in service.instances):
        raise Usage("these filters leave nothing to check", hint="take one of --system, --centre, --kind away")


async def _look(context: Context, choice: Choice) -> CheckReport:
    from orchestrator.checks import judge_all
    from orchestrator.reports.findings import report

    begin = time.monotonic()
    snapshot = await context.observe(_instances(context.topology, choice), within_s=choice.within_s)
    findings = judge_all(
        context.topology,
        snapshot,
        systems=choice.systems,
        centres=choice.centres,
        kinds=choice.kinds,
        checks=choice.checks,
    )
    return replace(report(snapshot, findings, time.monotonic() - begin), centres=await _sights(context))


async def _sights(context: Context) -> tuple[CentreSight, ...]:
    """What the team's observers see of each centre."""
    from orchestrator.checks.centre import centre_state, votes
    from orchestrator.reports.findings import CentreSight

    watch = context.watch()
    if watch is None:
        return ()
    views = await watch.views()
    return tuple(
        CentreSight(
            centre=c,
            state=centre_state(c, views, watch.observers),
            votes=votes(c, views, watch.observers),
            views=tuple(v for v in views if v.centre == c),
        )
        for c in context.topology.centre_by_id
    )


def _instances(topology: Topology, choice: Choice) -> Collection[str] | None:
    """The instances to look at: whole systems, for an app is judged by its database and a standby by its primary."""
    if choice.systems is None:
        return None
    return [i.id for name in choice.systems for v in topology.system_by_id[name].services for i in v.instances]


def _show(context: Context, result: CheckReport, output: str) -> None:
    if output == "json":
        echo_json(result)
        return
    from orchestrator.reports.findings import console, render

    console().print(render(context.topology, result, context.lang))
    for sight in result.centres:
        click.echo(sight.line(context.lang))


def _exit_code(result: CheckReport) -> int:
    from orchestrator.model.observation import Verdict

    if not result.answered:
        why = next((f" ({f.subject}: {f.reason.en})" for f in result.findings if f.check == "reachable"), "")
        raise Unreadable(
            f"none of {result.instances} instances answered{why}",
            hint="for the lab, `drctl lab status` and `drctl lab up`; else look at the addresses and at this network",
        )
    return 0 if result.verdict is Verdict.PASS else Findings.exit_code


def _watch(context: Context, choice: Choice, every_s: float, output: str) -> int:
    """Look until Ctrl-C or until the reader goes away, which are the ways to end it: 0. One look is kept at a time."""
    try:
        if output == "table" and sys.stdout.isatty():
            run(_redraw(context, choice, every_s))
        else:
            run(_lines(context, choice, every_s, output))
    except KeyboardInterrupt:
        click.echo(err=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush complains
    return 0


async def _redraw(context: Context, choice: Choice, every_s: float) -> None:
    from rich.live import Live

    from orchestrator.reports.findings import console, render

    with Live(console=console(), auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            begin = time.monotonic()
            result = await _look(context, choice)
            live.update(render(context.topology, result, context.lang, summary_first=True), refresh=True)
            await asyncio.sleep(max(0.0, every_s - (time.monotonic() - begin)))


async def _lines(context: Context, choice: Choice, every_s: float, output: str) -> None:
    from orchestrator.reports.findings import plain_line

    while True:
        begin = time.monotonic()
        result = await _look(context, choice)
        json = msgspec.json.encode(result).decode() if output == "json" else ""
        click.echo(json or plain_line(result, context.lang))
        await asyncio.sleep(max(0.0, every_s - (time.monotonic() - begin)))
