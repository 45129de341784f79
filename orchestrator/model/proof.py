"""What a verification proved, per service and replica. Pure and frozen.

Empty means failure: no replica, no table, no sample is never a proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

from orchestrator.model.observation import Verdict
from orchestrator.model.topology import Frozen, Text

NOTHING = Text(en="", zh="")


class Part(StrEnum):
    """One of the proofs."""

    POSITIONS = "positions"
    CANARY = "canary"
    CONTENT = "content"
    DRIFT = "drift"
    """Schema, extensions, roles and settings."""
    STORAGE = "storage"
    """Pages and indexes of the replica, by its own server's checks."""
    NAMES = "names"
    """The objects that a database's rows name are in the bucket; of each centre, not of a replica."""


class Sameness(StrEnum):
    """Whether two copies of a table hold the same."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNKNOWN = "could not tell"
    SKIPPED = "not compared"
    """It is not meant to be equal (unlogged, foreign); says why."""


class Method(StrEnum):
    """How a common ground was found on a database that is written to."""

    CUT = "consistent cut"
    """Writers held for a moment, a snapshot at every copy at one position."""
    RECHECK = "lock-free recheck"
    """No lock; what differs is read again after its position has passed."""
    APART = "without a common position"
    """A snapshot at each copy; they do not follow each other."""


class DifferenceKind(StrEnum):
    """What is wrong with a row of a replica."""

    CHANGED = "changed"
    MISSING = "missing"
    """The primary holds it and the replica does not."""
    EXTRA = "extra"
    """The replica holds it and the primary does not."""


class ColumnDifference(Frozen):
    """A column that differs; the values only where the operator asked for them."""

    name: str
    left: str | None = None
    right: str | None = None


class RowDifference(Frozen):
    """A row that differs."""

    kind: DifferenceKind
    key: str
    """Its key as text, or its place where the table has no key."""
    columns: tuple[ColumnDifference, ...] = ()


BUCKET = "bucket"
"""Stands where a table's database does, where the copies are those of a bucket."""


class TableProof(Frozen):
    """One table (or sequence) of one replica against the primary."""

    database: str
    table: str
    sameness: Sameness
    rows_left: int = 0
    rows_right: int = 0
    key: tuple[str, ...] = ()
    """Names of the key's columns; empty: rows are named by their place."""
    differences: tuple[RowDifference, ...] = ()
    differing: int = 0
    """Rows found to differ; `more` says that there may be others."""
    more: bool = False
    rounds: int = 0
    """Times that rows were read again before the answer was certain."""
    position: int = 0
    """Position in bytes at which both were compared, or (recheck) that the replica had passed at the end; 0: none."""
    method: Method = Method.CUT
    trouble: str = ""
    """Why it could not be read (`model.rows.Trouble`); empty where it was."""
    since: int = 0
    """Position of its oldest part: of the proof on which this one rests, or of the ground on which an interrupted
    comparison began; 0: all of it was compared at `position`."""
    read_whole: Text = NOTHING
    """Why all of it was read though only changes were asked for."""
    resumed: int = 0
    """Times that it was gone on with after an interruption."""
    proven_at: str = ""
    """ISO 8601, UTC; empty: in this run."""
    reason: Text = NOTHING


class Effect(Frozen):
    """What a comparison did to the primary: seconds of a small commit there, without us and while we read."""

    share: float
    """Share of the time that servers were read at most."""
    alone_p50_s: float
    alone_p95_s: float
    during_p50_s: float
    during_p95_s: float
    commits: int
    """Commits timed during the comparison."""


class ContentProof(Frozen):
    """All tables of one replica."""

    method: Method
    why: Text
    """Why this method."""
    position: int | None
    held_s: float = 0.0
    """Seconds for which writers were held; 0 without locks."""
    took_s: float = 0.0
    rows_per_s: float = 0.0
    tables: tuple[TableProof, ...] = ()
    reason: Text = NOTHING
    """Why nothing (or not all) could be told, beyond single tables."""
    effect: Effect | None = None

    def count(self, sameness: Sameness) -> int:
        """Number of tables with this result."""
        return sum(t.sameness is sameness for t in self.tables)

    @property
    def verdict(self) -> Verdict:
        """PASS only where at least one table was compared, every one is equal, and nothing stayed open."""
        if self.count(Sameness.DIFFERENT):
            return Verdict.FAIL
        whole = self.count(Sameness.EQUAL) > 0 and not self.count(Sameness.UNKNOWN) and not self.reason.en
        return Verdict.PASS if whole else Verdict.UNKNOWN


class DriftProof(Frozen):
    """What stands around the rows of one replica; one group for each kind and database, its rows the single facts."""

    groups: tuple[TableProof, ...] = ()
    reason: Text = NOTHING
    """Why not all could be told."""

    @property
    def verdict(self) -> Verdict:
        """PASS only where something was compared and all of it is equal."""
        told = {group.sameness for group in self.groups}
        if Sameness.DIFFERENT in told:
            return Verdict.FAIL
        return Verdict.PASS if told == {Sameness.EQUAL} and not self.reason.en else Verdict.UNKNOWN


class StorageProof(Frozen):
    """What the replica's own server says of its pages and indexes. Tells nothing of whether they are the primary's."""

    verdict: Verdict
    checksums: bool = False
    """Pages carry checksums: whatever is read is checked."""
    failures: int = 0
    """Pages that the server has found to be broken since it counts."""
    tables: int = 0
    indexes: int = 0
    """Checked, and found or not found to be whole."""
    broken: tuple[str, ...] = ()
    """What was found, the first ones."""
    reason: Text = NOTHING


class PositionProof(Frozen):
    """Whether a replica came to hold and to show what the primary had at one moment."""

    verdict: Verdict
    target: int
    received: int | None = None
    replayed: int | None = None
    received_s: float | None = None
    """Seconds until it had flushed the target."""
    replayed_s: float | None = None
    """Seconds until its reads could see it."""
    reason: Text = NOTHING


class CanaryProof(Frozen):
    """Rows written at the primary, timed until a replica showed them. Times are upper bounds by one monotonic clock."""

    verdict: Verdict
    samples: int
    unseen: int
    lag_p50_s: float | None = None
    lag_p95_s: float | None = None
    lag_max_s: float | None = None
    resolution_s: float | None = None
    """Largest time between two looks at the replica while a row was awaited; lags are not known finer."""
    commit_p50_s: float | None = None
    """What the primary itself took to commit; contained in the lag."""
    lags_s: tuple[float, ...] = ()
    """Every sample, in the order written."""
    reason: Text = NOTHING


class ReplicaProof(Frozen):
    """All that was proven of one replica; a part that was not asked for is None."""

    instance: str
    position: PositionProof | None = None
    canary: CanaryProof | None = None
    content: ContentProof | None = None
    drift: DriftProof | None = None
    storage: StorageProof | None = None
    not_meant: tuple[Part, ...] = ()
    """Parts that cannot be proven of such a replica (a canary row at a logical one)."""

    def verdict(self, part: Part) -> Verdict | None:
        """The verdict of a part; None where it was not proven."""
        match part:
            case Part.POSITIONS:
                return self.position.verdict if self.position else None
            case Part.CANARY:
                return self.canary.verdict if self.canary else None
            case Part.CONTENT:
                return self.content.verdict if self.content else None
            case Part.DRIFT:
                return self.drift.verdict if self.drift else None
            case Part.STORAGE:
                return self.storage.verdict if self.storage else None
            case Part.NAMES:
                return None


class NamesProof(Frozen, kw_only=True):
    """One statement over a database and a bucket in one centre: what users would find if it served them now."""

    bucket: str
    """Instance of the bucket."""
    database: str
    """Instance of the database."""
    column: str
    """That names the objects: schema.table.column."""
    named: int
    """Objects that rows name, each once."""
    stored: int
    missing: tuple[str, ...] = ()
    """Named and not stored, the first ones."""
    missing_count: int = 0
    unnamed: tuple[str, ...] = ()
    """Stored and not named, the first ones. No harm by itself: an object may be written before its row."""
    unnamed_count: int = 0
    reason: Text = NOTHING
    """Why it could not be told."""

    @property
    def verdict(self) -> Verdict:
        """PASS only where something is named and all of it is stored."""
        if self.missing_count:
            return Verdict.FAIL
        return Verdict.UNKNOWN if self.reason.en or not self.named else Verdict.PASS


class ServiceProof(Frozen):
    """One service: every replica against the primary."""

    service: str
    primary: str
    """Instance that was found to be the primary, or the standby that was chosen in its place; empty where it could not
    be told."""
    asked: tuple[Part, ...]
    replicas: tuple[ReplicaProof, ...] = ()
    reason: Text = NOTHING
    """Why nothing could be proven of the service."""
    readable: bool = True
    """At least one instance answered."""
    took_s: float = 0.0
    names: tuple[NamesProof, ...] | None = None
    """Of each centre with a copy of the bucket and of the database that names its objects; None: not asked."""

    @property
    def ok(self) -> bool:
        """Every asked part of every replica, and of every centre, passed; nothing asked or no replica is not ok."""
        if not self.primary or self.reason.en or (self.asked and not self.replicas) or self.names == ():
            return False
        told = [self.proven(replica) for replica in self.replicas] if self.asked else []
        told += [statement.verdict is Verdict.PASS for statement in self.names or ()]
        return bool(told) and all(told)

    def proven(self, replica: ReplicaProof) -> bool:
        """Every asked part of a replica that is meant for it passed; none is never enough."""
        meant = [part for part in self.asked if part not in replica.not_meant]
        return bool(meant) and all(replica.verdict(part) is Verdict.PASS for part in meant)


class ProofProgress(Frozen):
    """A sign of life of a long comparison."""

    service: str
    text: Text
    rows: int = 0
    rows_total: int = 0
    """Estimate by the server's statistics; 0 where it has none."""
    rows_per_s: float = 0.0
    eta_s: float | None = None


Progress = Callable[[ProofProgress], None]


def proof_ok(proofs: Iterable[ServiceProof]) -> bool:
    """Whether every service was proven; False for none."""
    verdicts = [proof.ok for proof in proofs]
    return bool(verdicts) and all(verdicts)
