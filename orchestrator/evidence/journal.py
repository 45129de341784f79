"""The effect journal of one run: append-only JSON lines in a hash chain, on disk before the effect begins.

One line is one `Record` as compact JSON, its fields in declared order, `hash` last. The hash is SHA-256 over the
line without its `hash` member, so that coreutils can recompute it:
`sed 's/,"hash":"[0-9a-f]*"}$/}/' | head -c -1 | sha256sum`. The first `prev` is `genesis(plan, run)`.
See docs/adr/0002-effect-journal.md. Leaves out: what the records mean (history), who owns the run (runstore).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import msgspec

from orchestrator.errors import PartialState, Refused, Tampered
from orchestrator.evidence.entry import Elsewhere, Entry
from orchestrator.model.run import Event, Record
from orchestrator.model.topology import Setting

__all__ = ["REAL", "Clock", "Elsewhere", "Entry", "Journal", "JournalFailed", "Superseded", "boot_id", "genesis",
           "read_journal", "seal", "sync_folder", "utc_now"]  # fmt: skip


class JournalFailed(PartialState):
    """The journal cannot be written, so no further effect is begun."""


class Superseded(Refused):
    """Another executor has taken the run over; this one writes nothing and does nothing more."""


def utc_now() -> str:
    """Now in UTC as RFC 3339 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@cache
def boot_id() -> str:
    """Identifies the monotonic clock: it starts anew with every boot of the kernel."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{os.uname().nodename}-{int(time.time() - time.monotonic()) // 60}"


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """Where times come from; a simulation brings its own."""

    monotonic: Callable[[], float] = time.monotonic
    utc: Callable[[], str] = utc_now
    boot: Callable[[], str] = boot_id
    simulated: bool = False
    """Time does not pass by itself: nothing may be waited for outside the event loop."""


REAL = Clock()


def genesis(plan_sha256: str, run: str) -> str:
    """The `prev` of a run's first record: it binds the chain to one plan and one run."""
    return hashlib.sha256(f"{plan_sha256}\n{run}".encode()).hexdigest()


def seal(record: Record) -> Record:
    """The record with its `hash` computed from everything else."""
    return _sealed(record)[0]


def _sealed(record: Record) -> tuple[Record, bytes]:
    """The record with its hash, and its line; encoded once, since an executor writes while users wait."""
    body, _, _ = msgspec.json.encode(record).rpartition(_HASH)
    digest = hashlib.sha256(body + b"}").hexdigest()
    return msgspec.structs.replace(record, hash=digest), b'%b%b%b"}\n' % (body, _HASH, digest.encode())


_HASH = b',"hash":"'
"""What comes before the last field of a record."""


def _hash_of(line: bytes) -> str:
    return hashlib.sha256(line[: line.rindex(_HASH)] + b"}").hexdigest()


def read_journal(path: Path, first_prev: str | None = None) -> tuple[Record, ...]:
    """Every record, the chain verified; half a line that a crash left at the end is not a record.

    Args:
        path: the journal.
        first_prev: what the first record must follow (`genesis`); None: not held against a plan.

    Raises:
        Tampered: a record was changed, removed, added or reordered; the message names its number.
    """
    return parse_journal(path.read_bytes(), path, first_prev)


def parse_journal(content: bytes, path: Path, first_prev: str | None = None) -> tuple[Record, ...]:
    """As `read_journal`, of a journal's bytes; `path` names it in errors."""
    whole, _ = _split(content)
    records: list[Record] = []
    prev = first_prev
    for number, line in enumerate(whole.splitlines()):
        record = _verified(path, number, line, prev)
        records.append(record)
        prev = record.hash
    return tuple(records)


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Whole lines, and what a torn write left after the last of them."""
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


def _verified(path: Path, seq: int, line: bytes, prev: str | None) -> Record:
    problem = ""
    try:
        record = msgspec.json.decode(line, type=Record)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Tampered(f"{path}: record {seq} cannot be read: {error}", hint=_TAMPER_HINT) from error
    if record.seq != seq:
        problem = f"is numbered {record.seq}"
    elif msgspec.json.encode(record) != line or _hash_of(line) != record.hash:
        problem = "was changed: its hash does not fit its content"
    elif prev is not None and record.prev != prev:
        problem = "does not follow the record before it" if seq else "belongs to another plan or run"
    if problem:
        raise Tampered(f"{path}: record {seq} {problem}", hint=_TAMPER_HINT)
    return record


_TAMPER_HINT = "compare with the sealed bundle or another copy; this journal proves nothing from that record on"


class Journal:
    """The single writer of one journal file.

    Every append is `write` to a file opened with O_APPEND and, unless the caller groups them, `fdatasync`. An append
    with a stale epoch is refused. Not thread-safe except that `sync` may run in another thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        run: str,
        first_prev: str,
        epoch: int,
        epoch_now: Callable[[], int],
        clock: Clock = REAL,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Open or create the journal at `path`, verify its chain, and cut off half a line that a crash left.

        Args:
            path: the file; its folder must exist.
            run: id of the run.
            first_prev: `genesis` of the run.
            epoch: the writer's epoch.
            epoch_now: reads the epoch that owns the run now; a higher one refuses every append.
            clock: stamps the records.
            elsewhere: holds the records too before `sync` returns.

        Raises:
            Refused: another process writes it.
            Tampered: the chain does not hold.
            JournalFailed: it cannot be created or opened.
        """
        self._path, self._run, self._epoch, self._epoch_now, self._clock = path, run, epoch, epoch_now, clock
        self._first_prev, self._elsewhere, self._kept = first_prev, elsewhere, 0
        self._fd = self._open(path)
        self._records: list[Record] = []
        self._broken = ""
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    @property
    def records(self) -> tuple[Record, ...]:
        """Everything in the journal."""
        return tuple(self._records)

    @property
    def last_seq(self) -> int:
        """Number of the last record; -1 for none."""
        return len(self._records) - 1

    @property
    def epoch(self) -> int:
        """The writer's epoch."""
        return self._epoch

    def append(self, entries: Iterable[Entry], *, sync: bool = True) -> tuple[Record, ...]:
        """Write records behind the last one, as one write.

        Args:
            entries: what to write.
            sync: also wait until they are on disk; else call `sync` before an effect depends on them.

        Raises:
            Superseded: the run has a higher epoch now; nothing was written.
            JournalFailed: the disk is full or failing; nothing of it stays in the file.
        """
        records: list[Record] = []
        lines: list[bytes] = []
        head = self._records[-1].hash if self._records else self._first_prev
        for number, entry in enumerate(entries, self.last_seq + 1):
            record, line = self._record(number, entry, head)
            records.append(record)
            lines.append(line)
            head = record.hash
        self._write(records, b"".join(lines))
        if sync:
            self.sync()
        return tuple(records)

    def put(self, record: Record) -> bool:
        """Write a finished record (a copy from another place); False where it is there already.

        Raises:
            Tampered: another record has this number, or it does not continue the chain.
            Superseded, JournalFailed: as `append`.
        """
        if record.seq <= self.last_seq:
            if self._records[record.seq] != record:
                raise Tampered(f"{self._path}: record {record.seq} is another one", hint=_TAMPER_HINT)
            return False
        head = self._records[-1].hash if self._records else self._first_prev
        if record.seq != self.last_seq + 1 or record.run != self._run:
            raise Tampered(f"{self._path}: record {record.seq} does not come next", hint=_TAMPER_HINT)
        line = msgspec.json.encode(record)
        _verified(self._path, record.seq, line, head)
        self._write([record], line + b"\n")
        self.sync()
        return True

    def sync(self) -> None:
        """Wait until everything written is on disk (fdatasync), and held elsewhere where there is such a place.

        A place that is away does not hold the run up while its lease holds: `held` tells.

        Raises:
            JournalFailed: the disk failed; what it holds is not known, so nothing more is ever appended here. Or
                nothing may be begun now, because the other place is away.
            Superseded: the other place says that the run was taken over.
        """
        written = len(self._records)
        try:
            self._flush()
        except OSError as error:
            self._broken = f"cannot be brought to disk: {error.strerror}"
            raise self._failed() from error
        if self._elsewhere is not None:
            self._elsewhere.keep(self._records[self._kept : written])
            self._kept = max(self._kept, written)

    def held(self, seq: int) -> bool:
        """Whether every record up to a number is held elsewhere too; True where there is no such place."""
        return self._elsewhere is None or self._elsewhere.held(seq)

    def news(self) -> tuple[Entry, ...]:
        """What is to be written about the other place that holds the journal."""
        return self._elsewhere.news() if self._elsewhere is not None else ()

    def check_epoch(self) -> None:
        """Refuse where another executor has taken the run over.

        Raises:
            Superseded: it has.
        """
        gone = self._elsewhere.superseded() if self._elsewhere is not None else ""
        if gone:
            raise Superseded(gone, hint=f"follow the other executor with `drctl runs show {self._run}` in its home")
        now = self._epoch_now()
        if now > self._epoch:
            raise Superseded(
                f"run {self._run} has been taken over (epoch {now}, this executor had {self._epoch})",
                hint=f"follow the other executor with `drctl runs show {self._run}`",
            )

    def close(self) -> None:
        """Give the file back; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, path: Path) -> int:
        fresh = not path.exists()
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise JournalFailed(f"cannot open the journal {path}: {error.strerror}", hint=_DISK_HINT) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise Refused(f"another process writes {path}", hint="`drctl runs list` shows who runs") from error
        if fresh:
            sync_folder(path.parent)
        return fd

    # The four that touch the file; a simulated disk replaces them and `_open`, and nothing else.

    def _content(self) -> bytes:
        return self._path.read_bytes()

    def _put(self, content: bytes) -> int:
        return os.write(self._fd, content)

    def _flush(self) -> None:
        os.fdatasync(self._fd)

    def _cut(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def _load(self) -> None:
        whole, torn = _split(self._content())
        if torn:
            self._cut(len(whole))
        self._records.extend(parse_journal(whole, self._path, self._first_prev))
        self._size = len(whole)
        if torn:
            data = (
                Setting(name="bytes", value=str(len(torn))),
                Setting(name="sha256", value=hashlib.sha256(torn).hexdigest()),
            )
            self.append([Entry(event=Event.JOURNAL_CUT, detail="half a line of a crash was cut off", data=data)])

    def _record(self, seq: int, entry: Entry, prev: str) -> tuple[Record, bytes]:
        return _sealed(
            Record(
                seq=seq,
                at=self._clock.utc(),
                mono_s=round(self._clock.monotonic(), 6),
                boot=self._clock.boot(),
                run=self._run,
                epoch=self._epoch,
                event=entry.event,
                step=entry.step,
                detail=entry.detail,
                data=entry.data,
                prev=prev,
                hash="",
            )
        )

    def _write(self, records: list[Record], content: bytes) -> None:
        if self._broken:
            raise self._failed()
        self.check_epoch()
        try:
            written = self._put(content)
            if written != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._take_back(error)
            raise self._failed(error) from error
        self._size += len(content)
        self._records.extend(records)

    def _take_back(self, error: OSError) -> None:
        """Half a batch must not stay: the next append has to continue the chain."""
        try:
            self._cut(self._size)
        except OSError:
            self._broken = f"cannot be written: {error.strerror}"

    def _failed(self, error: OSError | None = None) -> JournalFailed:
        reason = f"cannot be written: {error.strerror}" if error else self._broken
        return JournalFailed(f"the journal {self._path} {reason}", hint=_DISK_HINT)


_DISK_HINT = "free space or mend the disk, then `drctl runs resume`; no effect was begun without its record"


def sync_folder(path: Path) -> None:
    """Bring a folder's entries to disk, so that a new file's name survives a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
