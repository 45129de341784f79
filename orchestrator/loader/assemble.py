"""Reads a topology file into the model: parse, expand, build, judge, merge what a lab says. Reads top to bottom."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from orchestrator.errors import BadFile
from orchestrator.loader import judge
from orchestrator.loader.build import Builder, Built
from orchestrator.loader.expand import Draft, drafts, text_of
from orchestrator.loader.files import TopologyFile
from orchestrator.loader.overlay import merge_overlay
from orchestrator.loader.places import Places
from orchestrator.model.topology import EDGE, Centre, Group, Kind, Link, PlatformPart, Site, Topology
from orchestrator.yamlfile import Problems, Source, did_you_mean, read_yaml
from orchestrator.yamltypes import convert, seconds

TOPOLOGY_FILE: Final = "topology.yaml"
MAX_PARTS: Final = 200_000
"""Services, roles, parameters and dependencies after expansion; a hostile file of few lines could ask for billions."""


def load_topology(path: Path, kinds: Mapping[str, Kind], overlay: Path | None = None) -> Topology:
    """The topology of an estate.

    Args:
        path: the estate's folder, or its topology file.
        kinds: the kinds of service that a file may name, by name.
        overlay: endpoints.json of a lab; its addresses and parameters replace the file's. Left alone where the
            estate is not a lab's: a lab that happens to be up says nothing about it.

    Raises:
        BadFile: with every mistake found, each as file:line:column.
    """
    file = topology_file(path)
    if file != path and not os.path.lexists(file):
        raise BadFile(f"{file}: no such file", hint=f"an estate is a folder with a {TOPOLOGY_FILE}")
    topology = read_topology(read_yaml(file), kinds)
    return topology if overlay is None or not topology.lab else merge_overlay(topology, overlay, kinds)


def topology_file(path: Path) -> Path:
    """The file itself, for an estate's folder or the file."""
    return path / TOPOLOGY_FILE if os.path.isdir(path) else path  # Path.is_dir raises where it may not look


def read_topology(source: Source, kinds: Mapping[str, Kind]) -> Topology:
    """The topology of a parsed file.

    Raises:
        BadFile: with every mistake found.
    """
    file = convert(source, TopologyFile)
    problems = Problems(source, one_per_place=True)
    places = Places(file, problems)
    _judge_frame(file, problems)
    found = drafts(file, problems)
    places.refuse_unknown_layouts(found)
    problems.raise_if_any()
    _bound(file, found, problems)
    if not found:
        problems.add((), "no system is described", "expected `systems` or `groups`")
    built = _build(file, found, places, kinds)
    problems.raise_if_any()
    return _topology(file, built)


def _build(file: TopologyFile, found: Sequence[Draft], places: Places, kinds: Mapping[str, Kind]) -> list[Built]:
    problems = places.problems
    depends = judge.dependencies(found, file.groups, problems)
    builder = Builder(places, kinds)
    made = (builder.system(draft, depends[draft.id]) for draft in found)
    built = [one for one in made if one is not None]
    judge.served(built, found, problems)
    judge.named(built, problems)
    whole = problems.noted == 0
    for placed in (p for b in built for p in b.services):
        judge.copies(placed, problems)
    if problems.noted == 0:
        judge.objectives(built, places, problems)
    if whole:
        judge.addresses(built, problems)
    return built


def _judge_frame(file: TopologyFile, problems: Problems) -> None:
    """Sites, centres, links and layouts name each other rightly."""
    for name, centre in file.centres.items():
        if centre.site not in file.sites:
            hint = did_you_mean(centre.site, file.sites)
            problems.add(("centres", name, "site"), f"unknown site `{centre.site}`", hint)
    if EDGE in file.centres:
        problems.add(("centres", EDGE), f"`{EDGE}` means outside every centre", "choose another id", of_key=True)
    for name, link in file.links.items():
        _judge_link(file, name, link.ends, problems)
        if seconds(link.rtt_max) <= 0:
            problems.add(("links", name, "rtt_max"), "`rtt_max`: expected more than zero", "such as `5ms`")
    for part, stands in file.platform.items():
        for index, place in enumerate(stands.at):
            if place not in file.centres and place != EDGE:
                hint = did_you_mean(place, [*file.centres, EDGE])
                problems.add(("platform", part, "at", index), f"unknown centre `{place}`", hint)
    for name, layout in file.layouts.items():
        for place, stands_for in layout.items():
            at = ("layouts", name, place)
            if place in file.centres or place == EDGE:
                problems.add(at, f"the place `{place}` has the name of a centre", "choose another name", of_key=True)
            if stands_for not in file.centres:
                problems.add(at, f"unknown centre `{stands_for}`", did_you_mean(stands_for, file.centres))


def _judge_link(file: TopologyFile, name: str, ends: tuple[str, str], problems: Problems) -> None:
    for index, end in enumerate(ends):
        if end not in file.centres and end != EDGE:
            hint = did_you_mean(end, [*file.centres, EDGE])
            problems.add(("links", name, "ends", index), f"unknown centre `{end}`", hint)
    if ends[0] == ends[1]:
        problems.add(("links", name, "ends"), f"a link from `{ends[0]}` to itself", "a link has two ends")


def _bound(file: TopologyFile, found: Sequence[Draft], problems: Problems) -> None:
    """Refuse what would become too large; raises at once, before anything is made."""
    sizes: dict[tuple[str | int, ...], int] = {}
    members = {name: len(group.members) for name, group in file.groups.items()}
    total = 0
    for draft in found:
        for layer in draft.layers:
            if layer.where not in sizes:
                of = layer.services.values()
                sizes[layer.where] = sum(1 + len(s.roles) + len(s.params) + len(s.instances) for s in of)
            total += sizes[layer.where]
        total += sum(members.get(name, 1) for _, name in draft.depends_on)
        if total > MAX_PARTS:
            problems.add(draft.where, f"more than {MAX_PARTS} parts after expansion", "split the estate", of_key=True)
            problems.raise_if_any()


def _topology(file: TopologyFile, built: Sequence[Built]) -> Topology:
    return Topology(
        id=file.estate,
        name=text_of(file.name),
        lab=file.lab,
        sites=tuple(Site(id=name, name=text_of(title)) for name, title in file.sites.items()),
        centres=tuple(
            Centre(id=name, site=c.site, role=c.role, name=text_of(c.name)) for name, c in file.centres.items()
        ),
        links=tuple(
            Link(id=name, ends=link.ends, rtt_max_ms=seconds(link.rtt_max) * 1000, name=text_of(link.name))
            for name, link in file.links.items()
        ),
        systems=tuple(one.system for one in built),
        groups=tuple(Group(id=name, name=text_of(group.name)) for name, group in file.groups.items()),
        platform=tuple(
            PlatformPart(part=part, centres=stands.at, quorum=stands.needs) for part, stands in file.platform.items()
        ),
    )
