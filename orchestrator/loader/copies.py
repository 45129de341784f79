"""Makes the replications of a service, and judges what can be judged of each by itself."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET

from orchestrator.loader.files import ReplicationFile
from orchestrator.loader.places import Roles, ServiceScope
from orchestrator.model.topology import CopyMode, Nature, Replication, Role
from orchestrator.yamlfile import Where
from orchestrator.yamltypes import seconds


def replications(scope: ServiceScope, declared: Roles) -> tuple[tuple[Replication, Where], ...]:
    """The replications of the nearest layer that has any, and where each stands; wrong ones are noted and left out."""
    for where, layer in scope.layers:
        if isinstance(layer.replications, tuple):
            outer = (*where, "replications")
            if layer.replications and scope.kind.nature is not Nature.REPLICATED:
                scope.problems.add(outer, f"a `{scope.kind.name}` holds no data to replicate", of_key=True)
                return ()
            made = (
                (_one(scope, file, declared, (*outer, i)), (*outer, i)) for i, file in enumerate(layer.replications)
            )
            return tuple((replication, at) for replication, at in made if replication is not None)
    return ()


def _one(scope: ServiceScope, file: ReplicationFile, declared: Roles, where: Where) -> Replication | None:
    source = _end(scope, file.source, declared, (*where, "from"))
    target = _end(scope, file.target, declared, (*where, "to"))
    if source is None or target is None:
        return None
    if source == target:
        scope.problems.add(where, f"replication from `{source}` to itself", "source and target are two centres")
        return None
    _judge(scope, file, where, (source, target))
    if file.mode is CopyMode.SYNC and declared[source][0] is not Role.PRIMARY:
        hint = "no primary waits for it: make it async with `lag_max`"
        scope.problems.add(where, f"sync replication from the standby in `{source}`", hint)
    return Replication(
        source=source,
        target=target,
        mode=file.mode,
        lag_max_s=seconds(file.lag_max) if isinstance(file.lag_max, str) else 0.0,
        reason=file.reason if isinstance(file.reason, str) else "",
    )


def _end(scope: ServiceScope, place: str, declared: Roles, where: Where) -> str | None:
    centre = scope.resolve(place, where)
    if centre is None or centre in declared:
        return centre
    here = ", ".join(f"`{c}`" for c in declared)
    scope.problems.add(where, f"replication with `{centre}`, which has no instance", f"it has instances in {here}")
    return None


def _judge(scope: ServiceScope, file: ReplicationFile, where: Where, ends: tuple[str, str]) -> None:
    sync, add = file.mode is CopyMode.SYNC, scope.problems.add
    far = scope.places.site(ends[0]) != scope.places.site(ends[1])
    if sync and file.lag_max is not UNSET:
        add((*where, "lag_max"), "a sync replication has no `lag_max`", "it is acknowledged at both ends", of_key=True)
    if not sync and file.lag_max is UNSET:
        add(where, "an async replication needs `lag_max`", "the lag that it stays below, such as `30s`")
    if sync and far and not file.across_cities:
        hint = "use async with `lag_max`; or state `across_cities: true` and a `reason`"
        add(where, f"sync replication across cities, from `{ends[0]}` to `{ends[1]}`", hint)
    if file.across_cities and file.reason is UNSET:
        add(where, "`across_cities` needs a `reason`", "say why every write may wait for another city")
    if (file.across_cities or file.reason is not UNSET) and not (sync and far):
        add(where, "`across_cities` and `reason` are for a sync replication between cities", "leave them out")


def feeds(copies: tuple[tuple[Replication, Where], ...]) -> Mapping[str, tuple[Replication, Where]]:
    """The replication that each target receives by; the first where there are several."""
    found: dict[str, tuple[Replication, Where]] = {}
    for replication, where in copies:
        found.setdefault(replication.target, (replication, where))
    return found
