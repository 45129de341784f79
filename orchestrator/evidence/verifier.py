"""Checks a sealed bundle from its own content alone: no home, no state store, no network, no trust in its names.

Everything is read without following links, sizes are held against the manifest before a file is read, and a name
that points outside the bundle is a finding and is never opened.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

import msgspec

from orchestrator.errors import BadFile, DrctlError
from orchestrator.evidence.bundle import FORMAT, MANIFEST, PUBLIC, SIGNATURE, SUMS, bundles, sums_text
from orchestrator.evidence.journal import genesis, read_journal
from orchestrator.evidence.signing import fingerprint, load_public, parse_public, signature_holds
from orchestrator.model.evidence import Manifest, Problem, ProblemKind, SealedFile, Verification
from orchestrator.model.plan import Approval, Plan
from orchestrator.model.run import Record
from orchestrator.model.topology import Text, Topology

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MANIFEST_SIZE_MAX = 64 * 1024 * 1024
SMALL_MAX = 64 * 1024
"""Bound of the key and the signature."""
_UNSEALED = frozenset({MANIFEST, SIGNATURE})
"""Files that the manifest cannot name."""

UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What decoding foreign bytes may raise; invalid UTF-8 inside a text is not a DecodeError."""

T = TypeVar("T")


def find_bundle(path: Path) -> Path:
    """The bundle that `path` means: a bundle, or a run folder that holds one (the newest).

    Raises:
        BadFile: it is neither.
    """
    if not path.is_dir():
        raise BadFile(f"{path}: not a folder", hint="give a bundle, a run folder or the id of a run")
    for folder in (path, *reversed(bundles(path))):
        if any(os.path.lexists(folder / name) for name in (MANIFEST, SIGNATURE, SUMS)):
            return folder
    if (path / "journal.jsonl").exists():
        raise BadFile(f"{path}: this run has not been sealed", hint=f"`drctl evidence seal {path.name}`")
    raise BadFile(f"{path}: not an evidence bundle", hint=f"a bundle holds {MANIFEST}, {SIGNATURE} and {SUMS}")


def verify_bundle(bundle: Path, *, pinned_key: Path | None = None) -> Verification:
    """Check everything that a bundle states; each deviation is a Problem, none is raised.

    Args:
        bundle: folder of the bundle (`find_bundle`).
        pinned_key: PEM of the public key that must have signed; None: the one in the bundle, whoever's it is.

    Raises:
        BadFile: `pinned_key` is no key.
    """
    pinned = load_public(pinned_key) if pinned_key else None
    problems: list[Problem] = []
    content = _read(bundle, MANIFEST, MANIFEST_SIZE_MAX, problems)
    manifest = _manifest(content, problems)
    key = _key(bundle, pinned, manifest, problems)
    _check_signature(bundle, content, key, problems)
    if manifest:
        intact = _check_files(bundle, manifest, problems)
        _check_sums(bundle, manifest, intact, problems)
        _check_contents(bundle, manifest, intact, problems)
    return Verification(
        bundle=str(bundle),
        run=manifest.run if manifest else "",
        plan_sha256=manifest.plan_sha256 if manifest else "",
        created=manifest.created if manifest else "",
        key_fingerprint=fingerprint(key) if key else "",
        pinned=pinned is not None and key is not None and fingerprint(pinned) == fingerprint(key),
        files_checked=len(manifest.files) if manifest else 0,
        journal_records=manifest.journal_records if manifest else 0,
        problems=tuple(problems),
    )


def _problem(kind: ProblemKind, subject: str, en: str, zh: str) -> Problem:
    return Problem(kind=kind, subject=subject, reason=Text(en=en, zh=zh))


def _read(bundle: Path, name: str, size_max: int, problems: list[Problem]) -> bytes | None:
    """A regular file of at most `size_max` bytes, no link on the way to it; None and a problem where it is none."""
    try:
        fd = os.open(bundle / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        problems.append(_problem(ProblemKind.REMOVED, name, "is missing", "文件缺失"))
        return None
    except OSError as error:
        said = error.strerror or "cannot be opened"
        problems.append(_problem(ProblemKind.CHANGED, name, f"cannot be read: {said}", f"无法读取：{said}"))
        return None
    with os.fdopen(fd, "rb") as file:
        seen = os.fstat(fd)
        if stat.S_ISREG(seen.st_mode) and seen.st_size <= size_max:
            return file.read(size_max)
    problems.append(_problem(ProblemKind.CHANGED, name, "is not a regular file of that size", "不是普通文件或大小异常"))
    return None


def _manifest(content: bytes | None, problems: list[Problem]) -> Manifest | None:
    if content is None:
        return None
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except UNREADABLE as error:
        problems.append(_problem(ProblemKind.MANIFEST, MANIFEST, f"cannot be read: {error}", f"无法解析：{error}"))
        return None
    if manifest.format != FORMAT:
        problems.append(
            _problem(
                ProblemKind.MANIFEST, MANIFEST, f"unknown format {manifest.format!r}", f"未知格式 {manifest.format!r}"
            )
        )
    if not manifest.files:
        problems.append(_problem(ProblemKind.MANIFEST, MANIFEST, "names no file", "未列出任何文件"))
    return manifest


def _key(
    bundle: Path, pinned: Ed25519PublicKey | None, manifest: Manifest | None, problems: list[Problem]
) -> Ed25519PublicKey | None:
    """The key in the bundle, held against the one that is expected and the one that the manifest names."""
    content = _read(bundle, PUBLIC, SMALL_MAX, problems)
    if content is None:
        return None
    try:
        key = parse_public(content, PUBLIC)
    except BadFile:
        problems.append(_problem(ProblemKind.KEY, PUBLIC, "is no Ed25519 public key", "不是 Ed25519 公钥"))
        return None
    found = fingerprint(key)
    if pinned and fingerprint(pinned) != found:
        expected = fingerprint(pinned)
        problems.append(
            _problem(
                ProblemKind.KEY,
                PUBLIC,
                f"signed by key {found}, and not by the expected {expected}",
                f"签名公钥为 {found}，与预期公钥 {expected} 不符",
            )
        )
    if manifest and manifest.key_fingerprint != found:
        named = manifest.key_fingerprint
        problems.append(
            _problem(
                ProblemKind.KEY, PUBLIC, f"is key {found}, the manifest names {named}", f"清单所载公钥 {named} 与其不符"
            )
        )
    return key


def _check_signature(
    bundle: Path, content: bytes | None, key: Ed25519PublicKey | None, problems: list[Problem]
) -> None:
    signature = _read(bundle, SIGNATURE, SMALL_MAX, problems)
    if signature is not None and content is not None and key and not signature_holds(key, signature, content):
        problems.append(
            _problem(
                ProblemKind.SIGNATURE,
                SIGNATURE,
                "is not this key's signature over MANIFEST.json",
                "不是该公钥对 MANIFEST.json 的有效签名",
            )
        )


def _check_files(bundle: Path, manifest: Manifest, problems: list[Problem]) -> frozenset[str]:
    """Hold what is there against what is named; returns the names of files that are as they were sealed."""
    named: dict[str, SealedFile] = {}
    for file in manifest.files:
        if file.path in named or not _is_inside(file.path):
            problems.append(
                _problem(
                    ProblemKind.MANIFEST, file.path, "is named twice or points outside", "重复列出或指向证据包之外"
                )
            )
        else:
            named[file.path] = file
    present = dict(_walk(bundle))
    folders = {str(p) for name in named for p in PurePosixPath(name).parents}
    for name, mode in present.items():
        expected = name in named or name in _UNSEALED or (stat.S_ISDIR(mode) and name in folders)
        if not expected:
            problems.append(_problem(ProblemKind.ADDED, name, f"{_what(mode)} was added", f"多出的{_what_zh(mode)}"))
    return frozenset(name for name, file in named.items() if _is_intact(bundle, file, present, problems))


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = bool(name) and "\0" not in name and not path.is_absolute() and path.as_posix() == name
    return plain and not {"..", "."} & set(path.parts)


def _walk(bundle: Path) -> Iterator[tuple[str, int]]:
    """Everything in the bundle with its mode; links are shown and never followed."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(bundle / folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                mode = entry.stat(follow_symlinks=False).st_mode
                name = f"{folder}/{entry.name}" if folder else entry.name
                yield name, mode
                if stat.S_ISDIR(mode):
                    waiting.append(name)


def _what(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "a symbolic link" if stat.S_ISLNK(mode) else "a file"


def _what_zh(mode: int) -> str:
    return "目录" if stat.S_ISDIR(mode) else "符号链接" if stat.S_ISLNK(mode) else "文件"


def _is_intact(bundle: Path, file: SealedFile, present: dict[str, int], problems: list[Problem]) -> bool:
    mode = present.get(file.path)
    if mode is None:
        problems.append(_problem(ProblemKind.REMOVED, file.path, "is missing", "文件缺失"))
        return False
    if not stat.S_ISREG(mode):
        problems.append(_problem(ProblemKind.CHANGED, file.path, f"is {_what(mode)} now", f"已变为{_what_zh(mode)}"))
        return False
    try:
        size, sha256 = _measure(bundle / file.path, file.size)
    except OSError as error:
        said = error.strerror or "cannot be read"
        problems.append(_problem(ProblemKind.CHANGED, file.path, f"cannot be read: {said}", f"无法读取：{said}"))
        return False
    if size != file.size:
        problems.append(
            _problem(
                ProblemKind.CHANGED,
                file.path,
                f"has {size} bytes instead of {file.size}",
                f"大小为 {size} 字节，应为 {file.size} 字节",
            )
        )
    elif sha256 != file.sha256:
        problems.append(_problem(ProblemKind.CHANGED, file.path, "its content was changed", "内容已被改动"))
    return size == file.size and sha256 == file.sha256


def _measure(path: Path, size: int) -> tuple[int, str]:
    """Size and SHA-256; a file of another size than the expected is not read, however large it is."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd).st_size
        return found, hashlib.file_digest(file, "sha256").hexdigest() if found == size else ""


def _check_sums(bundle: Path, manifest: Manifest, intact: frozenset[str], problems: list[Problem]) -> None:
    """SHA256SUMS says the same as the manifest; coreutils users rely on it."""
    for name in (SUMS, PUBLIC):
        if name not in {f.path for f in manifest.files}:
            problems.append(_problem(ProblemKind.SUMS, name, "is not named in the manifest", "未列入清单"))
    if SUMS in intact and (bundle / SUMS).read_bytes() != sums_text(manifest.files):
        problems.append(_problem(ProblemKind.SUMS, SUMS, "differs from the manifest", "与清单不一致"))


def _check_contents(bundle: Path, manifest: Manifest, intact: frozenset[str], problems: list[Problem]) -> None:
    """The chain of the journal, and that plan, topology, approvals, journal and manifest speak of one plan."""
    needed = {"plan.json", "topology.json", "journal.jsonl"}
    for name in needed - {f.path for f in manifest.files}:
        problems.append(_problem(ProblemKind.MANIFEST, name, "is not part of the bundle", "证据包未包含该文件"))
    plan = _decode(bundle, "plan.json", Plan, intact, problems)
    if plan:
        _check_binding(bundle, manifest, plan, intact, problems)
    if plan and "journal.jsonl" in intact:
        _check_journal(bundle, manifest, plan, problems)


def _decode(bundle: Path, name: str, kind: type[T], intact: frozenset[str], problems: list[Problem]) -> T | None:
    if name not in intact:
        return None
    try:
        return msgspec.json.decode((bundle / name).read_bytes(), type=kind)
    except UNREADABLE as error:
        problems.append(_problem(ProblemKind.BINDING, name, f"cannot be read: {error}", f"无法解析：{error}"))
        return None


def _check_binding(
    bundle: Path, manifest: Manifest, plan: Plan, intact: frozenset[str], problems: list[Problem]
) -> None:
    if plan.sha256 != manifest.plan_sha256:
        problems.append(
            _problem(ProblemKind.BINDING, "plan.json", "is not the plan of the manifest", "与清单所载方案不符")
        )
    topology = _decode(bundle, "topology.json", Topology, intact, problems)
    if topology and topology_sha256(topology) != plan.topology_sha256:
        problems.append(
            _problem(ProblemKind.BINDING, "topology.json", "is not the topology of the plan", "不是该方案所依据的拓扑")
        )
    for approval in _decode(bundle, "approvals.json", tuple[Approval, ...], intact, problems) or ():
        if approval.plan_sha256 != plan.sha256:
            problems.append(
                _problem(
                    ProblemKind.BINDING,
                    "approvals.json",
                    f"the approval of {approval.name} is for another plan",
                    f"{approval.name} 的批准针对的是另一份方案",
                )
            )


def topology_sha256(topology: Topology) -> str:
    """The hash by which a plan names its topology."""
    return hashlib.sha256(msgspec.json.encode(topology, order="deterministic")).hexdigest()


def _check_journal(bundle: Path, manifest: Manifest, plan: Plan, problems: list[Problem]) -> None:
    try:
        records = read_journal(bundle / "journal.jsonl", genesis(plan.sha256, manifest.run))
    except (DrctlError, UnicodeError) as error:
        said = str(error).removeprefix(f"{bundle / 'journal.jsonl'}: ")
        problems.append(_problem(ProblemKind.JOURNAL, "journal.jsonl", f"chain broken: {said}", f"哈希链断裂：{said}"))
        return
    if (len(records), _head(records)) != (manifest.journal_records, manifest.journal_head):
        problems.append(
            _problem(ProblemKind.JOURNAL, "journal.jsonl", "is not the journal of the manifest", "与清单所载日志不符")
        )


def _head(records: tuple[Record, ...]) -> str:
    return records[-1].hash if records else ""
