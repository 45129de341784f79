"""One finding of one check, for the cases of every check."""

from __future__ import annotations

from orchestrator.model.observation import Snapshot, Verdict
from tests.unit.checks.world import (
    findings,
)

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
DB = "people/db"


def one(check: str, subject: str, world: Snapshot) -> tuple[Verdict, str]:
    found = findings(check, world)[subject]
    return found.verdict, found.reason.en
