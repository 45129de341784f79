"""Keeps a run in its team's store while this process carries it out: ships the journal, renews the lease.

The rules (docs/adr/0006-takeover.md):
- an effect begins only when its start is on the local disk and committed in the store, held by its synchronous copy;
- a store that does not confirm within PATIENCE_S does not hold the recovery up: it goes on by the local journal, says
  so in the journal, and ships later, as long as the lease holds by our own clock. Effects that must not happen twice
  are not begun meanwhile;
- when the lease has not been renewed in time, nothing more is begun. The store may come back within COMES_BACK_S;
- when the store says that the run has another epoch, nothing is written or begun ever again.

`keep` is called in the executor's disk thread and may wait; `superseded` and `news` never wait.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from orchestrator.errors import DrctlError
from orchestrator.evidence.journal import Entry, JournalFailed, Superseded
from orchestrator.model.run import Event, Record
from orchestrator.team import store
from orchestrator.team.address import Host, StoreAddress
from orchestrator.team.lease import RENEW_S, Lease
from orchestrator.team.session import Line, StoreAway, connect_primary
from orchestrator.team.store import Controller

PATIENCE_S = 1.0
"""A shipment that is not confirmed within this is not waited for."""
COMES_BACK_S = 30.0
"""Nothing is begun without a lease; for so long the run waits for the store before it stops, resumable."""
RETRY_S = 0.3
LOOK_S = 10.0
"""The store's own instances are looked at this often: what a take-over proves its promotion by."""


class LeaseLost(JournalFailed):
    """This controller could not renew its lease in time, and begins nothing more."""


_HINT = "`drctl takeover RUN` from a centre that reaches the store, or `drctl runs resume RUN` when it is back"


class Keeper:
    """A run's place in the team's store, for as long as this process owns the run."""

    def __init__(
        self, address: StoreAddress, run: str, who: Controller, *, look: Callable[[], str] | None = None
    ) -> None:
        """`look`: sees the store's own instances, as JSON of a Snapshot; called in a thread."""
        self.address, self.run, self.who = address, run, who
        self.epoch = 0
        self.primary: Host | None = None
        self.revive: Callable[[str], None] | None = None
        """Brings the store back where its primary stands in a centre that this very run takes as lost; given the last
        look at the store's instances."""
        self._look, self._looked_s, self._seen = look, 0.0, ""
        self._lease = Lease(sent_s=float("-inf"))
        self._unshipped: dict[int, str] = {}
        self._ship_line: Line | None = None
        self._renew_line: Line | None = None
        self._away = ""
        self._superseded = ""
        self._alone = False
        self._news: list[Entry] = []
        self._state = threading.Condition()
        self._shipping = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._attend, name="lease", daemon=True)

    def begin(self, take: Callable[[Line], int]) -> int:
        """Connect, own the run, and renew from now on; the epoch.

        Args:
            take: owns the run through a connection to the primary, and gives the epoch.

        Raises:
            StoreAway: there is no primary.
            Refused: another controller owns the run.
        """
        line, self.primary = connect_primary(self.address, f"drctl {self.run}")
        try:
            store.prepare(line)
            sent_s = time.monotonic()
            self.epoch = take(line)
        except BaseException:
            line.close()
            raise
        self._ship_line = line
        self._lease = self._lease.renewed(sent_s)
        self._thread.start()
        return self.epoch

    @property
    def url(self) -> str:
        """URL of the store's primary alone, for the durable-execution library."""
        assert self.primary is not None
        return self.address.dsn(self.primary)

    @property
    def away(self) -> str:
        """Why the store does not answer; empty where it does."""
        return self._away

    def keep(self, records: Sequence[Record]) -> None:
        """Bring records into the store; without it go on by the rules of this module.

        Raises:
            Superseded: the run has another owner now.
            LeaseLost: the lease ran out, and the store did not come back.
            Tampered: the store holds another journal.
        """
        with self._state:
            self._unshipped.update((r.seq, msgspec.json.encode(r).decode()) for r in records)
        if not self._away:
            self._ship_now()
        self._wait_for_lease()

    def held(self, seq: int) -> bool:
        """Whether the store holds every record up to a number."""
        with self._state:
            return all(waiting > seq for waiting in self._unshipped)

    def superseded(self) -> str:
        """Why nothing may be written any more; empty where it may."""
        return self._superseded

    def news(self) -> tuple[Entry, ...]:
        """What has to be said of the store in the journal; each is given once."""
        with self._state:
            told, self._news = tuple(self._news), []
        return told

    def note(self, manner: str) -> None:
        """Keep how the run is carried out; best effort."""
        with contextlib.suppress(StoreAway), self._shipping:
            store.keep_manner(self._line(), self.run, manner)

    def end(self) -> None:
        """Ship what is left, give the lease back, and let go; never raises, and waits 3 s at most."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(RENEW_S)
        with contextlib.suppress(StoreAway, DrctlError):
            if not self._superseded and not self._away:
                self._ship_now()
                store.give_back(self._line(), self.run, self.epoch)
        for line in (self._ship_line, self._renew_line):
            if line is not None:
                line.close()

    def _ship_now(self) -> None:
        with self._shipping:
            with self._state:
                waiting = sorted(self._unshipped.items())
            if not waiting:
                return
            try:
                done = store.ship(self._line(), self.run, self.epoch, waiting, PATIENCE_S)
            except StoreAway as error:
                self._drop_ship_line()
                self._left(error.message)
                return
            with self._state:
                if not done.current:
                    self._overtaken()
                for seq, _ in waiting:
                    self._unshipped.pop(seq, None)
                self._say_alone(done.held)
                self._state.notify_all()

    def _overtaken(self) -> None:
        self._superseded = f"run {self.run} has been taken over in the state store (this executor had {self.epoch})"

    def _say_alone(self, held: bool) -> None:
        if self._alone == (not held):
            return
        self._alone = not held
        text = (
            "the state store has no synchronous copy: the journal is held in one centre"
            if self._alone
            else ("the state store has a synchronous copy again")
        )
        self._news.append(Entry(event=Event.STORE_ALONE if self._alone else Event.STORE_BACK, detail=text))

    def _line(self) -> Line:
        if self._ship_line is None:
            assert self.primary is not None
            self._ship_line = Line(self.address.dsn(self.primary), f"drctl {self.run}", PATIENCE_S)
        return self._ship_line

    def _drop_ship_line(self) -> None:
        if self._ship_line is not None:
            self._ship_line.close()
            self._ship_line = None

    def _left(self, why: str) -> None:
        with self._state:
            if self._away:
                return
            self._away = why
            left_s = max(0.0, self._lease.left_s(time.monotonic()))
            text = f"the state store does not confirm ({why}); going on by the local journal for {left_s:.1f} s at most"
            self._news.append(Entry(event=Event.STORE_AWAY, detail=text))
            self._state.notify_all()

    def _wait_for_lease(self) -> None:
        """Until an effect may be begun: at once where the lease holds."""
        until_s = time.monotonic() + COMES_BACK_S
        with self._state:
            while not self._superseded:
                now_s = time.monotonic()
                if self._lease.holds(now_s):
                    return
                if now_s >= until_s:
                    raise LeaseLost(
                        f"the lease of run {self.run} ran out and the state store is away: {self._away}", hint=_HINT
                    )
                self._state.wait(min(0.2, until_s - now_s))
        raise Superseded(self._superseded, hint=f"follow the other executor with `drctl runs show {self.run}` there")

    def _attend(self) -> None:
        """The thread: renew; where the store is away, look for it again."""
        while not self._stop.is_set() and not self._superseded:
            try:
                self._renew()
            except StoreAway as error:
                self._drop_renew_line()
                self._left(error.message)
            except DrctlError as error:
                with self._state:
                    self._superseded = error.message
                    self._state.notify_all()
            if self._away and self.revive is not None and self._seen:
                with contextlib.suppress(Exception):  # refused: the store stays away, and the lease decides
                    self.revive(self._seen)
            self._stop.wait(RETRY_S if self._away else RENEW_S)

    def _renew(self) -> None:
        if self._renew_line is None:
            self._renew_line, self.primary = connect_primary(self.address, f"drctl {self.run}")
        sent_s = time.monotonic()
        current = store.renew(self._renew_line, self.run, self.epoch, self._store_look(), RENEW_S / 2)
        with self._state:
            if not current:
                self._overtaken()
                self._state.notify_all()
                return
            self._lease = self._lease.renewed(sent_s)
            was_away, self._away = self._away, ""
        if was_away:
            self._back()

    def _back(self) -> None:
        self._drop_ship_line()
        self._ship_now()
        with self._state:
            if not self._away:
                self._news.append(
                    Entry(event=Event.STORE_BACK, detail="the state store is back, and holds the journal")
                )
            self._state.notify_all()

    def _store_look(self) -> str:
        if self._look is None or (self._looked_s and time.monotonic() - self._looked_s < LOOK_S):
            return ""
        self._looked_s = time.monotonic()
        with contextlib.suppress(Exception):
            self._seen = self._look()
            return self._seen
        return ""

    def _drop_renew_line(self) -> None:
        if self._renew_line is not None:
            self._renew_line.close()
            self._renew_line = None
