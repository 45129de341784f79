"""What one topology file describes: sites, centres, systems, their services and replication.

Pure and frozen; no I/O. Leaves out: how it is read (loader), what is true now (observation).
Identifiers: a system is `legal-person`; a service `legal-person/db`; an instance `legal-person/db@a`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from typing import dataclass_transform

import msgspec

EDGE = "edge"
"""The pseudo-centre of instances that stand outside every centre (a carrier's DNS, a global load balancer)."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the domain's value types."""


class Text(Frozen, kw_only=True):
    """One sentence or name for people, in both languages."""

    en: str
    zh: str

    def of(self, lang: str) -> str:
        """The text in `lang` ("zh" or anything else for English)."""
        return self.zh if lang.startswith("zh") else self.en


class Setting(Frozen, kw_only=True):
    """A named value of a technology, kept as text (for example `max_connections` = `100`)."""

    name: str
    value: str


class CentreRole(StrEnum):
    """The part that a centre plays in two sites, three centres (两地三中心)."""

    PRODUCTION = "production"
    METRO = "metro"
    REMOTE = "remote"


class Role(StrEnum):
    """The part that an instance plays. An app that serves users is `primary`, one that waits is `standby`."""

    PRIMARY = "primary"
    STANDBY = "standby"
    DETACHED = "detached"


class Nature(StrEnum):
    """What the planner must know of a kind of service, so that the core names no technology."""

    REPLICATED = "replicated"
    """Holds data; exactly one writable primary, copies elsewhere (database, bucket, volume)."""
    ACTIVE = "active"
    """Holds no data of its own; may serve in several centres at once (app)."""
    ROUTE = "route"
    """Sends users to one or more instances of another service (DNS name, VIP, load balancer)."""


class CopyMode(StrEnum):
    """How a replication copies: acknowledged at both ends, or later."""

    SYNC = "sync"
    ASYNC = "async"


class Kind(Frozen, kw_only=True):
    """A kind of service, as the provider that drives it declares it."""

    name: str
    nature: Nature
    params: tuple[str, ...] = ()
    """Names that a service or instance of this kind may set in `params`."""


class Site(Frozen, kw_only=True):
    """A city; holds centres."""

    id: str
    name: Text


class Centre(Frozen, kw_only=True):
    """A data centre."""

    id: str
    site: str
    role: CentreRole
    name: Text


class Link(Frozen, kw_only=True):
    """A network between two centres, or from a centre to the outside."""

    id: str
    ends: tuple[str, str]
    rtt_max_ms: float
    name: Text


class Viewpoint(Frozen, kw_only=True):
    """The address of an instance as another centre sees it (NAT, relay); absent where it is the same."""

    centre: str
    address: str


class Instance(Frozen, kw_only=True):
    """A service in one centre."""

    id: str
    service: str
    centre: str
    role: Role
    """The declared role; what is true now is in an observation."""
    address: str
    """host:port for the operator, or empty where the estate does not say."""
    seen_from: tuple[Viewpoint, ...] = ()
    params: tuple[Setting, ...] = ()

    def address_from(self, centre: str) -> str:
        """The address to use from `centre`; the operator's own address where none is declared."""
        return next((v.address for v in self.seen_from if v.centre == centre), self.address)

    def param(self, name: str, default: str = "") -> str:
        """The value of a parameter, or `default`."""
        return next((s.value for s in self.params if s.name == name), default)


class Replication(Frozen, kw_only=True):
    """The directed copy between two instances of one service."""

    source: str
    """Centre that sends."""
    target: str
    """Centre that receives."""
    mode: CopyMode
    lag_max_s: float
    """The lag in seconds that this replication is declared to stay below (0 for sync)."""
    reason: str = ""
    """Why a sync copy goes across cities all the same; empty where none does."""


class Service(Frozen, kw_only=True):
    """One replicated part of a system."""

    id: str
    system: str
    name: str
    kind: str
    nature: Nature
    instances: tuple[Instance, ...]
    replications: tuple[Replication, ...] = ()
    serves: str = ""
    """Id of the service behind this one: app → database, entry → app; empty for a database."""
    params: tuple[Setting, ...] = ()

    def at(self, centre: str) -> Instance | None:
        """The instance in `centre`."""
        return next((i for i in self.instances if i.centre == centre), None)

    @property
    def primary(self) -> Instance | None:
        """The declared primary of a replicated service."""
        return next((i for i in self.instances if i.role is Role.PRIMARY), None)

    def param(self, name: str, default: str = "") -> str:
        """The value of a parameter, or `default`."""
        return next((s.value for s in self.params if s.name == name), default)


class Objective(Frozen, kw_only=True):
    """Approved targets of a system for one extent of loss (from its business impact analysis)."""

    rto_s: float
    rpo_s: float


class System(Frozen, kw_only=True):
    """A protected business system (业务系统)."""

    id: str
    name: Text
    tier: int
    owner: Text
    filing: str
    """Filing number (备案号); one that begins with `PLACEHOLDER` is marked as not yet assigned."""
    centre_loss: Objective
    """Targets where one centre is lost."""
    site_loss: Objective
    """Targets where a whole city is lost."""
    depends_on: tuple[str, ...]
    services: tuple[Service, ...]
    group: str = ""


class Group(Frozen, kw_only=True):
    """Systems that are alike, such as the data pools of the districts; `System.group` names it."""

    id: str
    name: Text


class Part(StrEnum):
    """What drctl and a recovery themselves rest on, beside the systems that they protect."""

    CONTROLLER = "controller"
    """Machines from which drctl can be run."""
    STATE = "state"
    """Store of the runs' state."""
    EVIDENCE = "evidence"
    """Where sealed evidence is kept."""
    SECRETS = "secrets"
    """Passwords and keys of databases, hosts and signatures."""
    IDENTITY = "identity"
    """Whoever operators log in with."""
    NAMES = "names"
    """Name servers (DNS) that resolve the addresses of instances."""


class Quorum(StrEnum):
    """How many of a part's places must live for it to work."""

    ANY = "any"
    MAJORITY = "majority"
    ALL = "all"


class PlatformPart(Frozen, kw_only=True):
    """Where one of them stands."""

    part: Part
    centres: tuple[str, ...]
    """EDGE for outside every centre."""
    quorum: Quorum = Quorum.ANY


class Topology(Frozen, kw_only=True, dict=True):
    """One estate (全域). `dict=True` lets the look-ups below be cached."""

    id: str
    name: Text
    sites: tuple[Site, ...]
    centres: tuple[Centre, ...]
    links: tuple[Link, ...]
    systems: tuple[System, ...]
    lab: bool = False
    """True for an estate that a lab brings up: faults may be injected, approvals are not asked for."""
    groups: tuple[Group, ...] = ()
    platform: tuple[PlatformPart, ...] = ()

    @cached_property
    def system_by_id(self) -> Mapping[str, System]:
        return {s.id: s for s in self.systems}

    @cached_property
    def service_by_id(self) -> Mapping[str, Service]:
        return {v.id: v for s in self.systems for v in s.services}

    @cached_property
    def instance_by_id(self) -> Mapping[str, Instance]:
        return {i.id: i for i in self.instances()}

    @cached_property
    def centre_by_id(self) -> Mapping[str, Centre]:
        return {c.id: c for c in self.centres}

    def services(self) -> Iterator[Service]:
        """Every service, in file order."""
        return (v for s in self.systems for v in s.services)

    def instances(self) -> Iterator[Instance]:
        """Every instance, in file order."""
        return (i for v in self.services() for i in v.instances)

    def same_site(self, a: str, b: str) -> bool:
        """Whether two centres stand in one city."""
        return self.centre_by_id[a].site == self.centre_by_id[b].site
