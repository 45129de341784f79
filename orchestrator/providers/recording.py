"""Actors of a rehearsal: they write down what they are told, and hold nothing that could change anything.

This module imports no provider, so that a rehearsal's actors have no way to a real one.
"""

from __future__ import annotations

from orchestrator.model.plan import Verb
from orchestrator.model.topology import Kind, Nature
from orchestrator.providers.base import Order, Outcome, Unsupported

_EVERY = frozenset({Verb.START, Verb.STOP, Verb.RUN_PLAYBOOK})
VERBS: dict[Nature, frozenset[Verb]] = {
    Nature.REPLICATED: _EVERY | {Verb.FENCE, Verb.UNFENCE, Verb.PROMOTE, Verb.DEMOTE, Verb.REPOINT, Verb.REJOIN},
    Nature.ACTIVE: _EVERY | {Verb.REPOINT},
    Nature.ROUTE: frozenset({Verb.REDIRECT}),
}
"""Verbs that services of a nature have."""


class Recording:
    """Records orders for one kind of service, in the order in which they came."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.orders: list[tuple[Verb, Order]] = []

    async def act(self, verb: Verb, order: Order) -> Outcome:
        """Write the order down.

        Raises:
            Unsupported: a service of this nature has no such verb, so that a rehearsal finds what a live run would.
        """
        if verb not in VERBS[self.kind.nature]:
            raise Unsupported(f"a {self.kind.name} instance has no {verb.value}")
        self.orders.append((verb, order))
        towards = f" towards {', '.join(i.id for i in order.towards)}" if order.towards else ""
        return Outcome(detail=f"rehearsal: would {verb.value} {order.instance.id}{towards}", changed=False)
