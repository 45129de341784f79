"""Brings a team's state store back whose primary is gone: promotes its synchronous standby, by the same proofs as any.

What licenses it is what licenses every promotion here (checks/promotion.py): the standby is detached, so the lost
primary, which asked for nobody else's acknowledgement, can confirm nothing any more; and the standby holds all that was
confirmed. In addition a majority of observers must say that the primary's centre is lost, or two people must say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from orchestrator.checks.conditions import judge
from orchestrator.checks.evidence import Evidence
from orchestrator.errors import DrctlError, PartialState, Refused
from orchestrator.model.observation import Reach, Snapshot, Verdict
from orchestrator.model.plan import Condition, Fact, Verb
from orchestrator.model.topology import Frozen, Instance, Role
from orchestrator.model.view import CentreState
from orchestrator.providers.base import Actor, Order, Prober
from orchestrator.team.address import KIND, StoreAddress
from orchestrator.team.eye import StoreEye
from orchestrator.team.lease import next_team_epoch
from orchestrator.team.session import Line, look, primary_of
from orchestrator.team.store import current_epoch

LOOK_S = 1.0
ACT_S = 5.0
COPY_S = 2.0
"""Bound of each act; a copy that has not become the synchronous one within it is gone on without."""


class Revived(Frozen, kw_only=True):
    """The store after its promotion."""

    primary: str
    """Instance that takes writes now."""
    lost: str
    copy: str = ""
    """Instance whose confirmation every commit waits for now; empty: there is none."""
    detached_s: float
    """Monotonic time at which the lost primary could confirm no renewal any more."""


def loser_and_heir(eye: StoreEye, before: Snapshot) -> tuple[Instance, Instance]:
    """The primary that was seen before and the one standby that it asked for.

    Raises:
        Refused: there was none, or several.
    """
    known = eye.topology.instance_by_id
    primaries = [r for r in before.readings if r.role is Role.PRIMARY and r.instance in known]
    if len(primaries) != 1:
        raise Refused(f"the state store had {len(primaries)} primaries when it was last seen", hint=_BY_HAND)
    was = primaries[0]
    heirs = [i for i in known.values() if (i.centre,) == was.sync_required]
    if len(heirs) != 1:
        why = f"the state store's primary {was.instance} did not wait for exactly one standby: nobody is proven whole"
        raise Refused(why, hint=_BY_HAND)
    return known[was.instance], heirs[0]


_BY_HAND = (
    "bring its primary back, or promote a copy by hand and accept what it lacks; `drctl runs resume` then goes on"
)


class Revival:
    """One attempt to bring the store back."""

    def __init__(
        self, eye: StoreEye, actor: Actor, before: Snapshot, epoch: int, *, tell: Callable[[str], None]
    ) -> None:
        """Prepare.

        Args:
            eye: looks at the store.
            actor: drives it.
            before: how it was seen while its primary answered.
            epoch: above all that the store gave out.
            tell: progress.

        Raises:
            Refused: who was the primary, and who holds all that it confirmed, cannot be told.
        """
        self._eye, self._actor, self._before, self._epoch, self._tell = eye, actor, before, epoch, tell
        self.lost, self.heir = loser_and_heir(eye, before)

    async def go(self, state: CentreState, approved_by: Sequence[str]) -> Revived:
        """Promote the store's synchronous standby.

        Args:
            state: what the observers say of the lost primary's centre.
            approved_by: people who say that it is gone, where the observers cannot tell.

        Raises:
            Refused: its primary answers, its centre is not known to be lost, or a proof fails; nothing was changed.
            PartialState: the promotion was begun and did not end.
        """
        _refuse_unless_gone(self.lost, state, approved_by)
        now = await self._eye.look(LOOK_S)
        if now.of(self.lost.id).reach is Reach.ANSWERED:
            why = f"the state store's primary {self.lost.id} answers: it is not lost"
            raise Refused(why, hint="`drctl check` its centre")
        self._refuse_unproven(_as_detached(now, self.heir))  # nothing is touched where it would not hold
        await self._detach()
        detached_s = time.monotonic()
        try:
            self._refuse_unproven(await self._eye.look(LOOK_S))
        except Refused:
            with contextlib.suppress(DrctlError):
                await self._actor.act(Verb.REPOINT, self._order(self.heir, (self.lost,)))
            raise
        await self._promote()
        return Revived(primary=self.heir.id, lost=self.lost.id, copy=await self._copy(), detached_s=detached_s)

    async def _detach(self) -> None:
        try:
            await self._actor.act(Verb.REPOINT, self._order(self.heir, ()))
        except DrctlError as error:
            raise Refused(f"the state store's {self.heir.id}: {error.message}", hint=_BY_HAND) from error

    def _refuse_unproven(self, now: Snapshot) -> None:
        evidence = Evidence(topology=self._eye.topology, now=now, before=self._before, epoch=self._epoch)
        asked = (
            Condition(fact=Fact.CANNOT_ACK, instance=self.lost.id, others=(self.heir.id,)),
            Condition(fact=Fact.HOLDS_ALL, instance=self.heir.id, others=(self.lost.id,)),
        )
        shut = [f for f in (judge(c, evidence) for c in asked) if f.verdict is not Verdict.PASS]
        if shut:
            why = "; ".join(f"{f.check}: {f.reason.en}" for f in shut)
            raise Refused(f"the state store's standby {self.heir.id} is not promoted: {why}", hint=_BY_HAND)

    async def _promote(self) -> None:
        try:
            await self._actor.act(Verb.PROMOTE, self._order(self.heir, ()))
        except DrctlError as error:
            why = f"the promotion of the state store's {self.heir.id} did not end: {error.message}"
            raise PartialState(why, hint="ask again: `drctl takeover`") from error
        self._tell(f"state store: {self.heir.id} is promoted; {self.lost.id} can confirm nothing any more")

    async def _copy(self) -> str:
        """Make a surviving copy the synchronous one, so that what is shipped is held in two centres again."""
        streaming = await self._streaming()
        for other in self._eye.topology.instances():
            if other.id in (self.heir.id, self.lost.id) or other.centre not in streaming:
                continue
            try:
                await self._actor.act(Verb.UNFENCE, self._order(other, (self.heir,)))
            except DrctlError as error:
                self._tell(f"state store: {other.id} does not become its synchronous copy: {error.message}")
                continue
            self._tell(f"state store: {other.id} is its synchronous copy")
            return other.id
        self._tell("state store: it has no synchronous copy; what is shipped is held in one centre only")
        return ""

    async def _streaming(self) -> set[str]:
        """Centres that the new primary sends to; a copy needs a moment to follow it onto its new timeline."""
        until_s = time.monotonic() + COPY_S
        while True:
            now = await self._eye.look(LOOK_S)
            found = {d.centre for d in now.of(self.heir.id).downstreams if d.streaming}
            if found or time.monotonic() > until_s:
                return found
            await asyncio.sleep(0.1)

    def _order(self, instance: Instance, towards: tuple[Instance, ...]) -> Order:
        return Order(
            run="state-store", step="revive", epoch=self._epoch, instance=instance, towards=towards, within_s=ACT_S,
            service=self._eye.topology.service_by_id[instance.service], artifacts=Path(),
        )  # fmt: skip


def _refuse_unless_gone(lost: Instance, state: CentreState, approved_by: Sequence[str]) -> None:
    if state is CentreState.LOST or (state is CentreState.UNKNOWN and len(approved_by) > 1):
        return
    if state is CentreState.REACHABLE:
        raise Refused(
            f"most observers reach centre {lost.centre}, where the state store's primary stands: it is not lost",
            hint="start the state store there, or look at this centre's own network",
        )
    raise Refused(
        f"whether centre {lost.centre}, where the state store's primary stands, is lost cannot be told: no majority of "
        "observers says so",
        hint="start `drctl worker` in the surviving centres, or let two people say so (--approved-by, twice)",
    )


def _as_detached(now: Snapshot, heir: Instance) -> Snapshot:
    """The world as it will be once the heir receives from nobody."""
    readings = (
        msgspec.structs.replace(r, upstream="", receiving=False) if r.instance == heir.id else r for r in now.readings
    )
    return msgspec.structs.replace(now, readings=tuple(readings))


def actor_of(actors: Mapping[str, Actor], kind: str) -> Actor:
    """The actor that drives the store.

    Raises:
        Refused: nothing drives this kind.
    """
    if kind not in actors:
        raise Refused(f"nothing drives a state store of kind {kind}")
    return actors[kind]


def declared(
    address: StoreAddress, probers: Mapping[str, Prober], actors: Mapping[str, Actor], lost: Collection[str]
) -> Callable[[str], None]:
    """For a run that takes centres as lost: brings the store back where its primary stands in one of them.

    The declaration, with the gates and approvals of the run's plan, stands for the observers' majority; the proofs are
    the same. The returned call is for a thread without a loop; it takes the last look at the store, as JSON, and does
    nothing where the store has a primary or where that stood elsewhere.

    Raises (the returned call):
        Refused, PartialState: as `Revival.go`.
    """

    def revive(seen: str) -> None:
        found = look(address)
        standby = next((s.host for s in found if not s.error), None)
        if primary_of(found) is not None or standby is None:
            return
        with closing(Line(address.dsn(standby), "drctl")) as line:
            epoch = next_team_epoch(current_epoch(line))
        before = msgspec.json.decode(seen, type=Snapshot)
        told: list[str] = []
        revival = Revival(StoreEye(address, probers), actor_of(actors, KIND), before, epoch, tell=told.append)
        if revival.lost.centre in lost:
            asyncio.run(revival.go(CentreState.LOST, ()))

    return revive
