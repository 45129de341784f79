"""What a topology file may hold, as types: the strict reading and the JSON Schema are both made of them.

Four layers give a system its values, the nearest wins: the system (or group member), its group, its template, the
defaults. Mappings (`roles`, `params`, `instances`, `services`) are merged key by key; everything else is replaced.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, field
from msgspec import UnsetType as Unset

from orchestrator.model.topology import CentreRole, CopyMode, Frozen, Part, Quorum
from orchestrator.yamltypes import Duration, Identifier

Scalar = str | int | float | bool
Params = dict[str, Scalar]
Reason = Annotated[str, Meta(min_length=8, max_length=500)]
Place = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="A centre, a place of the layout (such as `home`), or `edge` for outside every centre.",
        extra={"expected": "a centre, a place of the layout, or `edge`"},
    ),
]
Pattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=300,
        description="Text in which {estate}, {system}, {service}, {centre}, {site}, {member} and {name} are filled in.",
    ),
]
Word = Annotated[str, Meta(min_length=1, max_length=200)]
Filing = Annotated[Pattern, Meta(description="Filing number (备案号); begin with PLACEHOLDER until assigned.")]
Serves = Annotated[
    str, Meta(description="The service behind this one: app → database, entry → app; or SYSTEM/SERVICE.")
]
TemplateName = Annotated[Identifier, Meta(description="Where its services come from; none: `services` says all.")]
DependsOn = Annotated[
    tuple[Identifier, ...],
    Meta(description="Systems, or groups for all of their members, that must serve before this one."),
]
DeclaredRole = Literal["primary", "standby"]


class TextFile(Frozen, kw_only=True):
    """A name in both languages."""

    en: Word
    zh: Word


class ObjectiveFile(Frozen, kw_only=True):
    """Targets for one extent of loss, from the business impact analysis."""

    rto: Annotated[Duration, Meta(description="Time until users are served again; more than zero.")]
    rpo: Annotated[Duration, Meta(description="Age of the data that may be lost; `0s` for none.")]


class ProfileFile(Frozen, kw_only=True):
    """What a system inherits: each key may stand in the defaults, a template, a group or the system itself."""

    layout: Annotated[Identifier, Meta(description="Which centre plays which place of the template.")] | Unset = UNSET
    tier: Annotated[int, Meta(ge=1, le=9, description="1 is moved and checked first.")] | Unset = UNSET
    owner: Annotated[TextFile, Meta(description="Who answers for the system.")] | Unset = UNSET
    filing: Filing | Unset = UNSET
    centre_loss: Annotated[ObjectiveFile, Meta(description="Targets where one centre is lost.")] | Unset = UNSET
    site_loss: Annotated[ObjectiveFile, Meta(description="Targets where a whole city is lost.")] | Unset = UNSET


class ReplicationFile(Frozen, kw_only=True):
    """The directed copy between two instances of one service."""

    source: Place = field(name="from")
    target: Place = field(name="to")
    mode: CopyMode
    lag_max: Annotated[Duration, Meta(description="What an async copy stays below; none for sync.")] | Unset = UNSET
    across_cities: Annotated[bool, Meta(description="True permits a sync copy between cities; needs `reason`.")] = False
    reason: Reason | Unset = UNSET


class InstanceFile(Frozen, kw_only=True):
    """What is particular to a service in one centre."""

    address: Pattern | Unset = UNSET
    seen_from: Annotated[dict[Place, Pattern], Meta(description="Address as other centres see it (NAT, relay).")] = (
        field(default_factory=dict)
    )
    params: Params = field(default_factory=dict)


class ServiceFile(Frozen, kw_only=True):
    """One replicated part of a system; in a system or group, only what differs from the template."""

    kind: Annotated[str, Meta(description="Technology, as a provider declares it.")] | Unset = UNSET
    roles: Annotated[dict[Place, DeclaredRole], Meta(description="Where an instance stands, and as what.")] = field(
        default_factory=dict
    )
    serves: Serves | Unset = UNSET
    address: Annotated[Pattern, Meta(description="host:port or host:port/path of every instance.")] | Unset = UNSET
    params: Annotated[Params, Meta(description="Parameters of the kind; of every instance where it says no other.")] = (
        field(default_factory=dict)
    )
    instances: dict[Place, InstanceFile] = field(default_factory=dict)
    replications: tuple[ReplicationFile, ...] | Unset = UNSET


class TemplateFile(ProfileFile, kw_only=True):
    """Describes the services of one class of systems."""

    services: Annotated[dict[Identifier, ServiceFile], Meta(min_length=1)]


class SystemFile(ProfileFile, kw_only=True):
    """A protected business system (业务系统)."""

    name: TextFile
    template: TemplateName | Unset = UNSET
    depends_on: DependsOn = ()
    services: dict[Identifier, ServiceFile] = field(default_factory=dict)


class MemberFile(ProfileFile, kw_only=True):
    """One system of a group: its name, and what differs from the group."""

    en: Word
    zh: Word
    template: Identifier | Unset = UNSET
    depends_on: DependsOn = ()
    services: dict[Identifier, ServiceFile] = field(default_factory=dict)


class GroupFile(ProfileFile, kw_only=True):
    """Systems that are alike: one entry, many members."""

    name: Annotated[TextFile, Meta(description="Name of the group.")]
    template: Identifier
    system_id: Annotated[Pattern, Meta(description="Identifier of each member's system.")] = "{member}"
    system_name: Annotated[TextFile, Meta(description="Name of each member's system.")] = TextFile(
        en="{name}", zh="{name}"
    )
    depends_on: DependsOn = ()
    services: dict[Identifier, ServiceFile] = field(default_factory=dict)
    members: Annotated[dict[Identifier, MemberFile], Meta(min_length=1)]


class CentreFile(Frozen, kw_only=True):
    """A data centre."""

    site: Identifier
    role: CentreRole
    name: TextFile


class LinkFile(Frozen, kw_only=True):
    """A network between two centres, or from a centre to the outside (`edge`)."""

    ends: tuple[Identifier, Identifier]
    rtt_max: Annotated[Duration, Meta(description="Round trip that the link is declared to stay below.")]
    name: TextFile


class PlatformFile(Frozen, kw_only=True):
    """Where a part of the platform stands, and how many of its places must live."""

    at: Annotated[tuple[Identifier, ...], Meta(min_length=1, description="Centres, or `edge` for outside them all.")]
    needs: Quorum = Quorum.ANY


class TopologyFile(Frozen, kw_only=True):
    """One estate (全域): sites, centres, links and the systems that are protected."""

    estate: Identifier
    name: TextFile
    lab: Annotated[bool, Meta(description="True where a lab brings it up: faults may be injected.")] = False
    sites: Annotated[dict[Identifier, TextFile], Meta(min_length=1, description="Cities.")]
    centres: Annotated[dict[Identifier, CentreFile], Meta(min_length=1)]
    links: dict[Identifier, LinkFile] = field(default_factory=dict)
    layouts: Annotated[
        dict[Identifier, dict[Identifier, Identifier]], Meta(description="Places, such as `home`, to centres.")
    ] = field(default_factory=dict)
    defaults: ProfileFile = ProfileFile()
    templates: dict[Identifier, TemplateFile] = field(default_factory=dict)
    systems: dict[Identifier, SystemFile] = field(default_factory=dict)
    groups: dict[Identifier, GroupFile] = field(default_factory=dict)
    platform: Annotated[
        dict[Part, PlatformFile], Meta(description="What drctl itself rests on; judged by `drctl lint --dark`.")
    ] = field(default_factory=dict)


class EndpointFile(Frozen, kw_only=True):
    """Where one instance of a lab really is."""

    address: str
    seen_from: dict[str, str] = field(default_factory=dict)
    params: Params = field(default_factory=dict)


class OverlayFile(msgspec.Struct, frozen=True, kw_only=True):
    """endpoints.json of a lab; keys of other readers are left alone."""

    instances: dict[str, EndpointFile]
