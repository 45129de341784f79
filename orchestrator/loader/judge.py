"""Judges what the parts of an estate say of each other: dependencies, replication paths, objectives, addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from orchestrator.loader.build import Built, Placed
from orchestrator.loader.copies import feeds
from orchestrator.loader.expand import Draft
from orchestrator.loader.places import Places
from orchestrator.model.objects import NAMED_BY, named_by
from orchestrator.model.topology import Nature, Objective, Role
from orchestrator.yamlfile import Problems, Where, did_you_mean, shown
from orchestrator.yamltypes import spell


def dependencies(drafts: Sequence[Draft], groups: Iterable[str], problems: Problems) -> Mapping[str, tuple[str, ...]]:
    """Systems that each system depends on, groups replaced by their members; unknown ones and a cycle are noted."""
    members: dict[str, list[str]] = {group: [] for group in groups}
    for draft in drafts:
        if draft.group:
            members[draft.group].append(draft.id)
    known = {draft.id for draft in drafts}
    found = {draft.id: _depends_on(draft, known, members, problems) for draft in drafts}
    _refuse_cycle(found, {draft.id: draft for draft in drafts}, problems)
    return found


def _depends_on(
    draft: Draft, known: set[str], members: Mapping[str, Sequence[str]], problems: Problems
) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for where, name in draft.depends_on:
        if name not in known and name not in members:
            problems.add(where, f"unknown system `{name}`", did_you_mean(name, known | members.keys()))
        found.update(dict.fromkeys(members.get(name, [name] if name in known else [])))
    return tuple(found)


def _refuse_cycle(graph: Mapping[str, tuple[str, ...]], drafts: Mapping[str, Draft], problems: Problems) -> None:
    cycle = _cycle(graph)
    if cycle:
        first = drafts[cycle[0]]
        where = next((w for w, name in first.depends_on if name == cycle[1]), None)
        where = where or next((w for w, _ in first.depends_on), first.where)
        hint = "`depends_on` names what must serve before this system: one of them is too many"
        problems.add(where, f"dependency cycle: {_named(cycle)}", hint)


def _cycle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """The nodes of one cycle, from a node along what it depends on back to itself; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def _named(cycle: Sequence[str]) -> str:
    names = cycle if len(cycle) <= 12 else [*cycle[:11], f"… ({len(cycle) - 12} more)", cycle[-1]]
    return " → ".join(names)


def served(built: Sequence[Built], drafts: Sequence[Draft], problems: Problems) -> None:
    """Note services that serve an unknown service, and a cycle of them."""
    known = {f"{draft.id}/{name}" for draft in drafts for name in draft.service_names()}
    graph: dict[str, list[str]] = {}
    places: dict[str, Where] = {}
    for placed in (p for b in built for p in b.services if p.service.serves):
        service = placed.service
        graph[service.id], places[service.id] = [service.serves], placed.serves
        if service.serves not in known:
            own = [name.partition("/")[2] for name in known if name.startswith(f"{service.system}/")]
            said = service.serves.removeprefix(f"{service.system}/")
            hint = did_you_mean(said, known if "/" in said else [n for n in own if n != service.name])
            problems.add(placed.serves, f"`{service.name}` serves an unknown service {shown(said)}", hint)
    cycle = _cycle(graph)
    if cycle:
        problems.add(places[cycle[0]], f"services that serve each other: {_named(cycle)}", "")


def named(built: Sequence[Built], problems: Problems) -> None:
    """Note buckets whose objects are said to be named by a service that the estate does not have, or by no column."""
    known = {placed.service.id for one in built for placed in one.services}
    for placed in (p for one in built for p in one.services if p.service.param(NAMED_BY)):
        where = (*placed.where, "params", NAMED_BY)
        try:
            found = named_by(placed.service)
        except ValueError as error:
            problems.add(where, str(error), "for example `db public.files.key`, or `other-system/db public.files.key`")
            continue
        if found is not None and found[0] not in known:
            problems.add(where, f"`{NAMED_BY}` names an unknown service `{found[0]}`", did_you_mean(found[0], known))


def copies(placed: Placed, problems: Problems) -> None:
    """Note replications that form no tree from the primary to every standby."""
    service = placed.service
    if service.nature is not Nature.REPLICATED:
        return
    feed = feeds(placed.copies)
    for replication, where in placed.copies:
        other = feed[replication.target][0]
        if other is not replication:
            both = f"`{other.source}` and `{replication.source}`"
            problems.add(where, f"`{replication.target}` receives from two centres: {both}", "a copy has one source")
    cycle = _cycle({target: [replication.source] for target, (replication, _) in feed.items()})
    if cycle:
        where = feed[cycle[0]][1]
        hint = "data flows from the primary outwards"
        problems.add(where, f"replication cycle: {_named(list(reversed(cycle)))}", hint)
        return
    primary = service.primary
    for instance in service.instances:
        fed = instance.centre in feed
        if instance.role is Role.STANDBY and not fed:
            hint = "every standby needs a replication that ends there"
            problems.add(placed.where, f"no replication reaches the standby in `{instance.centre}`", hint, of_key=True)
        if instance is primary and fed:
            where = feed[instance.centre][1]
            problems.add(where, f"replication into the primary in `{instance.centre}`", "data flows outwards from it")


def lags(placed: Placed) -> Mapping[str, float]:
    """Seconds that the copy in each centre may be behind the primary: what is declared, summed along its path."""
    feed, primary = feeds(placed.copies), placed.service.primary
    found: dict[str, float] = {}
    for instance in placed.service.instances:
        centre, lag, steps = instance.centre, 0.0, 0
        while primary is not None and centre != primary.centre and centre in feed and steps <= len(feed):
            lag, centre, steps = lag + feed[centre][0].lag_max_s, feed[centre][0].source, steps + 1
        if primary is not None and centre == primary.centre and instance is not primary:
            found[instance.centre] = lag
    return found


def objectives(built: Sequence[Built], places: Places, problems: Problems) -> None:
    """Note every RPO that the declared replication cannot give; systems with one cause are noted together."""
    broken: dict[tuple[Where, str, str], list[str]] = {}
    for one in built:
        for placed in one.services:
            primary = placed.service.primary
            if placed.service.nature is not Nature.REPLICATED or primary is None:
                continue
            found = lags(placed)
            elsewhere = {c: lag for c, lag in found.items() if c != primary.centre}
            abroad = {c: lag for c, lag in found.items() if places.site(c) != places.site(primary.centre)}
            for key, target, kept in (
                ("centre_loss", one.system.centre_loss, elsewhere),
                ("site_loss", one.system.site_loss, abroad),
            ):
                short = _shortfall(placed, key, target, kept)
                if short:
                    where = (*one.draft.nearest(key)[1], "rpo")
                    broken.setdefault((where, *short), []).append(one.system.id)
    for (where, why, hint), systems in broken.items():
        more = f" and {len(systems) - 1} more" if len(systems) > 1 else ""
        problems.add(where, f"`{systems[0]}`{more}: {why}", hint)


def _shortfall(placed: Placed, key: str, target: Objective, kept: Mapping[str, float]) -> tuple[str, str] | None:
    """Why an RPO cannot be given and what to do; None where it can."""
    name, extent = placed.service.name, "centre" if key == "centre_loss" else "city"
    if not kept:
        return (
            f"`{key}` rpo cannot be given: `{name}` has no copy in another {extent}",
            "add an instance and a replication",
        )
    best = min(kept, key=kept.__getitem__)
    if kept[best] <= target.rpo_s:
        return None
    why = f"the best copy of `{name}` in another {extent} (`{best}`) may be {spell(kept[best])} behind"
    hint = f"an rpo of {spell(kept[best])} or more, or a replication with less lag"
    return f"`{key}` rpo of {spell(target.rpo_s)} cannot be given: {why}", hint


def addresses(built: Sequence[Built], problems: Problems) -> None:
    """Note instances that share an address, once per place in the file."""
    first: dict[str, str] = {}
    noted: set[Where] = set()
    for placed in (p for b in built for p in b.services):
        for instance in placed.service.instances:
            address, where = instance.address.lower(), placed.addresses[instance.centre]
            other = first.setdefault(address, instance.id) if address else instance.id
            if other != instance.id and where not in noted:
                noted.add(where)
                hint = "each instance has an address of its own; a pattern can hold {system}, {service} and {centre}"
                problems.add(where, f"`{instance.address}` is the address of `{other}` and of `{instance.id}`", hint)
