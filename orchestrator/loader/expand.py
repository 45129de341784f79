"""Turns templates, groups and defaults into one draft per system. Leaves out: whether what they say makes sense."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from msgspec import UNSET

from orchestrator.loader.files import (
    GroupFile,
    MemberFile,
    ProfileFile,
    ServiceFile,
    SystemFile,
    TextFile,
    TopologyFile,
)
from orchestrator.model.topology import Text
from orchestrator.yamlfile import Problems, Where, did_you_mean, shown

_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
_IDENTIFIER: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Layer(NamedTuple):
    """One of the places that a system takes its values from."""

    where: Where
    profile: ProfileFile
    services: Mapping[str, ServiceFile]


class Draft(NamedTuple):
    """A system with the layers that describe it, the nearest first."""

    id: str
    where: Where
    name: Text
    title: Text
    """What {name} stands for: the member's name, or the system's."""
    group: str
    template: str
    words: Mapping[str, str]
    """Variables that patterns may use."""
    layers: tuple[Layer, ...]
    depends_on: tuple[tuple[Where, str], ...]

    def nearest(self, key: str) -> tuple[object, Where]:
        """The value of a profile's key in the nearest layer that has it, and where it stands; UNSET for none."""
        for layer in self.layers:
            value = getattr(layer.profile, key)
            if value is not UNSET:
                return value, (*layer.where, key)
        return UNSET, self.where

    def service_names(self) -> list[str]:
        """Names of its services: the template's first, in its order."""
        return list(dict.fromkeys(name for layer in reversed(self.layers) for name in layer.services))

    def service_layers(self, name: str) -> list[tuple[Where, ServiceFile]]:
        """What each layer says of one service, the nearest first."""
        found = ((layer, layer.services.get(name)) for layer in self.layers)
        return [((*layer.where, "services", name), service) for layer, service in found if service is not None]


def text_of(file: TextFile) -> Text:
    """A name of the file as the model's."""
    return Text(en=file.en, zh=file.zh)


def fill(pattern: str, words: Mapping[str, str], where: Where, problems: Problems) -> str:
    """The pattern with its {variables} filled in; an unknown one is noted."""
    if "{" not in pattern:
        return pattern

    def value(found: re.Match[str]) -> str:
        if found[1] not in words:
            problems.add(where, f"unknown variable {shown(found[0])}", did_you_mean(found[1], words))
        return words.get(found[1], "")

    return _VARIABLE.sub(value, pattern)


def fill_text(pattern: TextFile, title: Text, words: Mapping[str, str], where: Where, problems: Problems) -> Text:
    """A pattern in both languages with its {variables} filled in; {name} is the title in each language."""
    return Text(
        en=fill(pattern.en, {**words, "name": title.en}, (*where, "en"), problems),
        zh=fill(pattern.zh, {**words, "name": title.zh}, (*where, "zh"), problems),
    )


def drafts(file: TopologyFile, problems: Problems) -> list[Draft]:
    """One draft per system and group member, in file order; double identifiers are noted."""
    found: dict[str, Draft] = {}
    for draft in (*_systems(file, problems), *_members(file, problems)):
        if draft.id in found:
            first = problems.source.place(found[draft.id].where)
            problems.add(
                draft.where, f"duplicate system id {shown(draft.id)}", f"it stands first at {first}", of_key=True
            )
        found.setdefault(draft.id, draft)
    for group in file.groups:
        if group in found:
            hint = "a group and a system need different names, so that `depends_on` is clear"
            problems.add(("groups", group), f"`{group}` is the id of a system too", hint, of_key=True)
    return list(found.values())


def _systems(file: TopologyFile, problems: Problems) -> Iterator[Draft]:
    for name, system in file.systems.items():
        where: Where = ("systems", name)
        own = Layer(where, system, system.services)
        template, below = _template(file, where, system, problems)
        yield Draft(
            id=name,
            where=where,
            name=text_of(system.name),
            title=text_of(system.name),
            group="",
            template=template,
            words={"estate": file.estate, "system": name},
            layers=(own, *below, Layer(("defaults",), file.defaults, {})),
            depends_on=tuple(_depends(where, system.depends_on)),
        )


def _members(file: TopologyFile, problems: Problems) -> Iterator[Draft]:
    for name, group in file.groups.items():
        for member in group.members:
            yield _member(file, name, member, problems)


def _member(file: TopologyFile, name: str, member: str, problems: Problems) -> Draft:
    group, entry = file.groups[name], file.groups[name].members[member]
    outer: Where = ("groups", name)
    where: Where = (*outer, "members", member)
    words = {"estate": file.estate, "group": name, "member": member}
    system = fill(group.system_id, words, (*outer, "system_id"), problems)
    if not _IDENTIFIER.fullmatch(system):
        problems.add(
            (*outer, "system_id"), f"{shown(system)} is not an identifier", "use lower-case letters, digits, hyphens"
        )
    chosen, at = (entry, where) if entry.template is not UNSET else (group, outer)
    template, below = _template(file, at, chosen, problems)
    title = Text(en=entry.en, zh=entry.zh)
    return Draft(
        id=system,
        where=where,
        name=fill_text(group.system_name, title, words, (*outer, "system_name"), problems),
        title=title,
        group=name,
        template=template,
        words={**words, "system": system},
        layers=(
            Layer(where, entry, entry.services),
            Layer(outer, group, group.services),
            *below,
            Layer(("defaults",), file.defaults, {}),
        ),
        depends_on=(*_depends(outer, group.depends_on), *_depends(where, entry.depends_on)),
    )


def _template(
    file: TopologyFile, where: Where, user: SystemFile | GroupFile | MemberFile, problems: Problems
) -> tuple[str, tuple[Layer, ...]]:
    name = user.template
    if not isinstance(name, str):
        return "", ()
    template = file.templates.get(name)
    if template is None:
        problems.add((*where, "template"), f"unknown template `{name}`", did_you_mean(name, file.templates))
        return name, ()
    return name, (Layer(("templates", name), template, template.services),)


def _depends(where: Where, names: tuple[str, ...]) -> Iterator[tuple[Where, str]]:
    return (((*where, "depends_on", index), name) for index, name in enumerate(names))
