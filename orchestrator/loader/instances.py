"""Makes the instances of a service: roles, addresses, parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from orchestrator.loader.expand import fill
from orchestrator.loader.files import InstanceFile, Params, Scalar
from orchestrator.loader.places import Roles, ServiceScope
from orchestrator.model.topology import EDGE, Instance, Nature, Role, Setting, Viewpoint
from orchestrator.yamlfile import Where, did_you_mean, shown

ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?):([0-9]{1,5})(/[!-~]*)?")
"""host:port or host:port/path; the path tells apart what shares an endpoint, such as buckets."""


def roles(scope: ServiceScope) -> Roles:
    """Where the service stands, and as what; a nearer layer's word replaces a farther one's."""
    found: dict[str, tuple[Role, Where]] = {}
    before = scope.problems.noted
    for where, layer in reversed(scope.layers):
        here: dict[str, str] = {}
        for place, role in layer.roles.items():
            at = (*where, "roles", place)
            centre = scope.resolve(place, at, of_key=True)
            if centre is None:
                continue
            if centre in here:
                scope.problems.add(at, f"`{place}` and `{here[centre]}` are the same centre", of_key=True)
            here[centre] = place
            found[centre] = (Role(role), at)
    if scope.problems.noted == before:
        _judge_roles(scope, found)
    return {centre: found[centre] for centre in sorted(found, key=scope.places.order.__getitem__)}


def _judge_roles(scope: ServiceScope, found: Roles) -> None:
    where, add = scope.layers[-1][0], scope.problems.add
    primaries = [centre for centre, (role, _) in found.items() if role is Role.PRIMARY]
    if not found:
        hint = "give `roles`, such as {a: primary, b: standby}"
        add(where, f"`{where[-1]}` has no instance in any centre", hint, of_key=True)
    elif not primaries:
        add((*where, "roles"), f"`{where[-1]}` has no primary", "one instance must be `primary`")
    if scope.kind.nature is not Nature.REPLICATED:
        return
    if len(primaries) > 1:
        names = " and ".join(f"`{centre}`" for centre in primaries)
        hint = f"a `{scope.kind.name}` has exactly one primary"
        add(found[primaries[-1]][1], f"{_number(primaries)} primaries: {names}", hint)
    if EDGE in found:
        add(found[EDGE][1], f"a `{scope.kind.name}` holds data and must stand in a centre", of_key=True)


def _number(primaries: Sequence[str]) -> str:
    return "two" if len(primaries) == 2 else str(len(primaries))


Particular = Mapping[str, tuple[Where, InstanceFile]]
"""What one layer says of single instances, by centre, and where it stands."""


def instances(scope: ServiceScope, declared: Roles) -> tuple[tuple[Instance, ...], Mapping[str, Where]]:
    """The instances, and where in the file the address of each stands (by centre)."""
    layers = _particulars(scope, declared)
    made, places = [], {}
    for centre, (role, where) in declared.items():
        words = {**scope.words, "centre": centre, "site": scope.places.site(centre)}
        own = [here[centre] for here in layers if centre in here]
        params = _params(scope, centre, layers)
        address, at = _address(scope, centre, layers, words)
        places[centre] = at or where
        instance = Instance(
            id=f"{scope.id}@{centre}",
            service=scope.id,
            centre=centre,
            role=role,
            address=address,
            seen_from=_seen_from(scope, centre, own, words),
            params=settings(scope, params, words),
        )
        made.append(instance)
    return tuple(made), places


def _particulars(scope: ServiceScope, declared: Roles) -> list[Particular]:
    found: list[Particular] = []
    for where, layer in scope.layers:
        here: dict[str, tuple[Where, InstanceFile]] = {}
        for place, file in layer.instances.items():
            at = (*where, "instances", place)
            centre = scope.resolve(place, at, of_key=True)
            if centre is None:
                continue
            if centre not in declared:
                hint = did_you_mean(place, declared)
                scope.problems.add(at, f"no instance in `{place}`", hint, of_key=True)
            here[centre] = (at, file)
        found.append(here)
    return found


def _params(scope: ServiceScope, centre: str, layers: Sequence[Particular]) -> list[tuple[Where, Params]]:
    """Per layer its word on this instance, then its word on all of them."""
    found: list[tuple[Where, Params]] = []
    for (where, layer), here in zip(scope.layers, layers, strict=True):
        if centre in here:
            found.append(((*here[centre][0], "params"), here[centre][1].params))
        found.append(((*where, "params"), layer.params))
    return found


def _address(
    scope: ServiceScope, centre: str, layers: Sequence[Particular], words: Mapping[str, str]
) -> tuple[str, Where]:
    """The nearest layer's address: its word on this instance before its word on all of them."""
    for (where, layer), here in zip(scope.layers, layers, strict=True):
        if centre in here and isinstance(own := here[centre][1].address, str):
            return _filled(scope, own, (*here[centre][0], "address"), words)
        if isinstance(layer.address, str):
            return _filled(scope, layer.address, (*where, "address"), words)
    return "", ()


def _filled(scope: ServiceScope, pattern: str, where: Where, words: Mapping[str, str]) -> tuple[str, Where]:
    before = scope.problems.noted
    address = fill(pattern, words, where, scope.problems)
    if scope.problems.noted == before:
        _judge_address(scope, address, where)
    return address, where


def _judge_address(scope: ServiceScope, address: str, where: Where) -> None:
    found = ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found[3]) < 65536:
        hint = "expected host:port or host:port/path, with a port from 1 to 65535"
        scope.problems.add(where, f"{shown(address)} is not an address", hint)


def _seen_from(
    scope: ServiceScope, centre: str, own: Sequence[tuple[Where, InstanceFile]], words: Mapping[str, str]
) -> tuple[Viewpoint, ...]:
    found: dict[str, str] = {}
    for at, file in reversed(own):
        for place, pattern in file.seen_from.items():
            where = (*at, "seen_from", place)
            viewer = scope.resolve(place, where, of_key=True)
            if viewer == centre:
                scope.problems.add(where, f"`{place}` is where the instance itself stands", of_key=True)
            elif viewer is not None:
                found[viewer] = _filled(scope, pattern, where, words)[0]
    return tuple(Viewpoint(centre=viewer, address=address) for viewer, address in found.items())


def settings(
    scope: ServiceScope, layers: Sequence[tuple[Where, Params]], words: Mapping[str, str]
) -> tuple[Setting, ...]:
    """Parameters, the nearest layer's word last; names that the kind does not know are noted."""
    merged: dict[str, str] = {}
    for where, params in reversed(layers):
        for name, value in params.items():
            if name not in scope.kind.params:
                hint = did_you_mean(name, scope.kind.params) or f"a `{scope.kind.name}` takes none"
                scope.problems.add(
                    (*where, name), f"unknown param {shown(name)} of `{scope.kind.name}`", hint, of_key=True
                )
            merged[name] = parameter(value, words)
    return tuple(Setting(name=name, value=value) for name, value in merged.items())


def parameter(value: Scalar, words: Mapping[str, str]) -> str:
    """A parameter as text; known {variables} are filled in, other braces are left as they are."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    for name, word in words.items() if "{" in text else ():
        text = text.replace(f"{{{name}}}", word)
    return text
