"""Names of runs: they sort in the order in which the runs were made, whatever the clock says."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.model.plan import Plan

_STAMP = "%Y%m%d-%H%M%S"
_STAMPED = re.compile(r"\d{8}-\d{6}-")


def stamp_now() -> str:
    """The second, in UTC, in the form that begins a run's name."""
    return datetime.now(UTC).strftime(_STAMP)


def free_name(runs: Path, plan: Plan) -> str:
    """`20261123-003015-centre-lost-a-x7k2`: sorts behind every run before it, says what it is, and is not taken."""
    stamp = stamp_now()
    newest = max((p.name[: len(stamp)] for p in runs.iterdir() if _STAMPED.match(p.name)), default="")
    if stamp <= newest:  # the clock was set back, or this is the same second: `last` is the newest all the same
        stamp = f"{datetime.strptime(newest, _STAMP) + timedelta(seconds=1):{_STAMP}}"
    words = re.sub(r"[^a-z0-9]+", "-", "-".join((plan.scenario, *plan.lost)).lower()).strip("-")[:60]
    while True:
        suffix = "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(4))
        name = f"{stamp}-{words}-{suffix}"
        if not (runs / name).exists():
            return name
