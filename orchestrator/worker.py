"""The use case of `drctl worker`: one centre's hand and eye, until it is told to stop.

Its hand carries out orders of its centre; its heartbeat in the store says that it lives; its eye looks at the other
centres, and it tells what it sees to whoever asks by HTTP (the state store may be the very thing that is gone).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from orchestrator.context import Context, refuse_alone
from orchestrator.errors import Refused, Usage
from orchestrator.execution.conversation import as_file_name
from orchestrator.model.view import View
from orchestrator.queues import Hand, Listener
from orchestrator.team import observers, store
from orchestrator.team.address import Host, StoreAddress, parse
from orchestrator.team.session import Line, StoreAway, connect_primary
from orchestrator.team.witness import Witness, WitnessAway

if TYPE_CHECKING:
    from aiohttp import web


BEAT_S = 2.0
Tell = Callable[[str], None]


async def work(context: Context, listen: str, tell: Tell) -> None:
    """Serve the context's centre until SIGINT or SIGTERM.

    Args:
        context: with a team's store and a centre.
        listen: HOST:PORT where views are told; port 0 chooses one.
        tell: one line for each thing that changes.

    Raises:
        Usage: no team's store, no centre, or no such address.
        Refused: nothing can listen there.
    """
    refuse_alone(context, "a worker")
    worker = _Worker(context, parse(context.state), tell)
    async with worker.telling(listen):
        await worker.run()


def anew() -> NoReturn:
    """Begin this process anew, with the same words and the same number."""
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "orchestrator.cli.main", *sys.argv[1:]])


class _Worker:
    def __init__(self, context: Context, address: StoreAddress, tell: Tell) -> None:
        self._context, self._address, self._tell = context, address, tell
        self._centre = context.centre
        self._views: tuple[View, ...] = ()
        self._looked_s = time.monotonic()
        self._line: Line | None = None
        self._primary: Host | None = None
        self._listener: Listener | None = None
        self._at = ""
        self._away = ""
        self._witness = Witness(context.witness, context.topology.id) if context.witness else None
        self._unseen = False

    async def run(self) -> None:
        """Look, beat and listen until a signal; a store that goes away is looked for until it is back."""
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        eye = asyncio.create_task(self._watch(stop))
        try:
            while not stop.is_set():
                await self._beat()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), BEAT_S)
        finally:
            stop.set()
            await eye
            await asyncio.to_thread(self._leave)

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._views = await observers.look_from(self._centre, self._context.topology, self._context.probers)
            self._looked_s = time.monotonic()
            await asyncio.to_thread(self._say_alive)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), BEAT_S)

    def _say_alive(self) -> None:
        if self._witness is None:
            return
        try:
            self._witness.keep_alive(self._centre)
        except WitnessAway as error:
            if not self._unseen:
                self._tell(error.message)
            self._unseen = True
        else:
            self._unseen = False

    async def _beat(self) -> None:
        try:
            if self._line is None:
                self._line = await self._connected()
            line = self._line
            await asyncio.to_thread(store.beat, line, self._centre, self._name(), self._at)
        except StoreAway as error:
            if self._line is not None:
                self._line.close()
                self._line = None
            if not self._away:
                self._tell(f"the state store does not answer: {error.message}")
            self._away = error.message
            return
        if self._away:
            self._tell("the state store is back")
        self._away = ""

    async def _connected(self) -> Line:
        """A connection to the store's primary, and its queue listened to."""
        line, primary = await asyncio.to_thread(connect_primary, self._address, f"worker {self._centre}")
        try:
            await asyncio.to_thread(store.prepare, line)
            await self._follow(primary)
        except BaseException:
            line.close()
            raise
        return line

    def _name(self) -> str:
        return f"{os.uname().nodename}:{self._context.home.resolve()}"

    async def _follow(self, primary: Host) -> None:
        """Listen to the queue in the store's primary.

        Where that is another one than before, the process begins anew: the library tries a dead store for ever, and
        would listen to it again when it comes back as what it no longer is.
        """
        if self._listener is not None:
            if primary != self._primary:
                self._tell(f"the state store's primary is {primary.address} now")
                anew()
            return
        name = f"worker-{self._centre}-{os.getpid()}-{secrets.token_hex(4)}"
        hand = Hand(self._centre, self._context.actors, self._folder, self._current)
        log = self._context.home / "worker.log"
        self._listener = Listener(self._centre, self._address.dsn(primary), name, log, hand.act)
        try:
            await asyncio.to_thread(self._listener.start)
        except Exception as error:
            self._listener = None
            raise StoreAway(f"the queue cannot be opened: {error}") from error
        self._primary = primary
        self._tell(f"listening to the queue of centre {self._centre} at {primary.address}")

    async def _current(self, run: str) -> int | None:
        def ask() -> int | None:
            assert self._primary is not None
            line = Line(self._address.dsn(self._primary), f"worker {self._centre}")
            try:
                lease = store.lease_of(line, run)
            finally:
                line.close()
            return lease.epoch if lease else None

        return await asyncio.to_thread(ask)

    def _folder(self, run: str, step: str) -> Path:
        path = self._context.home / "orders" / as_file_name(run) / as_file_name(step)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _leave(self) -> None:
        if self._line is not None:
            with contextlib.suppress(StoreAway):
                store.leave(self._line, self._centre, self._name())
            self._line.close()

    @contextlib.asynccontextmanager
    async def telling(self, listen: str) -> AsyncIterator[None]:
        """Tell the views by HTTP for the length of the block."""
        from aiohttp import web

        host, _, port = listen.rpartition(":")
        if not host or not port.isdecimal():
            raise Usage(f"cannot listen at {listen!r}", hint="--listen HOST:PORT, for example 127.0.0.1:0")
        app = web.Application()
        app.router.add_get("/views", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, int(port))
            try:
                await site.start()
            except OSError as error:
                raise Refused(f"cannot listen at {listen}: {error.strerror}", hint="choose another --listen") from error
            self._at = f"{host}:{runner.addresses[0][1]}"
            self._tell(f"telling what centre {self._centre} sees at {self._at}")
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, _: web.Request) -> web.Response:
        from aiohttp import web

        age_s = time.monotonic() - self._looked_s
        views = tuple(msgspec.structs.replace(v, age_s=round(age_s, 3)) for v in self._views)
        body = msgspec.json.encode(observers.Views(views=views))
        return web.Response(body=body, content_type="application/json")
