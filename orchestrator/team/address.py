"""Where a team's state store is: `postgresql://user@h1:p1,h2:p2,h3:p3/db?centres=a,b,c`, read without asking anyone.

Pure. The centres stand in the address itself, so that a take-over needs nobody who may be dark to find the store.
Its instances look like any other replicated service, so that the same provider promotes it by the same proofs.
"""

from __future__ import annotations

from itertools import pairwise
from urllib.parse import parse_qsl, quote, unquote, urlencode

from orchestrator.errors import Usage
from orchestrator.model.topology import (
    Centre,
    CentreRole,
    CopyMode,
    Frozen,
    Instance,
    Nature,
    Objective,
    Replication,
    Role,
    Service,
    Setting,
    Site,
    System,
    Text,
    Topology,
)

KIND = "postgresql"
SYSTEM = "state"
SERVICE = "state/db"
_SCHEMES = ("postgresql://", "postgres://")
_HINT = "postgresql://USER@HOST:PORT,HOST:PORT,HOST:PORT/DATABASE?centres=a,b,c"


class Host(Frozen, kw_only=True):
    """One server of the store."""

    address: str
    """host:port"""
    centre: str = ""
    """Empty where the address does not say."""


class StoreAddress(Frozen, kw_only=True):
    """A team's state store."""

    user: str
    """As it stands in the URL, quoted, a password included."""
    hosts: tuple[Host, ...]
    database: str
    params: tuple[tuple[str, str], ...] = ()

    @property
    def shown(self) -> str:
        """For people: without user and password."""
        return ",".join(h.address for h in self.hosts) + f"/{self.database}"

    def dsn(self, host: Host) -> str:
        """The URL of one server alone."""
        words = f"?{urlencode(self.params)}" if self.params else ""
        return f"postgresql://{self.user}@{host.address}/{quote(self.database)}{words}"

    def at(self, centre: str) -> Host | None:
        """The server in a centre."""
        return next((h for h in self.hosts if centre and h.centre == centre), None)

    def topology(self) -> Topology:
        """The store as a service with an instance for each server, for the provider that drives it.

        The order of the servers is the declared chain: primary, synchronous standby, cascaded copy.
        """
        centres = [h.centre for h in self.hosts]
        role = CentreRole.PRODUCTION
        user, _, _ = self.user.partition(":")
        params = (Setting(name="user", value=unquote(user)), Setting(name="database", value=self.database))
        instances = tuple(
            Instance(
                id=f"{SERVICE}@{h.centre}", service=SERVICE, centre=h.centre, address=h.address, params=params,
                role=Role.STANDBY if number else Role.PRIMARY,
            )
            for number, h in enumerate(self.hosts)
        )  # fmt: skip
        copies = tuple(
            Replication(source=s, target=t, mode=CopyMode.ASYNC if n else CopyMode.SYNC, lag_max_s=30.0 if n else 0.0)
            for n, (s, t) in enumerate(pairwise(centres))
        )
        name, goal = Text(en="State store", zh="状态库"), Objective(rto_s=10, rpo_s=0)
        service = Service(
            id=SERVICE, system=SYSTEM, name="db", kind=KIND, nature=Nature.REPLICATED, instances=instances,
            replications=copies,
        )  # fmt: skip
        system = System(
            id=SYSTEM, name=name, tier=1, owner=name, filing="", centre_loss=goal, site_loss=goal, depends_on=(),
            services=(service,),
        )  # fmt: skip
        return Topology(
            id=SYSTEM, name=name, sites=(Site(id=SYSTEM, name=name),), links=(), systems=(system,),
            centres=tuple(Centre(id=c, site=SYSTEM, role=role, name=Text(en=c, zh=c)) for c in centres),
        )  # fmt: skip


def is_team(state: str) -> bool:
    """Whether `--state` names a store that a team shares (SQLite is one home's own)."""
    return state.startswith(_SCHEMES)


def parse(state: str) -> StoreAddress:
    """Understand the URL of a team's store.

    Raises:
        Usage: it is none, or its centres do not fit its servers.
    """
    if not is_team(state):
        raise Usage("a team's state store is needed", hint=f"--state {_HINT}")
    rest, _, words = state.partition("://")[2].partition("?")
    authority, _, database = rest.partition("/")
    user, _, listed = authority.rpartition("@")
    params = dict(parse_qsl(words))
    centres = [c for c in params.pop("centres", "").split(",") if c]
    params.pop("target_session_attrs", None)  # the newest writable server is chosen here, not the first by the list
    addresses = [a if ":" in a.rpartition("]")[2] else f"{a}:5432" for a in listed.split(",") if a]
    if not addresses or not database:
        raise Usage(f"cannot read the state store's URL: no server or no database in {listed}/{database}", hint=_HINT)
    if centres and (len(centres) != len(addresses) or len(set(centres)) != len(centres)):
        raise Usage(f"the state store's URL names {len(addresses)} servers and centres {','.join(centres)}", hint=_HINT)
    places = centres or [""] * len(addresses)
    hosts = tuple(Host(address=a, centre=c) for a, c in zip(addresses, places, strict=True))
    return StoreAddress(
        user=user or "postgres", hosts=hosts, database=unquote(database), params=tuple(sorted(params.items()))
    )
