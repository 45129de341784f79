"""Seals a run: everything that happened in one folder that anyone can check with coreutils and openssl.

The chain of trust: `MANIFEST.sig` signs `MANIFEST.json`, which names every file with its SHA-256, `SHA256SUMS` too;
`SHA256SUMS` holds the same sums in the form that `sha256sum -c` reads. Leaves out: how a report is drawn (given as
`render`, since reports stand above evidence), what a verifier finds (verifier).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import msgspec

from orchestrator.errors import BadFile, Refused
from orchestrator.evidence.journal import genesis, read_journal
from orchestrator.evidence.secrets import find_secrets, redact
from orchestrator.evidence.signing import fingerprint, load_or_create_key, public_pem
from orchestrator.evidence.versions import collect_versions
from orchestrator.model.evidence import LeftOut, Manifest, SealedFile, Versions
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Plan
from orchestrator.model.run import Event, Record

BUNDLE = "bundle"
"""Name of the sealed folder inside a run folder; that of a run which was resumed after its sealing is `bundle-2`."""
MANIFEST, SIGNATURE, SUMS, PUBLIC, GUIDE = "MANIFEST.json", "MANIFEST.sig", "SHA256SUMS", "public.pem", "VERIFY.md"
_IS_BUNDLE = re.compile(rf"{BUNDLE}(-[1-9][0-9]{{0,3}})?")
_PUT_ASIDE = re.compile(rf"{BUNDLE}[.-][1-9][0-9]{{0,3}}")
FORMAT = "drctl-evidence/1"
LANGUAGES = ("en", "zh")
SIZE_MAX = 64 * 1024 * 1024
"""A text that secrets may have to be taken out of is read whole; a larger one is left out, and the manifest says so."""
_NEEDED = ("plan.json", "topology.json", "journal.jsonl")
_EXACT = frozenset({"plan.json", "topology.json", "approvals.json", "journal.jsonl"})
"""Hashes bind these to each other, so not one byte of them may be redacted: a secret in them refuses the sealing."""
_NOT_EVIDENCE = frozenset({"owner.json", "owner.lock", "control"})
"""Who holds the run at the moment, and what is asked of him."""
_SHOWN_MAX = 20

T = TypeVar("T")
Render = Callable[[Path, str], str]
"""Draws the report of a run folder in a language; gets the folder as it is being sealed, redacted already."""


def seal(run_dir: Path, *, key_file: Path, render: Render | None = None, created: str = "") -> Path:
    """Make `<run_dir>/bundle`, whole or not at all.

    Args:
        run_dir: the run's folder.
        key_file: Ed25519 key that signs; made on first use.
        render: draws `report.en.html` and `report.zh.html` into the bundle; None leaves the reports out.
        created: time of the sealing, UTC; now where empty. The same inputs give the same bytes.

    Raises:
        Refused: the run is sealed already, is being sealed, or something in it looks like a secret.
        BadFile: the folder is not a run's, or the key file no key.
        Tampered: the journal's chain is broken.
    """
    missing = [name for name in _NEEDED if not (run_dir / name).is_file()]
    if missing:
        raise BadFile(f"{run_dir} is no folder of a run: {', '.join(missing)} missing", hint="`drctl runs list`")
    with _alone(run_dir):
        target, former = _place(run_dir)
        staging = Path(tempfile.mkdtemp(prefix=".bundle.", dir=run_dir))
        try:
            now = created or datetime.now(UTC).isoformat(timespec="seconds")
            _fill(run_dir, staging, _Sealing(run_dir.resolve().name, key_file, render, now, former))
            staging.chmod(0o755)
            staging.rename(target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return target


def bundles(run_dir: Path) -> tuple[Path, ...]:
    """The sealed bundles of a run, oldest first."""
    found = [p for p in run_dir.glob(f"{BUNDLE}*") if _IS_BUNDLE.fullmatch(p.name)]
    return tuple(sorted(found, key=lambda p: int(p.name.partition("-")[2] or 1)))


def _place(run_dir: Path) -> tuple[Path, str]:
    """Where the next bundle goes, and the hash of the manifest that it goes beyond (empty for the first).

    A sealed bundle is never changed; a run that was resumed after its sealing gets another, which names the former.
    """
    known = bundles(run_dir)
    if not known:
        return run_dir / BUNDLE, ""
    manifest = known[-1] / MANIFEST
    sealed = _decode(manifest, Manifest) if manifest.is_file() else None
    if sealed is None or sealed.journal_records == len(read_journal(run_dir / "journal.jsonl")):
        raise Refused(f"{known[-1]} is sealed already", hint="a sealed bundle is never changed")
    return run_dir / f"{BUNDLE}-{len(known) + 1}", hashlib.sha256(manifest.read_bytes()).hexdigest()


@contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """One sealer at a time; what a killed one left behind is cleared away."""
    fd = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for stale in run_dir.glob(".bundle.*"):
            shutil.rmtree(stale, ignore_errors=True)
        yield
        os.fsync(fd)
    except BlockingIOError as error:
        raise Refused(f"{run_dir} is being sealed by another process") from error
    finally:
        os.close(fd)


class _Sealing(NamedTuple):
    """What goes into one bundle beside the run's files."""

    run: str
    key_file: Path
    render: Render | None
    created: str
    supersedes: str


def _fill(run_dir: Path, staging: Path, order: _Sealing) -> None:
    key = load_or_create_key(order.key_file)
    redacted, left_out = _copy(run_dir, staging)
    versions = _versions(staging)
    if order.render:
        for lang in LANGUAGES:
            _write(staging / f"report.{lang}.html", order.render(staging, lang).encode())
    _write(staging / PUBLIC, public_pem(key.public_key()))
    print_of_key = fingerprint(key.public_key())
    plan = _decode(staging / "plan.json", Plan)
    records = _closed_journal(staging, plan, order.run)
    _write(staging / GUIDE, _guide(order.run, plan.sha256, print_of_key))
    _refuse_secrets(staging)
    _write(staging / SUMS, sums_text(_sealed(staging)))
    manifest = Manifest(
        format=FORMAT,
        run=order.run,
        plan_sha256=plan.sha256,
        journal_records=len(records),
        journal_head=records[-1].hash if records else "",
        created=order.created,
        key_fingerprint=print_of_key,
        versions=versions,
        files=tuple(_sealed(staging)),
        redacted=tuple(redacted),
        left_out=tuple(left_out),
        supersedes=order.supersedes,
    )
    content = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=1) + b"\n"
    _write(staging / MANIFEST, content)
    _write(staging / SIGNATURE, key.sign(content))


def _closed_journal(staging: Path, plan: Plan, run: str) -> tuple[Record, ...]:
    records = read_journal(staging / "journal.jsonl", genesis(plan.sha256, run))
    if not any(r.event is Event.RUN_CLOSED for r in records):
        raise Refused(
            f"run {run} is not closed yet", hint=f"`drctl runs resume {run}` or `drctl runs abort {run}` first"
        )
    return records


def _decode(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadFile(f"{path.name}: {error}", hint="a run is sealed as it was written, or not at all") from error


def _copy(run_dir: Path, staging: Path) -> tuple[list[str], list[LeftOut]]:
    """Copy what is evidence; returns what was redacted and what was left out."""
    redacted, left_out = [], []
    for path, odd in _evidence(run_dir):
        name = path.relative_to(run_dir).as_posix()
        exact = name in _EXACT or PurePosixPath(name).match("canary/*.jsonl")
        too_large = not odd and not exact and path.stat().st_size > SIZE_MAX
        reason = f"larger than {SIZE_MAX} bytes" if too_large else odd
        if reason:
            left_out.append(LeftOut(path=name.encode("unicode_escape").decode(), reason=reason))
        elif exact:
            _write(staging / name, path.read_bytes())
        elif _copy_redacted(path, staging / name):
            redacted.append(name)
    return redacted, left_out


def _evidence(run_dir: Path) -> Iterator[tuple[Path, str]]:
    """Every file of a run folder that is evidence, in order, and why it cannot be taken where it cannot."""
    for folder, folders, files in os.walk(run_dir):
        top = Path(folder) == run_dir
        folders[:] = sorted(n for n in folders if not (top and _not_evidence(n)))
        links = [n for n in folders if (Path(folder) / n).is_symlink()]
        for name in sorted([*links, *files]):
            if not (top and _not_evidence(name)):
                yield Path(folder) / name, _why_not(Path(folder) / name)


def _not_evidence(name: str) -> bool:
    drawn_anew = name.startswith("report.") and name.endswith(".html")
    own = name in {MANIFEST, SIGNATURE, SUMS, PUBLIC, GUIDE}
    return (
        own
        or drawn_anew
        or name in _NOT_EVIDENCE
        or bool(_IS_BUNDLE.fullmatch(name) or _PUT_ASIDE.fullmatch(name))
        or name.startswith(".")
        or name.endswith((".part", ".pid"))
    )


def _why_not(path: Path) -> str:
    if path.is_symlink():
        return "a symbolic link"
    if not path.is_file():
        return "no regular file"
    return "" if str(path).isprintable() and "\\" not in str(path) else "a name that is not portable"


def _copy_redacted(source: Path, target: Path) -> bool:
    """Copy without secrets; whether any was taken out. Bytes that are no UTF-8 pass through unchanged."""
    content = source.read_bytes()
    clean = redact(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    _write(target, clean)
    return clean != content


def _versions(staging: Path) -> Versions:
    """The run's own versions.json, or those of this process where the run wrote none."""
    path = staging / "versions.json"
    if path.is_file():
        return _decode(path, Versions)
    seen = [staging / name for name in ("before.json", "after.json")]
    snapshots = [_decode(p, Snapshot) for p in seen if p.is_file()]
    versions = collect_versions(*snapshots)
    _write(path, msgspec.json.format(msgspec.json.encode(versions), indent=1) + b"\n")
    return versions


def _refuse_secrets(staging: Path) -> None:
    found = []
    for path in _files(staging):
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(staging)}:{secret.line} ({secret.kind})" for secret in find_secrets(text)]
    if found:
        more = f" and {len(found) - _SHOWN_MAX} more" if len(found) > _SHOWN_MAX else ""
        raise Refused(
            f"not sealed, these lines look like secrets: {', '.join(found[:_SHOWN_MAX])}{more}",
            hint="change what was exposed; plans, topologies and journals must hold no secrets (use a vault's names)",
        )


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _sealed(folder: Path) -> Iterator[SealedFile]:
    return (_file(folder, path) for path in _files(folder))


def _file(folder: Path, path: Path) -> SealedFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return SealedFile(path=path.relative_to(folder).as_posix(), size=path.stat().st_size, sha256=digest)


def list_files(folder: Path) -> tuple[SealedFile, ...]:
    """What of a run folder or a bundle is evidence, with sizes and hashes; its seal and its reports are not named."""
    if (folder / MANIFEST).exists():
        return tuple(f for f in _sealed(folder) if not _not_evidence(f.path))
    paths = sorted(path for path, reason in _evidence(folder) if not reason)
    return tuple(_file(folder, path) for path in paths)


def sums_text(files: Iterator[SealedFile] | tuple[SealedFile, ...]) -> bytes:
    """The content of SHA256SUMS, in the form of coreutils' sha256sum; it does not name itself."""
    return "".join(f"{f.sha256}  {f.path}\n" for f in files if f.path != SUMS).encode()


def _guide(run: str, plan_sha256: str, print_of_key: str) -> bytes:
    text = (Path(__file__).parent / GUIDE).read_text("utf-8")
    for mark, value in (("@RUN@", run), ("@PLAN@", plan_sha256), ("@FINGERPRINT@", print_of_key)):
        text = text.replace(mark, value)
    return text.encode()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o444)
