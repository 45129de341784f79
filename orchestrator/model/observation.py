"""What was seen of the world at one time. Pure and frozen; unknown is `None` and is never read as down."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property

from orchestrator.model.topology import Frozen, Role, Setting, Text


class Reach(StrEnum):
    """How an instance met a probe."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """The host answered that nobody listens: no server process takes connections there."""
    DENIED = "denied"
    """A server answered and would not let us in (a fence, a wrong password, starting up)."""
    SILENT = "silent"
    """No answer within the bound: down, frozen or cut off; it cannot be told which."""
    UNKNOWN = "unknown"
    """The probe itself could not be made (no address, no permission, our own fault)."""


class Downstream(Frozen, kw_only=True):
    """One standby as its source reports it."""

    centre: str
    sync: bool
    """The source waits for this standby's acknowledgement now."""
    streaming: bool
    position: int | None = None
    flush_lag_s: float | None = None


class Reading(Frozen, kw_only=True):
    """All that one probe of one instance saw. `None` means: could not tell, or does not apply to this kind."""

    instance: str
    reach: Reach
    took_s: float
    error: str = ""
    at: str = ""
    """UTC, RFC 3339, of a reading carried over from an earlier look; empty: taken with its snapshot."""
    barred: bool | None = None
    """Of a `denied` one: its access rules keep clients out (as a fence does). False: starting, full, wrong password."""
    role: Role | None = None
    writable: bool | None = None
    """It would take a client's write now (not in recovery, not read-only)."""
    epoch: int | None = None
    """Epoch of the last run that changed this instance; 0 where no run has."""
    timeline: int | None = None
    position: int | None = None
    """Position in bytes in the log: written (primary) or received and flushed (standby)."""
    replayed: int | None = None
    """Position in bytes that reads at a standby can see."""
    lag_s: float | None = None
    """Seconds that a standby's visible data is behind; 0 where it streams and has replayed all that it received."""
    upstream: str | None = None
    """Centre that it is set to receive from (database) or to call (app); empty for none."""
    receiving: bool | None = None
    """A standby has a live stream from its upstream."""
    downstreams: tuple[Downstream, ...] = ()
    sync_required: tuple[str, ...] | None = None
    """Centres of which a primary asks an acknowledgement before it acknowledges; empty: none."""
    routes_to: tuple[str, ...] | None = None
    """An entry: centres that it sends users to."""
    answers: bool | None = None
    """An app or entry: gave a right answer to a user's request, end to end."""
    clock_offset_s: float | None = None
    disk_free_bytes: int | None = None
    disk_total_bytes: int | None = None
    wal_retained_bytes: int | None = None
    """Largest amount of log kept back for a slot."""
    wal_limit_bytes: int | None = None
    """Above this a slot is lost; None: no limit or unknown."""
    slots_lost: tuple[str, ...] = ()
    last_heard_s: float | None = None
    """A standby: seconds since the last message of its upstream."""
    settings: tuple[Setting, ...] = ()
    """Settings and capacity that must match between primary and standby (`version` is one)."""

    def setting(self, name: str) -> str | None:
        """The value of a setting, or None."""
        return next((s.value for s in self.settings if s.name == name), None)


class Snapshot(Frozen, kw_only=True, dict=True):
    """All readings of one look, taken at once."""

    estate: str
    taken_at: str
    """UTC, RFC 3339."""
    took_s: float
    readings: tuple[Reading, ...]

    @cached_property
    def by_instance(self) -> Mapping[str, Reading]:
        return {r.instance: r for r in self.readings}

    def of(self, instance: str) -> Reading:
        """The reading of an instance; an `unknown` one where it was not looked at."""
        found = self.by_instance.get(instance)
        return found or Reading(instance=instance, reach=Reach.UNKNOWN, took_s=0.0, error="not looked at")


class Verdict(StrEnum):
    """Result of a check or condition. Only `pass` ever opens a gate."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Finding(Frozen, kw_only=True):
    """One judgement of a check about one subject (an instance, service, link or system)."""

    check: str
    subject: str
    verdict: Verdict
    reason: Text
    advice: Text = Text(en="", zh="")
