"""What the lab consists of: three centres, three systems, links and ports. Frozen data; no I/O.

`inventories/lab/topology.yaml` describes the same estate to the operator; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.model.topology import EDGE, Frozen

CENTRES = ("a", "b", "c")
HOST = "127.0.0.1"
DATABASE = "app"
SUPERUSER = "postgres"
APP_USER = "app"
"""Whom apps connect as: when their waiting writes take up every connection, the operator still gets in."""


class LabLink(Frozen):
    """A network between two centres with its delay one way in milliseconds."""

    ends: tuple[str, str]
    delay_ms: float


LINKS = (
    LabLink(ends=("a", "b"), delay_ms=1.0),
    LabLink(ends=("a", "c"), delay_ms=15.0),
    LabLink(ends=("b", "c"), delay_ms=15.0),
)


class LabSystem(Frozen):
    """One system: where its database is written, its synchronous standby, and the cascaded copy."""

    id: str
    primary: str
    sync: str
    cascade: str
    serving: tuple[str, ...]
    """Centres whose app serves users from the start."""
    depends_on: tuple[str, ...] = ()

    def source_of(self, centre: str) -> str:
        """The centre that the database in `centre` receives from; empty for the primary."""
        return {self.sync: self.primary, self.cascade: self.sync}.get(centre, "")


SYSTEMS = (
    LabSystem(id="legal-person", primary="a", sync="b", cascade="c", serving=("a", "b")),
    LabSystem(id="sharing", primary="a", sync="b", cascade="c", serving=("a", "b"), depends_on=("legal-person",)),
    LabSystem(id="open-data", primary="b", sync="a", cascade="c", serving=("a", "b")),
)


FILES_OF = "legal-person"
"""The system that keeps objects (`drctl lab up --buckets`)."""
BUCKET = "files"
FILES = f"{FILES_OF}/{BUCKET}"
"""Its bucket service; one instance in each centre."""
ZONE_PORTS = ("rgw", "sync", "mon1", "mon2")
"""What listens in each centre's zone of object storage."""
SCANS = tuple(f"scans/{number:04}" for number in range(1, 21))
"""Objects that rows name from the start."""


STATE = LabSystem(id="state", primary="a", sync="b", cascade="c", serving=())
"""The team's state store (`drctl lab up --state-store`): three databases more, and no system of the estate."""


class Place(Frozen):
    """One instance of the lab: a service of a system in a centre."""

    system: str
    service: str
    centre: str

    @property
    def id(self) -> str:
        return f"{self.system}/{self.service}@{self.centre}"

    @property
    def folder(self) -> str:
        """Path below the lab's root; a process belongs to the centre whose folder it works in."""
        return f"{self.centre}/{self.system}/{self.service}"


def databases() -> Iterator[Place]:
    """The nine databases."""
    return (Place(system=s.id, service="db", centre=c) for s in SYSTEMS for c in CENTRES)


def state_store() -> tuple[Place, ...]:
    """The three databases of the state store, whether it is up or not."""
    return tuple(Place(system=STATE.id, service="db", centre=c) for c in CENTRES)


def apps() -> Iterator[Place]:
    """The nine apps."""
    return (Place(system=s.id, service="app", centre=c) for s in SYSTEMS for c in CENTRES)


def entries() -> Iterator[Place]:
    """The three entries, which stand outside every centre."""
    return (Place(system=s.id, service="entry", centre=EDGE) for s in SYSTEMS)


def places() -> tuple[Place, ...]:
    """Every instance of the lab."""
    return (*databases(), *apps(), *entries())


def place(instance: str) -> Place | None:
    """The place of an instance's id, or None."""
    return next((p for p in (*places(), *state_store()) if p.id == instance), None)


def system(name: str) -> LabSystem:
    """A system by id; raises KeyError where there is none."""
    return {s.id: s for s in (*SYSTEMS, STATE)}[name]


def route(viewer: str, target: str) -> str:
    """Name of the relay's port through which centre `viewer` sees instance `target`."""
    return f"{viewer}>{target}"


def zone_port(centre: str, what: str) -> str:
    """Name of a port of a centre's object storage."""
    return f"zone-{what}@{centre}"


def port_names() -> tuple[str, ...]:
    """Everything that listens on a TCP port: the instances, a relay port per database and other centre, the zones.

    The state store's ports are kept free also where it is not up, so that it can be added to a lab; and so are those of
    object storage.
    """
    stored = (*databases(), *state_store())
    routes = (route(viewer, p.id) for p in stored for viewer in CENTRES if viewer != p.centre)
    zones = (zone_port(centre, what) for centre in CENTRES for what in ZONE_PORTS)
    return (*(p.id for p in places()), *(p.id for p in state_store()), *routes, *zones)
