"""An app that can be told which database to call.

It answers GET /health (JSON), GET /ready (200 where users may come) and POST /control/upstream (409 for an old epoch).
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from orchestrator.model.observation import Reach, Reading
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance, Kind, Role, Service
from orchestrator.providers.base import ActionFailed, Order, Outcome, PlaybookRunner, Unsupported
from orchestrator.providers.http_probe import Strange, get
from orchestrator.providers.http_request import Answer, NoAnswer, Talk
from orchestrator.providers.kinds import HTTP_APP
from orchestrator.providers.playbook import run_named
from orchestrator.providers.waiting import comes_true

_LOOK_S = 1.0
_POLL_S = 0.02


class _Health(msgspec.Struct, frozen=True):
    """What an app says of itself; more than this is passed over."""

    upstream: str
    epoch: int
    writable: bool
    serving: bool


class HttpApp:
    """Prober and Actor of apps."""

    kind: Kind = HTTP_APP

    def __init__(self, playbooks: PlaybookRunner) -> None:
        self._playbooks = playbooks

    async def read(self, service: Service, instance: Instance, within_s: float) -> Reading:
        """One look at one app, bounded by `within_s` seconds; never raises for a bad world."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(within_s):
                took_s, health, ready = await _look(instance.address)
        except NoAnswer as e:
            return _blank(instance, began, e.reach, e.error)
        except TimeoutError:
            return _blank(instance, began, Reach.SILENT, f"no answer within {within_s:g} s")
        return _reading(instance, health, ready, took_s)

    async def act(self, verb: Verb, order: Order) -> Outcome:
        """Carry out repoint, start, stop or run_playbook.

        Raises:
            Unsupported: any other verb.
            ActionFailed: it did not reach its end within the order's time.
        """
        try:
            async with asyncio.timeout(order.within_s):
                return await self._act(verb, order)
        except TimeoutError as e:
            raise ActionFailed(f"{order.instance.id}: {verb.value} not done within {order.within_s:g} s") from e

    async def _act(self, verb: Verb, order: Order) -> Outcome:
        match verb:
            case Verb.REPOINT:
                return await _repoint(order, order.towards[0] if order.towards else None)
            case Verb.STOP:
                return await self._stop(order)
            case Verb.START:
                return await self._start(order)
            case Verb.RUN_PLAYBOOK:
                return await run_named(self._playbooks, order)
            case _:
                raise Unsupported(f"an http-app instance has no {verb.value}")

    async def _start(self, order: Order) -> Outcome:
        """Start the process where nobody listens; with `towards`, let it call that database."""
        now = await self.read(order.service, order.instance, min(_LOOK_S, order.within_s))
        started = None
        if now.reach is not Reach.ANSWERED:
            started = await self._playbooks("start_http_app.yml", order, ())
            if not await comes_true(lambda: self._listens(order), order.within_s, _POLL_S):
                raise ActionFailed(f"{order.instance.id}: its start_command was run, and it does not answer")
        if order.towards:
            done = await _repoint(order, order.towards[0])
            return msgspec.structs.replace(done, changed=done.changed or started is not None)
        return started or Outcome(detail=f"{order.instance.id} runs already", changed=False)

    async def _listens(self, order: Order) -> bool:
        return (await self.read(order.service, order.instance, _LOOK_S)).reach is Reach.ANSWERED

    async def _stop(self, order: Order) -> Outcome:
        """It serves nobody from now on; the process stays, so that it can be told to serve again at once."""
        now = await self.read(order.service, order.instance, min(_LOOK_S, order.within_s))
        if now.reach is Reach.REFUSED:
            return Outcome(detail=f"{order.instance.id} does not run", changed=False)
        return await _repoint(order, None)


async def _look(address: str) -> tuple[float, Answer, Answer]:
    """Seconds, /health and /ready; through the full reader where the quick one does not understand."""
    try:
        took_s, (health, ready) = await get(address, ("/health", "/ready"))
    except Strange:
        began = time.monotonic()
        async with Talk(address) as talk:
            health, ready = await talk.ask("GET", "/health"), await talk.ask("GET", "/ready")
            took_s = time.monotonic() - began
    return took_s, health, ready


def _blank(instance: Instance, began: float, reach: Reach, error: str) -> Reading:
    return Reading(instance=instance.id, reach=reach, took_s=time.monotonic() - began, error=error)


def _reading(instance: Instance, health: Answer, ready: Answer, took_s: float) -> Reading:
    if health.status in (401, 403):
        return Reading(instance=instance.id, reach=Reach.DENIED, took_s=took_s, error=f"/health: {health.status}")
    answers = ready.status == 200
    try:
        if health.status != 200:
            raise msgspec.ValidationError(f"status {health.status}")
        told = msgspec.json.decode(health.body, type=_Health)
    except msgspec.MsgspecError as e:
        error = f"/health: {e}"
        return Reading(instance=instance.id, reach=Reach.ANSWERED, took_s=took_s, error=error, answers=answers)
    return Reading(
        instance=instance.id,
        reach=Reach.ANSWERED,
        took_s=took_s,
        error=f"/ready: {ready.status}" if told.serving and not answers else "",
        role=Role.PRIMARY if told.serving else Role.STANDBY,
        writable=told.writable,
        epoch=told.epoch,
        upstream=told.upstream,
        answers=answers,
    )


class _Target(msgspec.Struct, frozen=True):
    centre: str
    address: str
    epoch: int


async def _repoint(order: Order, towards: Instance | None) -> Outcome:
    """Tell the app whom to call, or to call nobody.

    Raises:
        ActionFailed: it has seen a later run's epoch, refused, or did not answer.
    """
    here = order.instance
    centre, address = (towards.centre, towards.address_from(here.centre)) if towards else ("", "")
    target = _Target(centre, address, order.epoch)
    try:
        async with asyncio.timeout(order.within_s), Talk(here.address) as talk:
            before = await talk.ask("GET", "/health")
            answer = await talk.ask("POST", "/control/upstream", msgspec.json.encode(target))
    except NoAnswer as e:
        raise ActionFailed(f"{here.id}: {e.error}", hint="start it first, where it does not run") from e
    except TimeoutError as e:
        raise ActionFailed(f"{here.id}: no answer within {order.within_s:g} s") from e
    if answer.status == 409:
        raise ActionFailed(
            f"{here.id} has seen a later epoch than {order.epoch}: a later run took over",
            hint="`drctl runs list` shows it; this run must not go on",
        )
    if answer.status != 200:
        said = answer.body.decode(errors="replace")[:200]
        raise ActionFailed(f"{here.id}: /control/upstream answered {answer.status}: {said}")
    words = f"calls {towards.id}" if towards else "serves nobody"
    return Outcome(detail=f"{here.id} {words}", changed=_upstream(before) != centre)


def _upstream(health: Answer) -> str | None:
    try:
        return msgspec.json.decode(health.body, type=_Health).upstream
    except msgspec.MsgspecError:
        return None
