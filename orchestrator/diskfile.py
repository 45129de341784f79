"""Small files that are written all or nothing, and locks that die with their process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from orchestrator.errors import BadFile, Refused
from orchestrator.evidence.journal import sync_folder

LOCK_WITHIN_S = 0.5
"""How long a lock is tried for: whoever only looks whether it is held, holds it for an instant."""

T = TypeVar("T")


def take_lock(path: Path, what: str, within_s: float = LOCK_WITHIN_S) -> int:
    """An exclusive flock on a file, tried for `within_s` seconds; closing the descriptor gives it back.

    Args:
        path: the file; created where it is missing.
        what: for the message.
        within_s: bound of the attempts.

    Raises:
        Refused: another live process holds it.
    """
    deadline = time.monotonic() + within_s
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if time.monotonic() > deadline:
                raise Refused(
                    f"{what} is in the hands of another live process", hint="`drctl runs list` shows who runs"
                ) from error
            time.sleep(0.02)
            continue
        if os.fstat(fd).st_ino == path.stat().st_ino:
            return fd
        os.close(fd)  # replaced between open and lock: the lock is on a file without a name


@contextlib.contextmanager
def locked(path: Path, what: str, within_s: float = 10.0) -> Iterator[None]:
    """`take_lock` for the length of a short block; waits for others who are in one."""
    fd = take_lock(path, what, within_s)
    try:
        yield
    finally:
        os.close(fd)


def write(path: Path, value: object) -> None:
    """Write a value of the model as indented JSON; see `write_bytes`."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=1))


def write_bytes(path: Path, content: bytes) -> None:
    """Write all or nothing, and to disk: a reader sees the old file or the new one.

    Raises:
        Refused: the disk is full or failing; the old file is untouched.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(2)}")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise Refused(f"cannot write {path}: {error.strerror}", hint="free space or mend the disk") from error


def read(path: Path, kind: type[T]) -> T:
    """A value of the model from its JSON file.

    Raises:
        BadFile: it is missing or is not one.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError as error:
        raise BadFile(f"{path} is missing") from error
    except (OSError, msgspec.DecodeError, UnicodeError) as error:
        raise BadFile(f"{path}: {error}") from error
