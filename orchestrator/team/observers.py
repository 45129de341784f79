"""Views of the centres: this place's own look, the workers' by HTTP, and the witness'.

Views are asked of the observers themselves and not of the state store, because they are wanted most when that is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping

import msgspec

from orchestrator.model.observation import Reach, Snapshot
from orchestrator.model.topology import EDGE, Frozen, Instance, Service, System, Topology
from orchestrator.model.view import WITNESS, Sight, View
from orchestrator.observer import observe
from orchestrator.providers.base import Prober
from orchestrator.team.address import StoreAddress
from orchestrator.team.session import Line, StoreAway, look
from orchestrator.team.witness import Witness

LOOK_S = 1.0
LOOKS = 3
ASK_S = 1.0
MET = frozenset({Reach.ANSWERED, Reach.DENIED})
"""A server that lets nobody in is there all the same."""
MISSED = frozenset({Reach.SILENT, Reach.REFUSED})


class Worker(Frozen, kw_only=True):
    """A worker as the store knows it."""

    centre: str
    address: str
    """host:port at which it tells its views."""
    beat_s: float
    """Seconds since its last heartbeat, by the store's clock."""


class Views(Frozen, kw_only=True):
    """What a worker answers."""

    views: tuple[View, ...]


def as_seen_from(topology: Topology, centre: str) -> Topology:
    """The topology with the addresses that a centre has of the others."""

    def moved(instance: Instance) -> Instance:
        return msgspec.structs.replace(instance, address=instance.address_from(centre))

    def service(found: Service) -> Service:
        return msgspec.structs.replace(found, instances=tuple(moved(i) for i in found.instances))

    def system(found: System) -> System:
        return msgspec.structs.replace(found, services=tuple(service(v) for v in found.services))

    return msgspec.structs.replace(topology, systems=tuple(system(s) for s in topology.systems))


async def look_from(centre: str, topology: Topology, probers: Mapping[str, Prober]) -> tuple[View, ...]:
    """This observer's view of every other centre."""
    watched = watched_by(centre, topology)
    names = [i for found in watched.values() for i in found]
    snapshot = await observe(as_seen_from(topology, centre), probers, names, LOOK_S)
    return views_of(centre, watched, snapshot)


async def look_well_from(centre: str, topology: Topology, probers: Mapping[str, Prober]) -> tuple[View, ...]:
    """As `look_from`, again where the first look of a process, which loads the drivers, could not tell."""
    for _ in range(LOOKS - 1):
        views = await look_from(centre, topology, probers)
        if not any(v.sight is Sight.UNKNOWN for v in views):
            return views
    return await look_from(centre, topology, probers)


def watched_by(centre: str, topology: Topology) -> Mapping[str, tuple[str, ...]]:
    """Centre -> instances that an observer looks at: those of which it has an address of its own, else all.

    What is reached by a way that does not lead through the centre's own network says nothing about that network.
    """
    found: dict[str, tuple[str, ...]] = {}
    for other in (c.id for c in topology.centres if c.id != centre):
        there = [i for i in topology.instances() if i.centre == other and i.centre != EDGE and i.address]
        own = [i for i in there if any(v.centre == centre for v in i.seen_from)]
        found[other] = tuple(i.id for i in own or there)
    return found


def views_of(observer: str, watched: Mapping[str, Collection[str]], snapshot: Snapshot) -> tuple[View, ...]:
    """An observer's views by what a look showed."""
    return tuple(_view(observer, centre, names, snapshot) for centre, names in watched.items())


def _view(observer: str, centre: str, names: Collection[str], snapshot: Snapshot) -> View:
    readings = [snapshot.of(name) for name in names]
    answering = tuple(r.instance for r in readings if r.reach is Reach.ANSWERED)
    met = sum(r.reach in MET for r in readings)
    missed = sum(r.reach in MISSED for r in readings)
    sight = Sight.SEEN if met else Sight.UNSEEN if missed and missed == len(readings) else Sight.UNKNOWN
    why = f"{met} of {len(readings)} instances answer"
    return View(observer=observer, centre=centre, sight=sight, why=why, answering=answering)


def workers_of(line: Line) -> tuple[Worker, ...]:
    """Every worker that ever gave a heartbeat; also from a standby of the store."""
    rows = line.rows(
        "select centre, address, extract(epoch from clock_timestamp() - beat_at)::float8 from drctl.workers order by 1"
    )
    return tuple(Worker(centre=centre, address=address, beat_s=beat_s) for centre, address, beat_s in rows)


def worker_lives(url: str, centre: str, within_s: float) -> bool:
    """Whether a centre's worker gave a heartbeat within so many seconds; False where the store does not answer."""
    try:
        line = Line(url, "drctl")
    except StoreAway:
        return False
    try:
        return any(w.centre == centre and w.beat_s <= within_s for w in workers_of(line))
    except StoreAway:
        return False
    finally:
        line.close()


def known_workers(address: StoreAddress) -> tuple[Worker, ...]:
    """Every worker that any server of the store knows of; none where no server answers."""
    for seen in sorted(look(address), key=lambda s: (bool(s.error), not s.writable)):
        if not seen.error:
            with contextlib.suppress(StoreAway), contextlib.closing(Line(address.dsn(seen.host), "drctl")) as line:
                if line.rows("select to_regclass('drctl.workers') is not null")[0][0]:
                    return workers_of(line)
    return ()


class Watch:
    """Who observes an estate, and what they see now."""

    def __init__(
        self, address: StoreAddress, centre: str, topology: Topology, probers: Mapping[str, Prober],
        witness: Witness | None,
    ) -> None:  # fmt: skip
        """`centre`: where we stand; empty: nowhere, so that we have no view of our own."""
        self._address, self._centre, self._topology, self._probers = address, centre, topology, probers
        self._witness = witness

    @property
    def observers(self) -> tuple[str, ...]:
        """Everyone who has a vote, whether he uses it or not."""
        return (*self._topology.centre_by_id, *((WITNESS,) if self._witness else ()))

    async def views(self) -> tuple[View, ...]:
        """Our own view, the workers' and the witness', asked at once."""
        workers = await asyncio.to_thread(known_workers, self._address)
        others = [w for w in workers if w.centre != self._centre]
        told = await asyncio.gather(self._own(), ask_workers(others), self._witnessed([w.centre for w in workers]))
        return tuple(view for views in told for view in views)

    async def _own(self) -> tuple[View, ...]:
        if self._centre not in self._topology.centre_by_id:
            return ()
        return await look_well_from(self._centre, self._topology, self._probers)

    async def _witnessed(self, centres: Collection[str]) -> tuple[View, ...]:
        return await asyncio.to_thread(self._witness.views, centres) if self._witness else ()


async def ask_workers(workers: Iterable[Worker]) -> tuple[View, ...]:
    """The views of all workers that answer, asked at once and within a second."""
    told = await asyncio.gather(*(_ask(worker) for worker in workers))
    return tuple(view for views in told for view in views)


async def _ask(worker: Worker) -> tuple[View, ...]:
    import aiohttp

    limit = aiohttp.ClientTimeout(total=ASK_S)
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError):
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.get(f"http://{worker.address}/views") as got,
        ):
            answer = msgspec.json.decode(await got.read(), type=Views)
            return tuple(v for v in answer.views if v.observer == worker.centre)
    return ()
