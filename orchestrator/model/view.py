"""What observers in several places see of a centre. Pure and frozen; an observer that could not look has no view."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.model.topology import Frozen

WITNESS = "witness"
"""Name of the observer that stands in no centre."""


class Sight(StrEnum):
    """What one observer sees of one centre."""

    SEEN = "seen"
    """Something in it answered."""
    UNSEEN = "unseen"
    """It was looked at, and nothing in it answered."""
    UNKNOWN = "unknown"
    """The observer could not look (its own fault, or nothing in it can be looked at)."""


class View(Frozen, kw_only=True):
    """One observer's view of one centre."""

    observer: str
    """A centre's id, or `witness`."""
    centre: str
    sight: Sight
    age_s: float = 0.0
    """Seconds since the look, by the observer's own monotonic clock."""
    why: str = ""
    answering: tuple[str, ...] = ()
    """Instances in it that answered the observer."""


class CentreState(StrEnum):
    """What all observers together say of a centre."""

    REACHABLE = "reachable"
    LOST = "lost"
    UNKNOWN = "unknown"
    """No majority for either: neither passes a gate nor licenses anything."""
