"""How long a controller may act: the arithmetic of a lease, with nothing but its own monotonic clock. Pure.

A lease is `length_s` long by the store's clock. The store sets its end some time after the controller sent the
renewal, so by the controller's own clock it certainly lasts until `sent + length_s`. It acts for `margin_s` less than
that: for a clock that runs slow, and for the last thing that it has just begun. Nobody else may act before the lease
has run out, so at most one may act at any time, as long as no clock is slower by more than margin/length.

Leaves out: who else refuses (the store by its epoch, the instances by theirs), what happens on expiry (keeper).
"""

from __future__ import annotations

from orchestrator.model.topology import Frozen

LEASE_S = 5.0
"""A take-over waits so long for a silent controller; a controller without its store acts on for a second less."""
MARGIN_S = 1.0
RENEW_S = LEASE_S / 3


class Lease(Frozen, kw_only=True):
    """What a controller knows of its own lease; times in seconds of its monotonic clock."""

    sent_s: float
    """When the last renewal that was confirmed had been sent."""
    length_s: float = LEASE_S
    margin_s: float = MARGIN_S

    def left_s(self, now_s: float) -> float:
        """Seconds for which effects may still be begun; 0 or less: none."""
        return self.sent_s + self.length_s - self.margin_s - now_s

    def holds(self, now_s: float) -> bool:
        """Whether an effect may be begun now."""
        return self.left_s(now_s) > 0

    def renewed(self, sent_s: float) -> Lease:
        """After a confirmed renewal; one that was sent earlier than the last one changes nothing."""
        return Lease(sent_s=max(self.sent_s, sent_s), length_s=self.length_s, margin_s=self.margin_s)


STRIDE = 1000
"""The store gives out epochs that are multiples of this. A home that goes on without the store counts on from the last
one by ones (at most 999 times), so whoever takes over through the store outranks it at every instance."""


def next_team_epoch(known: int, at_least: int = 0) -> int:
    """The next epoch that the store gives out, above all that were."""
    return (max(known, at_least) // STRIDE + 1) * STRIDE
