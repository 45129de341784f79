"""What a command takes, as the kernel accounts it: `spent([...])`.

A process is begun as a copy of whoever begins it, and its memory at its highest (getrusage(2), ru_maxrss) is that of
the copy at least. So the command is begun by a small process, which is this file: it imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class Spent:
    """Exit code (below 0: the signal), seconds, processor seconds, and memory at its highest."""

    code: int
    wall_s: float
    cpu_s: float
    rss_kb: int


def spent(
    words: Sequence[str],
    *,
    out: IO[bytes] | int,
    err: IO[bytes] | int,
    cwd: str = ".",
    env: Mapping[str, str] | None = None,
) -> Spent:
    """Run a command to its end; its output goes to files or subprocess.DEVNULL."""
    read, write = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(write), *words],
            stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, env=env, pass_fds=(write,),
        )  # fmt: skip
    finally:
        os.close(write)
    with os.fdopen(read) as told:
        process.wait()
        code, wall_s, cpu_s, rss_kb = json.loads(told.read())
    return Spent(code, wall_s, cpu_s, rss_kb)


def main() -> None:
    """Run the command of the arguments after the first, which is the file that is told what it took."""
    told, *words = sys.argv[1:]
    begun = time.perf_counter()
    process = subprocess.Popen(words)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - begun
    cpu_s = usage.ru_utime + usage.ru_stime
    os.write(int(told), json.dumps([os.waitstatus_to_exitcode(status), took, cpu_s, usage.ru_maxrss]).encode())


if __name__ == "__main__":
    main()
