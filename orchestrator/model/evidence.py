"""What an evidence bundle says of itself, and what its verifier found. Pure and frozen."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.model.topology import Frozen, Setting, Text


class Clock(Frozen, kw_only=True):
    """The clock that the run's times come from, as the kernel of the operator's machine described it."""

    source: str
    """Kernel clock source, for example `tsc`; empty where it is not known."""
    synchronised: bool | None
    """The kernel's clock is kept by NTP or PTP; None: could not tell."""
    offset_s: float | None
    """Remaining offset that the kernel is working off."""
    error_max_s: float | None
    """Largest error that the kernel vouches for."""


class InstanceVersion(Frozen, kw_only=True):
    """What stood on one instance when the run looked at it."""

    instance: str
    version: str
    clock_offset_s: float | None = None
    """The instance's clock minus the operator's, in seconds."""


class Versions(Frozen, kw_only=True):
    """With what a run was done: enough to do it again."""

    drctl: str
    python: str
    host: str
    system: str
    """Operating system and kernel."""
    libraries: tuple[Setting, ...]
    instances: tuple[InstanceVersion, ...] = ()
    clock: Clock


class SealedFile(Frozen, kw_only=True):
    """One file of a bundle."""

    path: str
    """Relative, with `/`; never absolute, never with `..`."""
    size: int
    """Bytes."""
    sha256: str


class LeftOut(Frozen, kw_only=True):
    """Something of the run folder that the bundle does not hold, and why."""

    path: str
    reason: str


class Manifest(Frozen, kw_only=True):
    """The signed statement of a bundle: MANIFEST.json."""

    format: str
    run: str
    plan_sha256: str
    """Empty where the run has no plan."""
    journal_records: int
    journal_head: str
    """Hash of the journal's last record; empty where there is no journal."""
    created: str
    """UTC, RFC 3339."""
    key_fingerprint: str
    versions: Versions
    files: tuple[SealedFile, ...]
    redacted: tuple[str, ...] = ()
    """Files of which secrets were taken out before sealing; their hashes are of what is in the bundle."""
    left_out: tuple[LeftOut, ...] = ()
    supersedes: str = ""
    """SHA-256 of the former bundle's MANIFEST.json, where the run was resumed after its sealing."""


class ProblemKind(StrEnum):
    """What is wrong with a bundle."""

    CHANGED = "changed"
    REMOVED = "removed"
    ADDED = "added"
    MANIFEST = "manifest"
    SIGNATURE = "signature"
    KEY = "key"
    SUMS = "sums"
    JOURNAL = "journal"
    BINDING = "binding"
    """Plan, approvals, journal and manifest do not speak of the same plan."""


class Problem(Frozen, kw_only=True):
    """One thing that does not hold."""

    kind: ProblemKind
    subject: str
    """A file of the bundle, or `journal.jsonl seq 7`."""
    reason: Text


class Verification(Frozen, kw_only=True):
    """What the verifier found; it holds when `problems` is empty and something was checked."""

    bundle: str
    run: str
    plan_sha256: str
    created: str
    key_fingerprint: str
    """Of the key that lies in the bundle; empty where there is none that can be read."""
    pinned: bool
    """The signer's key was given by the verifier and is the one in the bundle."""
    files_checked: int
    journal_records: int
    problems: tuple[Problem, ...]

    @property
    def holds(self) -> bool:
        """Nothing was changed, removed or added, and the signature is that of the key shown."""
        return not self.problems and self.files_checked > 0
