"""Seals a run together with its reports, and lays the reports where people look for them."""

from __future__ import annotations

from pathlib import Path

from orchestrator.diskfile import write_bytes
from orchestrator.evidence.bundle import LANGUAGES, MANIFEST, bundles, seal
from orchestrator.reports.html import report_html


def publish(run_dir: Path, *, key_file: Path) -> Path:
    """Seal a closed run and write `report.<lang>.html` beside its journal; returns the bundle.

    Args:
        run_dir: the run's folder.
        key_file: Ed25519 key that signs; made on first use.

    Raises:
        Refused: sealed already, not closed, or something in it looks like a secret.
        BadFile: not a run's folder, or the key file is no key.
        Tampered: the journal's chain is broken.
    """
    bundle = seal(run_dir, key_file=key_file, render=report_html)
    for lang in LANGUAGES:
        write_bytes(report_file(run_dir, lang), (bundle / f"report.{lang}.html").read_bytes())
    return bundle


def write_report(run_dir: Path, lang: str, target: Path | None = None) -> Path:
    """Draw the report of a run anew, sealed or not; returns the file.

    Raises:
        BadFile: not a run's folder, or a file of it cannot be read.
        Tampered: the journal's chain is broken.
    """
    path = target or report_file(run_dir, lang)
    write_bytes(path, report_html(evidence_of(run_dir), lang).encode())
    return path


def report_file(run_dir: Path, lang: str) -> Path:
    """Where the report of a run lies."""
    return run_dir / f"report.{lang}.html"


def evidence_of(run_dir: Path) -> Path:
    """Where a run's evidence is read from: its newest bundle while nothing was added since, else the run's folder."""
    journal = run_dir / "journal.jsonl"
    for bundle in reversed(bundles(run_dir)):
        sealed = bundle / "journal.jsonl"
        whole = (bundle / MANIFEST).exists() and sealed.exists() and journal.exists()
        if whole and sealed.read_bytes() == journal.read_bytes():
            return bundle
        break
    return run_dir
