"""A user of every entry: writes and reads at a set rate, and keeps a durable ledger of what was acknowledged.

Runs in a process of its own (`python -m orchestrator.canary CONFIG`), so that it goes on measuring when the
executor is killed. Open loop: an operation starts at its time whether or not those before it have ended, so a
stalled service does not hide its own outage (coordinated omission).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil

from orchestrator.model.canary import Header, Ledger, Operation, Result, value_of
from orchestrator.model.topology import Frozen

if TYPE_CHECKING:
    import aiohttp

FLUSH_S = 0.05
"""The ledger is forced to disk this often: what a crash of this machine could lose, a kill of the process nothing."""
PID_FILE = "canary.pid"
RECENT = 2000
"""Reads ask for one of this many latest acknowledged writes."""


class Target(Frozen, kw_only=True):
    """One entry to use."""

    system: str
    entry: str
    url: str


class CanaryConfig(Frozen, kw_only=True):
    """What the canary process is told."""

    run: str
    boot: str
    folder: Path
    targets: tuple[Target, ...]
    rate: float = 200.0
    """Operations a second and entry."""
    timeout_s: float = 1.0
    """After this an unanswered operation counts as in doubt (write) or failed (read)."""
    owner_lock: Path | None = None
    """Locked while an executor carries the run out; see `alone_s`."""
    alone_s: float = 600.0
    """Ends by itself when no executor has owned the run for this long: a killed one leaves no canary for ever."""


class LedgerFile:
    """Appends operations. `add` and `take` belong to the loop's thread, `write` may run in another."""

    def __init__(self, path: Path, header: Header) -> None:
        self._encoder = msgspec.json.Encoder()
        self._lines: list[bytes] = []
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        held = path.read_bytes()
        os.ftruncate(self._fd, held.rfind(b"\n") + 1)  # half a line of a killed canary: nothing may be glued to it
        if b"\n" not in held:
            self._lines.append(self._encoder.encode(header))

    def add(self, operation: Operation) -> None:
        """Take one ended operation."""
        self._lines.append(self._encoder.encode(operation))

    def take(self) -> bytes:
        """What was added since, to be written."""
        lines, self._lines = self._lines, []
        return b"".join(line + b"\n" for line in lines)

    def write(self, content: bytes) -> None:
        """Append all of it and force it to disk."""
        left = memoryview(content)
        while left:
            left = left[os.write(self._fd, left) :]
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Write what is left, and close."""
        self.write(self.take())
        os.close(self._fd)


class EntryUser:
    """Uses one entry until it is told to stop."""

    def __init__(self, target: Target, config: CanaryConfig, session: aiohttp.ClientSession) -> None:
        self._target = target
        self._config = config
        self._session = session
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._random = random.Random(target.system)
        self._prefix = f"{config.run}.{target.system}.{os.getpid()}."
        self.ledger = LedgerFile(config.folder / f"{target.system}.jsonl", self._header())

    def _header(self) -> Header:
        return Header(
            entry=self._target.entry,
            system=self._target.system,
            boot=self._config.boot,
            t0_utc=datetime.now(UTC).isoformat(),
            t0_mono=time.monotonic(),
            rate=self._config.rate,
            prefix=f"{self._config.run}.{self._target.system}.",
        )

    async def use(self, stop: asyncio.Event) -> None:
        """Start an operation every 1/rate seconds until `stop`; then wait for those under way."""
        loop, begun, number = asyncio.get_running_loop(), time.monotonic(), 0
        under_way: set[asyncio.Task[None]] = set()
        while not stop.is_set():
            task = loop.create_task(self._operation(number))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
            await asyncio.sleep(max(0.0, begun + number / self._config.rate - time.monotonic()))
        await asyncio.gather(*under_way)

    async def _operation(self, number: int) -> None:
        if number % 2 == 0 or not self._recent:
            record = f"{self._prefix}{number:08d}"
            await self._timed("w", record, self._write(record))
        else:
            record = self._random.choice(self._recent)
            await self._timed("r", record, self._read(record))

    async def _timed(self, kind: str, record: str, request: Request) -> None:
        sent = time.monotonic()
        result, status, centre = await self._answer(request)
        self.ledger.add(Operation(k=kind, i=record, s=sent, e=time.monotonic(), o=result, c=status, n=centre))
        if kind == "w" and result is Result.OK:
            self._recent.append(record)

    async def _answer(self, request: Request) -> tuple[Result, int, str]:
        import aiohttp

        try:
            return await request
        except aiohttp.ClientConnectorError:
            return Result.REFUSED, 0, ""
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Result.DOUBT, 0, ""

    async def _write(self, record: str) -> tuple[Result, int, str]:
        body = {"value": value_of(record), "entry": self._target.entry}
        async with self._session.put(f"{self._target.url}/records/{record}", json=body) as answer:
            result = {201: Result.OK, 503: Result.REFUSED}.get(answer.status, Result.DOUBT)
            return result, answer.status, answer.headers.get("X-Centre", "")

    async def _read(self, record: str) -> tuple[Result, int, str]:
        async with self._session.get(f"{self._target.url}/records/{record}") as answer:
            centre = answer.headers.get("X-Centre", "")
            if answer.status == 200:
                same = (await answer.json()).get("value") == value_of(record)
                return Result.OK if same else Result.WRONG, 200, centre
            return Result.WRONG if answer.status == 404 else Result.REFUSED, answer.status, centre


if TYPE_CHECKING:
    from collections.abc import Awaitable

    Request = Awaitable[tuple[Result, int, str]]


async def _flush_often(users: list[EntryUser], stop: asyncio.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), FLUSH_S)
        for user in users:
            await asyncio.to_thread(user.ledger.write, user.ledger.take())


async def _end_when_alone(config: CanaryConfig, stop: asyncio.Event) -> None:
    """Stop when the run's folder is gone, or nobody has owned the run for `alone_s`."""
    owned = time.monotonic()
    while not stop.is_set():
        if config.owner_lock is None or _locked(config.owner_lock):
            owned = time.monotonic()
        if time.monotonic() - owned > config.alone_s or not config.folder.exists():
            stop.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)


def _locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


async def run(config: CanaryConfig) -> None:
    """Use every entry until SIGTERM or SIGINT, or until nobody carries the run out any more."""
    import aiohttp

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    timeout = aiohttp.ClientTimeout(total=config.timeout_s)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        users = [EntryUser(target, config, session) for target in config.targets]
        watchers = asyncio.gather(_flush_often(users, stop), _end_when_alone(config, stop))
        await asyncio.gather(*(user.use(stop) for user in users))
        await watchers
        for user in users:
            user.ledger.close()


def read_ledger(path: Path) -> Ledger:
    """A ledger as written; a torn last line (the process was killed while it wrote) is left out."""
    lines = path.read_bytes().split(b"\n")
    header = msgspec.json.decode(lines[0], type=Header)
    return Ledger(header=header, operations=tuple(_operations(lines[1:])))


def _operations(lines: list[bytes]) -> Iterator[Operation]:
    decoder = msgspec.json.Decoder(Operation)
    for line in lines[:-1]:
        yield decoder.decode(line)


def start(config: CanaryConfig) -> None:
    """Start the canary's process in a session of its own (a Ctrl-C is not its business), unless one is at work."""
    config.folder.mkdir(parents=True, exist_ok=True)
    if alive(config.folder):
        return
    told = config.folder / "config.json"
    told.write_bytes(msgspec.json.encode(config, enc_hook=str))
    with (config.folder / "canary.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.canary", str(told)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    note_process(config.folder, process.pid)


def note_process(folder: Path, pid: int) -> None:
    """Write down which process works for this folder."""
    (folder / PID_FILE).write_text(f"{pid} {started_ticks(pid)}")


def started_ticks(pid: int) -> int:
    """When a process began, in ticks since the machine's start (proc(5), stat, field 22).

    Not psutil's create_time: that is a time of day, and moves when the clock is set.
    """
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])


def alive(folder: Path) -> psutil.Process | None:
    """The canary's process that was started for this folder, where it still runs (and not another with its number)."""
    try:
        pid, begun = (folder / PID_FILE).read_text().split()
        process = psutil.Process(int(pid))
        same = started_ticks(process.pid) == int(begun)
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, psutil.Error):
        return None


def warm(folder: Path, systems: Collection[str], writes: int) -> bool:
    """Whether every ledger holds at least `writes` lines, so that users are known to be served before a fault."""
    return all((path := folder / f"{s}.jsonl").exists() and path.read_bytes().count(b"\n") > writes for s in systems)


def stop(folder: Path, within_s: float = 10.0) -> None:
    """Ask the canary to end its operations and its ledgers, and wait for it; kill it after `within_s`."""
    process = alive(folder)
    if process is None:
        return
    for signal_it in (process.terminate, process.kill):
        with contextlib.suppress(psutil.NoSuchProcess):
            signal_it()
        deadline = time.monotonic() + within_s
        # Not psutil's wait: where a frozen executor is its parent, nobody buries it, and a zombie is as good as gone.
        while alive(folder) is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        if alive(folder) is None:
            return


def main() -> None:
    """Entry of the process: one argument, the path of a CanaryConfig as JSON."""
    import uvloop

    config = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=CanaryConfig, dec_hook=_path)
    uvloop.run(run(config))


def _path(kind: type, value: object) -> object:
    return Path(str(value)) if issubclass(kind, Path) else value


if __name__ == "__main__":
    main()
