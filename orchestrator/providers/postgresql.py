"""PostgreSQL: reads a server, and drives it by SQL where time counts and by playbooks where the host must act."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from orchestrator.model.observation import Reading
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance, Kind, Service
from orchestrator.providers import postgresql_actions, postgresql_host, postgresql_reading
from orchestrator.providers.base import ActionFailed, Order, Outcome, PlaybookRunner, Unsupported
from orchestrator.providers.kinds import POSTGRESQL
from orchestrator.providers.playbook import run_named

SqlVerb = Callable[[Order], Awaitable[Outcome]]
HostVerb = Callable[[PlaybookRunner, Order], Awaitable[Outcome]]

_SQL: Mapping[Verb, SqlVerb] = {
    Verb.PROMOTE: postgresql_actions.promote,
    Verb.DEMOTE: postgresql_actions.demote,
    Verb.REPOINT: postgresql_actions.repoint,
}
_HOST: Mapping[Verb, HostVerb] = {
    Verb.FENCE: postgresql_host.fence,
    Verb.UNFENCE: postgresql_host.unfence,
    Verb.REJOIN: postgresql_host.rejoin,
    Verb.START: postgresql_host.start,
    Verb.STOP: postgresql_host.stop,
    Verb.RUN_PLAYBOOK: run_named,
}
_GRACE_S = 0.3
"""Every part of an act has the order's bound and its own words for when it is over; this holds the parts together."""
VERBS = frozenset(_SQL) | frozenset(_HOST)


class PostgreSQL:
    """Prober and Actor of PostgreSQL 17 and later (`drctl.epoch` is a setting of our own), physical replication."""

    kind: Kind = POSTGRESQL

    def __init__(self, playbooks: PlaybookRunner) -> None:
        self._playbooks = playbooks

    async def read(self, service: Service, instance: Instance, within_s: float) -> Reading:
        """One look at one server; see `postgresql_reading`."""
        return await postgresql_reading.read(service, instance, within_s)

    async def act(self, verb: Verb, order: Order) -> Outcome:
        """Carry out one verb.

        Raises:
            Unsupported: `redirect`, and the verbs of the executor.
            ActionFailed: it did not reach its end.
        """
        if verb not in VERBS:
            raise Unsupported(f"a postgresql instance has no {verb.value}", hint="an entry sends users elsewhere")
        try:
            async with asyncio.timeout(order.within_s + _GRACE_S):
                return await (_SQL[verb](order) if verb in _SQL else _HOST[verb](self._playbooks, order))
        except TimeoutError as e:
            raise ActionFailed(f"{order.instance.id}: {verb.value} not done within {order.within_s:g} s") from e
