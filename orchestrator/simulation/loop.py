"""An asyncio event loop in virtual time: when nothing is ready, the clock jumps to the next timer.

Deterministic: what is ready runs first in, first out; timers run by time, then by the order in which they were set.
A process (everything that was started under one value of PROCESS) can be frozen: what it would do meanwhile is done
when it wakes up, as with SIGSTOP. Leaves out: sockets, threads, signals, debug mode.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")

PROCESS: ContextVar[int] = ContextVar("PROCESS", default=0)
"""Which simulated process runs; 0 is the world itself."""


class Stuck(Exception):
    """Nothing is left that could happen, or the time is over."""


class Handle:
    """A callback that waits for its turn; asyncio's handles, without what is not needed here."""

    __slots__ = ("args", "callback", "context", "gone", "when_s")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context, when_s: float) -> None:
        self.callback, self.args, self.context, self.when_s = callback, args, context, when_s
        self.gone = False

    def cancel(self) -> None:
        """Never run it."""
        self.gone = True

    def cancelled(self) -> bool:
        """Whether it is never run."""
        return self.gone

    def when(self) -> float:
        """The time at which it is due."""
        return self.when_s


class VirtualLoop(asyncio.AbstractEventLoop):
    """One loop; `reset` makes it as new."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._set = 0
        self._frozen: dict[int, list[Handle]] = {}
        self.errors: list[str] = []
        """What no task or callback took care of."""

    def reset(self) -> None:
        """Forget everything; time begins at 0 again."""
        self.__init__()  # type: ignore[misc]

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        handle = Handle(callback, args, copy_context() if context is None else context, self._now)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        handle = Handle(callback, args, copy_context() if context is None else context, when)
        self._set += 1
        heappush(self._timers, (when, self._set, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Context | None = None) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name="", context=context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.errors.append(f"{context.get('message')}: {type(error).__name__}: {error}")

    def freeze(self, process: int) -> None:
        """What this process would do is held back from now on."""
        self._frozen.setdefault(process, [])

    def thaw(self, process: int) -> None:
        """It goes on, first with what was held back."""
        self._ready.extend(self._frozen.pop(process, ()))

    def run_until(self, main: Coroutine[Any, Any, T], limit_s: float) -> T:
        """Run a coroutine to its end.

        Raises:
            Stuck: nothing is left that could happen, or virtual time passes `limit_s`.
        """
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            task = self.create_task(main)
            self._run(task, limit_s)
            return task.result()  # type: ignore[no-any-return]
        finally:
            events._set_running_loop(before)

    def _run(self, task: asyncio.Task[Any], limit_s: float) -> None:
        ready, timers, frozen = self._ready, self._timers, self._frozen
        while not task.done():
            if ready:
                handle = ready.popleft()
            elif timers:
                when_s, _, handle = heappop(timers)
                if handle.gone:
                    continue
                if when_s > limit_s:
                    raise Stuck(f"not at its end after {limit_s:g} s")
                self._now = max(self._now, when_s)
            else:
                raise Stuck("nothing is left that could happen")
            if handle.gone:
                continue
            if frozen and (held := frozen.get(handle.context.get(PROCESS, 0))) is not None:
                held.append(handle)
                continue
            handle.context.run(handle.callback, *handle.args)


def virtual_loop() -> VirtualLoop:
    """A new loop; what of asyncio's interface it leaves out raises NotImplementedError."""
    return VirtualLoop()  # type: ignore[abstract]
