"""Makes systems of drafts: places become centres, patterns become addresses, text becomes seconds.

Judges what can be judged of one system alone; what relates several is in `judge`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import UNSET

from orchestrator.loader.copies import replications
from orchestrator.loader.expand import Draft, fill, fill_text
from orchestrator.loader.files import ObjectiveFile, TextFile
from orchestrator.loader.instances import instances, roles, settings
from orchestrator.loader.places import Places, ServiceLayers, ServiceScope
from orchestrator.model.topology import Kind, Nature, Objective, Replication, Service, Setting, System
from orchestrator.yamlfile import Where, did_you_mean, shown
from orchestrator.yamltypes import seconds


class Placed(NamedTuple):
    """A service, and where in the file its parts stand."""

    service: Service
    where: Where
    copies: tuple[tuple[Replication, Where], ...]
    serves: Where
    addresses: Mapping[str, Where]
    """By centre."""


class Built(NamedTuple):
    """A system, and where in the file its parts stand."""

    draft: Draft
    system: System
    services: tuple[Placed, ...]


class Builder:
    """Builds the systems of one file; every mistake is noted in the problems of `places`."""

    def __init__(self, places: Places, kinds: Mapping[str, Kind]) -> None:
        self.places = places
        self.problems = places.problems
        self.kinds = kinds

    def system(self, draft: Draft, depends_on: tuple[str, ...]) -> Built | None:
        """The system of a draft; None where something in it is wrong."""
        before = self.problems.noted
        layout = self.places.layout(draft)
        placed = [self._service(draft, layout, name) for name in draft.service_names()]
        if not placed and not draft.template:
            hint = "give a `template` or `services`"
            self.problems.add(draft.where, f"`{draft.id}` has no service", hint, of_key=True)
        services = tuple(p for p in placed if p is not None)
        system = self._system(draft, depends_on, tuple(p.service for p in services))
        return None if system is None or self.problems.noted > before else Built(draft, system, services)

    def _system(self, draft: Draft, depends_on: tuple[str, ...], services: tuple[Service, ...]) -> System | None:
        values = {key: draft.nearest(key) for key in ("tier", "owner", "filing", "centre_loss", "site_loss")}
        missing = ", ".join(f"`{key}`" for key, (value, _) in values.items() if value is UNSET)
        if missing:
            hint = "the system, its group, its template or the defaults must give it"
            self.problems.add(draft.where, f"`{draft.id}` has no {missing}", hint, of_key=True)
        (tier, _), (owner, owner_at), (filing, filing_at) = values["tier"], values["owner"], values["filing"]
        centre, site = (self._objective(*values[key]) for key in ("centre_loss", "site_loss"))
        if not (isinstance(tier, int) and isinstance(owner, TextFile) and isinstance(filing, str) and centre and site):
            return None
        return System(
            id=draft.id,
            name=draft.name,
            tier=tier,
            owner=fill_text(owner, draft.title, draft.words, owner_at, self.problems),
            filing=fill(filing, draft.words, filing_at, self.problems),
            centre_loss=centre,
            site_loss=site,
            depends_on=depends_on,
            services=services,
            group=draft.group,
        )

    def _objective(self, file: object, where: Where) -> Objective | None:
        if not isinstance(file, ObjectiveFile):
            return None
        if seconds(file.rto) <= 0:
            self.problems.add((*where, "rto"), f"`rto`: expected more than zero, got `{file.rto}`", "such as `5m`")
        return Objective(rto_s=seconds(file.rto), rpo_s=seconds(file.rpo))

    def _service(self, draft: Draft, layout: Mapping[str, str], name: str) -> Placed | None:
        layers = draft.service_layers(name)
        kind = self._kind(draft, name, layers)
        if kind is None:
            return None
        words = {**draft.words, "service": name}
        scope = ServiceScope(self.places, f"{draft.id}/{name}", kind, layers, layout, words)
        before = self.problems.noted
        declared = roles(scope)
        if self.problems.noted > before:
            return None  # whatever follows would only repeat it
        made, addresses = instances(scope, declared)
        copies = replications(scope, declared)
        serves, serves_at = self._serves(draft, layers, kind)
        service = Service(
            id=scope.id,
            system=draft.id,
            name=name,
            kind=kind.name,
            nature=kind.nature,
            instances=made,
            replications=tuple(replication for replication, _ in copies),
            serves=serves,
            params=self._common(scope, words),
        )
        return Placed(service, layers[-1][0], copies, serves_at, addresses)

    def _common(self, scope: ServiceScope, words: Mapping[str, str]) -> tuple[Setting, ...]:
        """Parameters of the service itself: those that differ by centre are its instances' alone."""
        layers = [((*where, "params"), layer.params) for where, layer in scope.layers]
        return tuple(s for s in settings(scope, layers, words) if not any(v in s.value for v in ("{centre}", "{site}")))

    def _kind(self, draft: Draft, name: str, layers: ServiceLayers) -> Kind | None:
        for where, layer in layers:
            if isinstance(layer.kind, str):
                if layer.kind not in self.kinds:
                    hint = did_you_mean(layer.kind, self.kinds)
                    self.problems.add((*where, "kind"), f"unknown kind {shown(layer.kind)}", hint)
                return self.kinds.get(layer.kind)
        others = [other for other in draft.service_names() if other != name]
        hint = did_you_mean(name, others) or "give it a `kind`"
        self.problems.add(layers[0][0], f"service `{name}` has no `kind`, and no template gives one", hint, of_key=True)
        return None

    def _serves(self, draft: Draft, layers: ServiceLayers, kind: Kind) -> tuple[str, Where]:
        for where, layer in layers:
            if isinstance(layer.serves, str):
                name = layer.serves
                return (name if "/" in name else f"{draft.id}/{name}"), (*where, "serves")
        if kind.nature is Nature.ROUTE:
            where = layers[-1][0]
            hint = "`serves` names the service that it sends users to"
            self.problems.add(where, f"entry `{where[-1]}` has no target", hint, of_key=True)
        return "", layers[0][0]
