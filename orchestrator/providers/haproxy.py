"""HAProxy as an entry: one backend `app` whose servers are named by centre, driven through the admin socket.

Commands are those of the management guide, 9.3 (`show servers state`, `set server`, `shutdown sessions server`).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping

from orchestrator.crashpoint import outward
from orchestrator.model.observation import Reach, Reading
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance, Kind, Service
from orchestrator.providers.base import ActionFailed, Order, Outcome, Unsupported
from orchestrator.providers.http_request import NoAnswer, Talk, met
from orchestrator.providers.kinds import HAPROXY

BACKEND = "app"
_EPOCH = "proc.drctl_epoch"
_MAINTENANCE = 0x01 | 0x02 | 0x20
"""srv_admin_state: maintenance by command, inherited, or for a name that does not resolve.

0x04 (it was disabled in the configuration) stays for ever and says nothing of now.
"""
_ADMIN_S = 2.0
_SHOW = f"show servers state {BACKEND}; get var {_EPOCH}"


class HAProxy:
    """Prober and Actor of entries."""

    kind: Kind = HAPROXY

    async def read(self, service: Service, instance: Instance, within_s: float) -> Reading:
        """One look at one entry: what it is set to, and a user's request through it; never raises for a bad world."""
        began = time.monotonic()
        (routes, epoch, fault), (answers, reach, error) = await asyncio.gather(
            _routes(instance, within_s), _through(instance, within_s)
        )
        return Reading(
            instance=instance.id,
            reach=reach,
            took_s=time.monotonic() - began,
            error=error or fault,
            epoch=epoch,
            routes_to=routes,
            answers=answers,
        )

    async def act(self, verb: Verb, order: Order) -> Outcome:
        """Carry out redirect.

        Raises:
            Unsupported: any other verb.
            ActionFailed: it did not reach its end within the order's time.
        """
        if verb is not Verb.REDIRECT:
            raise Unsupported(f"a haproxy entry has no {verb.value}")
        try:
            async with asyncio.timeout(order.within_s):
                return await _redirect(order)
        except TimeoutError as e:
            raise ActionFailed(f"{order.instance.id}: no answer within {order.within_s:g} s") from e
        except NoAnswer as e:
            raise ActionFailed(
                f"{order.instance.id}: {e.error}", hint="is HAProxy up, and its admin socket open?"
            ) from e


async def command(instance: Instance, words: str) -> str:
    """Give commands, parted by `;`, to the admin socket; what it answers. Bound it by `asyncio.timeout`.

    Raises:
        NoAnswer: it cannot be reached.
    """
    path, address = instance.param("admin_socket"), instance.param("admin_address")
    outward()
    try:
        if path:
            reader, writer = await asyncio.open_unix_connection(path)
        elif address:
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host.strip("[]"), port)
        else:
            raise NoAnswer(Reach.UNKNOWN, "neither admin_socket nor admin_address is declared")
        try:
            writer.write(f"{words}\n".encode())
            return (await reader.read(-1)).decode(errors="replace")
        finally:
            writer.transport.abort()
    except OSError as e:
        raise met(e) from e


def admin_states(answer: str) -> Mapping[str, int]:
    """Administrative state of each server, from `show servers state`: a version, `# columns`, then a line a server."""
    lines = [line.split() for line in answer.splitlines()]
    header = next((words[1:] for words in lines if words[:1] == ["#"]), [])
    if not {"srv_name", "srv_admin_state"} <= set(header):
        return {}
    name, state = header.index("srv_name"), header.index("srv_admin_state")
    return {words[name]: int(words[state]) for words in lines if len(words) == len(header) and words[0] != "#"}


def active(states: Mapping[str, int]) -> tuple[str, ...]:
    """Servers that are not in maintenance."""
    return tuple(sorted(name for name, state in states.items() if not state & _MAINTENANCE))


def epoch_in(answer: str) -> int | None:
    """The epoch that the entry keeps in a variable of its process; None where no run has set it since its start."""
    found = re.search(rf"{re.escape(_EPOCH)}: type=\w+ value=<(\d+)>", answer)
    return int(found[1]) if found else None


async def _routes(instance: Instance, within_s: float) -> tuple[tuple[str, ...] | None, int | None, str]:
    """Where it sends users, its epoch, and what went wrong."""
    try:
        async with asyncio.timeout(min(within_s, _ADMIN_S)):
            answer = await command(instance, _SHOW)
    except NoAnswer as e:
        return None, None, f"admin socket: {e.error}"
    except TimeoutError:
        return None, None, "admin socket: no answer"
    states = admin_states(answer)
    if not states:
        return None, None, f"admin socket: no backend {BACKEND!r}: {answer.strip()[:100]}"
    return active(states), epoch_in(answer) or 0, ""


async def _through(instance: Instance, within_s: float) -> tuple[bool | None, Reach, str]:
    """Whether a user's request through the entry is answered rightly, and how the entry was met."""
    try:
        async with asyncio.timeout(within_s), Talk(instance.address) as talk:
            answer = await talk.ask("GET", "/ready")
    except NoAnswer as e:
        return (False if e.reach is Reach.REFUSED else None), e.reach, e.error
    except TimeoutError:
        return None, Reach.SILENT, f"no answer within {within_s:g} s"
    return answer.status == 200, Reach.ANSWERED, "" if answer.status == 200 else f"/ready: {answer.status}"


async def _redirect(order: Order) -> Outcome:
    """Open the way to the new servers, then close the others and end their sessions."""
    answer = await command(order.instance, _SHOW)
    states = admin_states(answer)
    seen = epoch_in(answer) or 0
    if seen > order.epoch:
        raise ActionFailed(
            f"{order.instance.id} has seen epoch {seen}, and this run's is {order.epoch}: a later run took over",
            hint="`drctl runs list` shows it; this run must not go on",
        )
    wanted = tuple(sorted(i.centre for i in order.towards))
    if missing := [name for name in wanted if name not in states]:
        raise ActionFailed(f"{order.instance.id}: backend {BACKEND!r} has no server {', '.join(missing)}")
    changed = active(states) != wanted
    said = await command(order.instance, "; ".join(_orders(states, wanted, order.epoch)))
    after = active(admin_states(await command(order.instance, _SHOW)))
    if after != wanted:
        raise ActionFailed(f"{order.instance.id} sends users to {', '.join(after) or 'nobody'}: {said.strip()[:200]}")
    return Outcome(detail=f"{order.instance.id} sends users to {', '.join(wanted) or 'nobody'}", changed=changed)


def _orders(states: Mapping[str, int], wanted: tuple[str, ...], epoch: int) -> list[str]:
    """The commands of a redirect.

    A server that was set up just now counts as healthy until its next check says otherwise, so that users need not wait
    for the checks' interval.
    """
    opened = [name for name in wanted if name in states]
    closed = [name for name in states if name not in wanted]
    return [
        f"experimental-mode on; set var {_EPOCH} int({epoch}); experimental-mode off",
        *(f"set server {BACKEND}/{name} state ready; set server {BACKEND}/{name} health up" for name in opened),
        *(f"set server {BACKEND}/{name} state maint; shutdown sessions server {BACKEND}/{name}" for name in closed),
    ]
