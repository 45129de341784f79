"""Ctrl-C during a run: first it stops between two steps, then at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator

from msgspec.structs import replace

from orchestrator.errors import Interrupted
from orchestrator.execution.conversation import Control
from orchestrator.execution.ports import Ports
from orchestrator.execution.runstore import Run


class Asked:
    """Whether the operator asked by signal to stop."""

    def __init__(self) -> None:
        self.stop = False
        self.at_once = False


@contextlib.contextmanager
def stoppable(run: Run) -> Iterator[Asked]:
    """First Ctrl-C (or SIGTERM): stop after the running steps, resumable. Second: at once. A hang-up stops nothing:
    a closed terminal must not leave users without service half-way."""
    asked = Asked()
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        if asked.stop and task is not None:
            asked.at_once = True
            task.cancel()
            return
        asked.stop = True
        print(f"stopping run {run.id} after the running steps; again to stop at once", file=sys.stderr)  # noqa: T201

    try:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
    except (ValueError, NotImplementedError, RuntimeError):
        yield asked  # not the main thread: signals are the caller's
        return
    try:
        yield asked
    except asyncio.CancelledError:
        if not asked.at_once:
            raise
        raise Interrupted(f"run {run.id} was stopped at once", hint=f"`drctl runs resume {run.id}`") from None
    finally:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(name)


def with_stop(ports: Ports, asked: Asked) -> Ports:
    """Ports whose `control` also heeds the signals."""

    def control() -> Control:
        wish = ports.control()
        return Control.PAUSE if asked.stop and wish is Control.GO else wish

    return replace(ports, control=control)
