"""Fits a runbook's templates to the systems as they stand: one step for each instance, with what it needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import msgspec

from orchestrator.model.plan import Phase, Step, Undo, Verb
from orchestrator.model.request import Request, Timings
from orchestrator.model.runbook import Runbook, Selector, StepTemplate
from orchestrator.model.topology import EDGE, Instance, Nature, Setting, Text, Topology
from orchestrator.planning.selectors import conditions, holds, resolve
from orchestrator.planning.system_view import SystemView

FINAL = "protected"
"""Id of the step that confirms, for each system, what the runbook's `verify` states."""

NO_SYSTEM = ""
NOBODY = Text(en="nobody", zh="无")
PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
PLACEHOLDERS = frozenset(
    {"system", "service", "instance", "centre", "kind", "towards", "mode", "fault", "lost", "target"}
)
"""Words that texts and parameters of a runbook may hold in braces."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A step whose needs are not known yet."""

    template: StepTemplate
    step: Step


def fit(
    runbook: Runbook, topology: Topology, views: Mapping[str, SystemView], request: Request, timings: Timings
) -> tuple[Step, ...]:
    """The steps of a plan, not yet in order.

    Args:
        runbook: the templates.
        topology: for names and dependencies.
        views: the systems in the plan, by id.
        request: for the lost centres and the fault.
        timings: for the forecasts.
    """
    fitting = Fitting(runbook, topology, views, request, timings)
    drafts = [*fitting.drafts(), *fitting.final()]
    needs = Needs(drafts, topology)
    roots = tuple(d.step.id for d in drafts if d.template.verb is Verb.INJECT)
    return tuple(_needing(d, needs.of(d), roots) for d in drafts)


def _needing(draft: Draft, needs: Iterable[str], roots: tuple[str, ...]) -> Step:
    """A step with its needs; everything comes after the fault of a drill."""
    found = set(needs) - {draft.step.id}
    if not found and draft.step.id not in roots:
        found = set(roots)
    return msgspec.structs.replace(draft.step, needs=tuple(sorted(found)))


class Fitting:
    """Makes the drafts of one plan."""

    def __init__(
        self, runbook: Runbook, topology: Topology, views: Mapping[str, SystemView], request: Request, timings: Timings
    ) -> None:
        self.runbook = runbook
        self.topology = topology
        self.views = views
        self.request = request
        self.timings = timings

    def drafts(self) -> Iterator[Draft]:
        """One draft for each template and instance that it is for."""
        for template in self.runbook.steps:
            if template.subject is Selector.ESTATE:
                yield from self._estate(template)
                continue
            for system in self.views:
                yield from self._system(template, self.views[system])

    def final(self) -> Iterator[Draft]:
        """For each system a confirmation, after all its steps, of what the runbook wants at the end."""
        text = Text(en="Confirm that {system} is protected again", zh="确认{system}已恢复保护")
        for view in self.views.values():
            template = StepTemplate(
                id=FINAL,
                verb=Verb.CONFIRM,
                subject=Selector.SYSTEM,
                phase=Phase.PROTECT,
                after=tuple(t.id for t in self.runbook.steps if t.subject is not Selector.ESTATE)
                + tuple(t.id for t in self.runbook.steps if t.verb is Verb.HEAL),
                verify=self.runbook.verify,
                timeout_s=120.0,
                text=text,
            )
            yield from self._draft(template, view, None)

    def _estate(self, template: StepTemplate) -> Iterator[Draft]:
        views = list(self.views.values())
        if views and all(holds(v, template.when, None) for v in views):
            yield Draft(template=template, step=self._step(template, None, None))

    def _system(self, template: StepTemplate, view: SystemView) -> Iterator[Draft]:
        if template.subject is Selector.SYSTEM:
            if holds(view, template.when, None):
                yield from self._draft(template, view, None)
            return
        for instance in dict.fromkeys(resolve(view, template.subject, None)):
            if holds(view, template.when, instance):
                yield from self._draft(template, view, instance)

    def _draft(self, template: StepTemplate, view: SystemView, instance: Instance | None) -> Iterator[Draft]:
        """A draft; none where there is nobody to go towards or nothing to confirm (no database, no entry)."""
        step = self._step(template, view, instance)
        aimless = template.towards is not Selector.NOBODY and not step.towards
        if not aimless and (step.verify or step.verb is not Verb.CONFIRM):
            yield Draft(template=template, step=step)

    def _step(self, template: StepTemplate, view: SystemView | None, instance: Instance | None) -> Step:
        system = view.system.id if view else NO_SYSTEM
        towards = self._towards(template.towards, view, instance)
        words = self._words(view, instance, towards)
        gates = conditions(view, template.gates, instance) if view else ()
        verify = conditions(view, template.verify, instance) if view else ()
        return Step(
            id=":".join(filter(None, (instance.id if instance else system, template.id))),
            verb=template.verb,
            text=self._text(template.text, view, words),
            system=system,
            service=instance.service if instance else "",
            instance=instance.id if instance else "",
            towards=towards,
            params=_filled(template.params, words),
            gates=gates,
            verify=verify,
            undo=self._undo(template, view, instance),
            phase=template.phase,
            wave=0,
            timeout_s=template.timeout_s,
            forecast_s=self._forecast(template.verb, instance),
        )

    def _towards(self, selector: Selector, view: SystemView | None, instance: Instance | None) -> tuple[str, ...]:
        return tuple(dict.fromkeys(i.id for i in resolve(view, selector, instance))) if view else ()

    def _undo(self, template: StepTemplate, view: SystemView | None, instance: Instance | None) -> Undo | None:
        if template.undo is None:
            return None
        towards = self._towards(template.undo.towards, view, instance)
        return Undo(
            verb=template.undo.verb,
            instance=instance.id if instance else "",
            towards=towards,
            params=_filled(template.undo.params, self._words(view, instance, towards)),
        )

    def _forecast(self, verb: Verb, instance: Instance | None) -> float:
        kind = self.topology.service_by_id[instance.service].kind if instance else ""
        return self.timings.forecast_s(verb, kind)

    def _words(self, view: SystemView | None, instance: Instance | None, towards: Sequence[str]) -> dict[str, str]:
        service = self.topology.service_by_id[instance.service] if instance else None
        return {
            "system": view.system.id if view else "",
            "service": service.id if service else "",
            "kind": service.kind if service else "",
            "instance": instance.id if instance else "",
            "centre": instance.centre if instance else "",
            "towards": ", ".join(towards),
            "mode": _mode(view, instance),
            "fault": self.request.fault,
            "lost": ", ".join(self.request.lost),
            "target": view.target if view else "",
        }

    def _text(self, text: Text, view: SystemView | None, words: dict[str, str]) -> Text:
        def said(lang: str) -> str:
            names = {"system": view.system.name.of(lang) if view else "", "centre": self._centre(words["centre"], lang)}
            return fill(text.of(lang), {**words, **names, "towards": words["towards"] or NOBODY.of(lang)})

        return Text(en=said("en"), zh=said("zh"))

    def _centre(self, centre: str, lang: str) -> str:
        found = self.topology.centre_by_id.get(centre)
        return found.name.of(lang) if found else EDGE


def fill(text: str, words: Mapping[str, str]) -> str:
    """A text with its placeholders filled in."""
    return PLACEHOLDER.sub(lambda m: words.get(m[1], m[0]), text)


def _filled(params: Sequence[Setting], words: Mapping[str, str]) -> tuple[Setting, ...]:
    return tuple(Setting(name=p.name, value=fill(p.value, words)) for p in params)


def _mode(view: SystemView | None, instance: Instance | None) -> str:
    """How a copy receives at its interim place: `sync` or `async`; empty for what is no copy."""
    if view is None or instance is None:
        return ""
    feeds = (f for d in view.data if d.service.id == instance.service for f in d.interim)
    return next(("sync" if f.sync else "async" for f in feeds if f.target == instance.centre), "")


class Needs:
    """Finds what each draft comes after."""

    def __init__(self, drafts: Sequence[Draft], topology: Topology) -> None:
        self.topology = topology
        self.by_template: dict[str, dict[str, list[Step]]] = {}
        self.by_instance: dict[tuple[str, str], str] = {}
        for draft in drafts:
            self.by_instance[draft.template.id, draft.step.instance] = draft.step.id
            self.by_template.setdefault(draft.template.id, {}).setdefault(draft.step.system, []).append(draft.step)
        self.below: dict[tuple[str, str], tuple[str, ...]] = {}

    @cached_property
    def replicated(self) -> frozenset[str]:
        """Ids of the replicated services."""
        return frozenset(s.id for s in self.topology.services() if s.nature is Nature.REPLICATED)

    def of(self, draft: Draft) -> Iterator[str]:
        """Ids of the steps that must be done before this one; its own may be among them."""
        for word in draft.template.after:
            where, _, template = word.rpartition(".")
            places = self.by_template.get(template, {})
            if where == "dependencies":
                yield from self._dependencies(template, draft.step.system)
            elif where == "source":
                sources = (self.by_instance.get((template, i)) for i in draft.step.towards)
                yield from filter(None, sources)
            elif draft.template.subject is Selector.ESTATE:
                yield from (s.id for system in places.values() for s in system)
            else:
                beside = (*places.get(draft.step.system, ()), *places.get(NO_SYSTEM, ()))
                yield from (s.id for s in beside if self._related(s, draft.step))

    def _related(self, one: Step, other: Step) -> bool:
        """Two replicated services of one system move side by side; all else in a system waits."""
        apart = one.service != other.service
        return not (apart and one.service in self.replicated and other.service in self.replicated)

    def _dependencies(self, template: str, system: str, above: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Steps of a template in the systems that one depends on; one that has none passes on to its own."""
        key = (template, system)
        if key not in self.below and system in self.topology.system_by_id:
            found: list[str] = []
            for under in self.topology.system_by_id[system].depends_on:
                steps = self.by_template.get(template, {}).get(under, [])
                found += [s.id for s in steps]
                if not steps and under not in above:
                    found += self._dependencies(template, under, (*above, system))
            self.below[key] = tuple(dict.fromkeys(found))
        return self.below.get(key, ())
