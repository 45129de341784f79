"""Hands single actions to the workers of other centres, through queues of the durable-execution library; both ends.

Beside durable the only module that loads dbos. A queue is a centre's: `centre-b`. The controller enqueues with a client
of its own (inside a step the library would draw ids, FACTS T1), the worker listens to its centre's queue alone.

What an action needs to be safe it carries itself: every verb is idempotent, and has its run's epoch. So an order that
nobody takes is withdrawn and carried out from here; one whose worker died is carried out again, unless it must not
happen twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import DrctlError
from orchestrator.model.plan import Verb, is_repeatable
from orchestrator.model.topology import Frozen, Kind
from orchestrator.providers.base import ActionFailed, Actor, Order, Outcome, Unsupported
from orchestrator.storelog import log_to

APPLICATION = "drctl-worker"
VERSION = "1"
"""Of what controller and worker say to each other; a worker takes orders of its own version only."""
WORKFLOW = "drctl_act"
POLL_S = 0.05
LISTEN_S = 0.1
TAKEN_S = 2.0
"""An order that no worker takes within this is withdrawn."""
ALIVE_S = 6.0
"""A worker whose last heartbeat is older counts as dead: three were missed."""
GRACE_S = 5.0
_WAITING = frozenset({"ENQUEUED", "DELAYED"})
_OVER = frozenset({"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})


class Job(Frozen, kw_only=True):
    """What a worker is sent."""

    verb: Verb
    order: bytes
    """The Order as JSON, without its folder: the worker has its own."""


class Answer(Frozen, kw_only=True):
    """What a worker answers."""

    outcome: bytes = b""
    """An Outcome as JSON; empty where it failed."""
    error: str = ""
    hint: str = ""
    unsupported: bool = False


def queue_of(centre: str) -> str:
    """Name of a centre's queue."""
    return f"centre-{centre}"


def encode(verb: Verb, order: Order) -> str:
    """An order on its way."""
    body = msgspec.json.encode(order, enc_hook=lambda path: path.name if isinstance(path, Path) else str(path))
    return msgspec.json.encode(Job(verb=verb, order=body)).decode()


def decode(text: str, folder: Callable[[str, str], Path]) -> tuple[Verb, Order]:
    """An order as it arrived; `folder` makes the place for what its run and step leave behind."""
    job = msgspec.json.decode(text, type=Job)
    order = msgspec.json.decode(job.order, type=Order, dec_hook=lambda _, name: Path(str(name)))
    return job.verb, msgspec.structs.replace(order, artifacts=folder(order.run, order.step))


class NotTaken(Exception):
    """No worker has begun with the order, and none will."""


class Dispatcher:
    """The controller's end: asks who lives, sends, waits."""

    def __init__(self, url: str, alive: Callable[[str], bool]) -> None:
        """`url`: of the store's primary; `alive`: whether a centre's worker gave a heartbeat lately (may block)."""
        self._url, self._alive = url, alive
        self._client: Any = None
        self._known: dict[str, tuple[float, bool]] = {}
        self._number = 0

    async def lives(self, centre: str) -> bool:
        """Whether a centre has a living worker; asked at most once a second. False where the store does not answer."""
        known = self._known.get(centre)
        if known is None or time.monotonic() - known[0] > 1.0:
            found = await asyncio.to_thread(self._alive, centre)
            known = self._known[centre] = (time.monotonic(), found)
        return known[1]

    async def send(self, centre: str, verb: Verb, order: Order) -> Outcome:
        """Have a centre's worker carry an order out.

        Raises:
            NotTaken: it did not begin with it.
            ActionFailed: it failed there, or its end is not known.
        """
        self._number += 1
        name = f"{order.run}.{order.epoch}.{order.step}.{self._number}"
        handle = await self._enqueue(centre, name, encode(verb, order))
        try:
            status = await self._until(handle, lambda s: s not in _WAITING, TAKEN_S)
        except TimeoutError:
            status = await self._withdraw(handle, name)
        except Exception as error:
            raise WorkerDied(f"the state store went away with {order.step}: {error}") from error
        if status in {"CANCELLED", "ERROR"} or status in _WAITING:
            raise NotTaken(f"centre {centre}: {status.lower()}")
        return await self._answer(handle, centre, order)

    async def _enqueue(self, centre: str, name: str, text: str) -> Any:
        module = importlib.import_module("dbos")
        options = {
            "queue_name": queue_of(centre), "workflow_name": WORKFLOW, "workflow_id": name, "app_version": VERSION,
            "application_name": APPLICATION,
        }  # fmt: skip
        try:
            async with asyncio.timeout(TAKEN_S):
                if self._client is None:
                    self._client = await asyncio.to_thread(self._connect, module)
                return await self._client.enqueue_async(options, text)
        except Exception as error:
            raise NotTaken(str(error)) from error

    def _connect(self, module: Any) -> Any:
        return module.DBOSClient(
            system_database_url=self._url, serializer=module.DBOSPortableJSONSerializer(),
            application_name=APPLICATION, retry_connection_errors=False,
        )  # fmt: skip

    async def _until(self, handle: Any, holds: Callable[[str], bool], within_s: float) -> str:
        async with asyncio.timeout(within_s):
            while not holds(status := (await handle.get_status()).status):
                await asyncio.sleep(POLL_S)
            return str(status)

    async def _withdraw(self, handle: Any, name: str) -> str:
        """Take an order back that nobody has begun; its status then."""
        try:
            async with asyncio.timeout(TAKEN_S):
                status = str((await handle.get_status()).status)
                if status in _WAITING:
                    await self._client.cancel_workflow_async(name)
                    status = str((await handle.get_status()).status)
                return status
        except Exception as error:
            raise WorkerDied(f"whether a worker began with {name} is not known: {error}") from error

    async def _answer(self, handle: Any, centre: str, order: Order) -> Outcome:
        ends_s = time.monotonic() + order.within_s + GRACE_S
        while time.monotonic() < ends_s:
            try:
                await self._until(handle, lambda s: s in _OVER, ALIVE_S / 2)
                told = str(await handle.get_result())
            except TimeoutError:
                pass
            except Exception as error:
                raise WorkerDied(f"the state store went away with {order.step}: {error}") from error
            else:
                return _outcome(msgspec.json.decode(told, type=Answer), centre)
            if not await self.lives(centre):
                raise WorkerDied(f"the worker of centre {centre} died with {order.step}")
        raise ActionFailed(f"the worker of centre {centre} does not end {order.step} within {order.within_s:g} s")

    def close(self) -> None:
        """Let the connection go."""
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.destroy()
            self._client = None


class WorkerDied(ActionFailed):
    """Whether the action took effect is not known."""


def _outcome(answer: Answer, centre: str) -> Outcome:
    if answer.unsupported:
        raise Unsupported(answer.error, hint=answer.hint)
    if answer.error:
        raise ActionFailed(answer.error, hint=answer.hint)
    outcome = msgspec.json.decode(answer.outcome, type=Outcome)
    return msgspec.structs.replace(outcome, detail=f"{outcome.detail} (by the worker in {centre})")


class Routed:
    """An actor that has the worker of the instance's centre act, and acts itself where there is none."""

    def __init__(self, actor: Actor, dispatcher: Dispatcher) -> None:
        self._actor, self._dispatcher = actor, dispatcher
        self.kind: Kind = actor.kind

    async def act(self, verb: Verb, order: Order) -> Outcome:
        """As the actor's own."""
        centre = order.instance.centre
        if not await self._dispatcher.lives(centre):
            return await self._actor.act(verb, order)
        try:
            return await self._dispatcher.send(centre, verb, order)
        except NotTaken:
            return await self._actor.act(verb, order)
        except WorkerDied:
            if not is_repeatable(verb, order.param("idempotent")):
                raise
            return await self._actor.act(verb, order)


class Hand:
    """The worker's end: carries orders of its centre out, one after the other for each instance."""

    def __init__(
        self, centre: str, actors: Mapping[str, Actor], folder: Callable[[str, str], Path],
        current: Callable[[str], Awaitable[int | None]],
    ) -> None:  # fmt: skip
        """`current`: the epoch that owns a run now, by the store; None where it does not know the run."""
        self._centre, self._actors, self._folder, self._current = centre, actors, folder, current
        self._highest: dict[str, int] = {}

    async def act(self, text: str) -> str:
        """Carry one order out; its answer. Never raises: what failed is told."""
        try:
            verb, order = decode(text, self._folder)
            await self._refuse(order)
            outcome = await self._actors[order.service.kind].act(verb, order)
        except Unsupported as error:
            answer = Answer(error=error.message, hint=error.hint, unsupported=True)
        except DrctlError as error:
            answer = Answer(error=error.message, hint=error.hint)
        except Exception as error:
            answer = Answer(error=f"a bug in the worker of centre {self._centre}: {type(error).__name__}: {error}")
        else:
            answer = Answer(outcome=msgspec.json.encode(outcome))
        return msgspec.json.encode(answer).decode()

    async def _refuse(self, order: Order) -> None:
        """An order of an older epoch, or for another centre, is not carried out."""
        if order.instance.centre != self._centre:
            raise ActionFailed(f"{order.instance.id} does not stand in centre {self._centre}")
        owns = await self._current(order.run)
        highest = max(owns or 0, self._highest.get(order.instance.id, 0))
        if order.epoch < highest:
            raise ActionFailed(
                f"the worker of centre {self._centre} has seen epoch {highest}, and this order's is {order.epoch}: "
                "a later controller took over",
                hint="`drctl runs list` shows it; this run must not go on here",
            )
        self._highest[order.instance.id] = order.epoch


class Listener:
    """The library, listening to one centre's queue."""

    def __init__(self, centre: str, url: str, name: str, log: Path, act: Callable[[str], Awaitable[str]]) -> None:
        """`name`: of this process, never used before (T2); `log`: what the library says; `act`: one order."""
        self._centre, self._url, self._name, self._log, self._act = centre, url, name, log, act

    def start(self) -> None:
        """Listen; orders are carried out on the library's own loop. For the rest of the process's life."""
        module = importlib.import_module("dbos")
        log_to(self._log)
        dbos = module.DBOS(
            config={
                "name": APPLICATION, "system_database_url": self._url, "executor_id": self._name,
                "application_version": VERSION, "serializer": module.DBOSPortableJSONSerializer(),
                "enable_otlp": False, "log_level": "WARNING",
            }
        )  # fmt: skip
        act = self._act

        async def drctl_act(text: str) -> str:
            return await act(text)

        drctl_act.__qualname__ = WORKFLOW
        dbos.workflow(name=WORKFLOW, max_recovery_attempts=None)(drctl_act)
        module.DBOS.listen_queues([queue_of(self._centre)])
        dbos.launch()
        module.DBOS.register_queue(queue_of(self._centre), polling_interval_sec=LISTEN_S, on_conflict="always_update")
