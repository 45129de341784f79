"""What the names of places stand for: centres, the places of a layout, and the edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.loader.expand import Draft
from orchestrator.loader.files import ServiceFile, TopologyFile
from orchestrator.model.topology import EDGE, Kind, Role
from orchestrator.yamlfile import Problems, Where, did_you_mean

ServiceLayers = Sequence[tuple[Where, ServiceFile]]
"""What each layer says of one service, the nearest first."""
Roles = Mapping[str, tuple[Role, Where]]
"""Declared role by centre, and where in the file it stands."""


class Places:
    """Resolves places to centres for one file."""

    def __init__(self, file: TopologyFile, problems: Problems) -> None:
        self.file = file
        self.problems = problems
        self._homeless: dict[str, Where] = {}
        """Places of a layout that a system without it speaks of: one cause, noted once."""
        self.order = {centre: index for index, centre in enumerate((*file.centres, EDGE))}

    def refuse_unknown_layouts(self, drafts: Sequence[Draft]) -> None:
        """Note layouts that systems name and that the file does not have."""
        for draft in drafts:
            name, where = draft.nearest("layout")
            if isinstance(name, str) and name not in self.file.layouts:
                self.problems.add(where, f"unknown layout `{name}`", did_you_mean(name, self.file.layouts))

    def layout(self, draft: Draft) -> Mapping[str, str]:
        """Places of the layout that a system uses."""
        name, _ = draft.nearest("layout")
        if not isinstance(name, str):
            return {}
        return self.file.layouts.get(name, {})

    def resolve(self, place: str, layout: Mapping[str, str], where: Where, *, of_key: bool = False) -> str | None:
        """The centre that a place stands for; an unknown one is noted."""
        centre = layout.get(place, place)
        if centre in self.order:
            return centre
        hint = did_you_mean(place, {*layout, *self.order})
        if any(place in other for other in self.file.layouts.values()):
            hint = f"`{place}` is a place of a layout: the system needs a `layout` that has it"
            where = self._homeless.setdefault(place, where)
        self.problems.add(where, f"unknown centre `{place}`", hint, of_key=of_key)
        return None

    def site(self, centre: str) -> str:
        """The city of a centre; the edge is a place of its own."""
        return self.file.centres[centre].site if centre in self.file.centres else EDGE


class ServiceScope(NamedTuple):
    """Everything that the parts of one service are read with."""

    places: Places
    id: str
    kind: Kind
    layers: ServiceLayers
    layout: Mapping[str, str]
    words: Mapping[str, str]
    """Variables that patterns may use."""

    @property
    def problems(self) -> Problems:
        return self.places.problems

    def resolve(self, place: str, where: Where, *, of_key: bool = False) -> str | None:
        """The centre that a place stands for; an unknown one is noted."""
        return self.places.resolve(place, self.layout, where, of_key=of_key)
