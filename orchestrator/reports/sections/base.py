"""What the sections of a report share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from orchestrator.measure import objective_for
from orchestrator.model.plan import Phase, ScenarioKind
from orchestrator.model.topology import Objective
from orchestrator.reports.dossier import Dossier
from orchestrator.reports.judgement import Judgement, Light, judge
from orchestrator.reports.markup import Child, Markup, el, join
from orchestrator.reports.words import Outcome, Words


@dataclass(frozen=True)
class View:
    """A dossier in one language: what every section is made from."""

    dossier: Dossier
    words: Words

    @cached_property
    def judgement(self) -> Judgement:
        """The headline figures."""
        return judge(self.dossier)

    def system(self, system: str) -> str:
        """A system's name; its id where the topology does not hold it."""
        found = self.dossier.topology.system_by_id.get(system)
        return self.words.of(found.name) if found else system

    def centre(self, centre: str) -> str:
        """A centre's name; its id where the topology does not hold it."""
        found = self.dossier.topology.centre_by_id.get(centre)
        return self.words.of(found.name) if found else centre

    def centres(self, centres: tuple[str, ...]) -> str:
        """Several centres' names."""
        return self.words(", ", "、").join(self.centre(c) for c in centres)

    def objective(self, system: str) -> Objective | None:
        """The target that counts for a system in this scenario."""
        known = system in self.dossier.topology.system_by_id
        return objective_for(self.dossier.topology, self.dossier.plan, system) if known else None

    @property
    def by_city(self) -> bool:
        """Whether the targets for the loss of a whole city count."""
        lost = set(self.dossier.plan.lost)
        topology = self.dossier.topology
        cities = ({c.id for c in topology.centres if c.site == site.id} for site in topology.sites)
        return any(city and city <= lost for city in cities)

    @cached_property
    def scenario(self) -> str:
        """What the run was about, in one sentence."""
        plan, words = self.dossier.plan, self.words
        home = words("the declared primaries", "声明的主中心")
        target, lost = self.centre(plan.target) if plan.target else home, self.centres(plan.lost)
        if plan.kind is ScenarioKind.FAILOVER and lost:
            return words(f"{lost} lost; {target} takes over", f"{lost}失效，由{target}接管")
        if plan.kind is ScenarioKind.FAILBACK:
            return words(f"Return to {target}", f"回切至{target}")
        if plan.kind is ScenarioKind.EXERCISE:
            return words(f"Exercise in an isolated bubble in {target}", f"在{target}的隔离环境中演练")
        return words(f"Planned move to {target}", f"计划切换至{target}")

    @cached_property
    def title(self) -> str:
        """The title of the report."""
        words, kind = self.words, self.dossier.plan.kind
        if self.dossier.is_drill:
            return words("Disaster recovery drill report", "灾难恢复演练报告")
        return words(f"Disaster recovery report: {words.name(kind)}", f"灾难恢复{words.name(kind)}报告")


def pill(light: Light, text: str) -> Markup:
    """A verdict: colour and word."""
    return el("span", text, class_=f"pill {light.value}")


def verdict(met: bool | None, words: Words) -> Markup:
    """The verdict on one objective."""
    light = Light.WARN if met is None else Light.GOOD if met else Light.BAD
    return pill(light, words.met(met))


def outcome_pill(outcome: Outcome, words: Words) -> Markup:
    """What became of a step."""
    good = {Outcome.DONE, Outcome.WOULD}
    bad = {Outcome.FAILED, Outcome.UNDO_FAILED, Outcome.OPEN}
    light = Light.GOOD if outcome in good else Light.BAD if outcome in bad else Light.WARN
    return pill(light, words.name(outcome))


def phase_dot(phase: Phase, words: Words) -> Markup:
    """A phase's colour and name."""
    return el("span", el("i", class_=f"key k-{phase.value}"), words.name(phase), class_="phase")


def people(words: Words, en: str, zh: str) -> Markup:
    """A part that only people can fill in."""
    lead = words("To be filled in by people: ", "由人员填写：")
    return el("p", el("b", lead), words(en, zh), class_="fill")


def facts(rows: list[tuple[str, Child]]) -> Markup:
    """Names and values, one a line."""
    return el("dl", *(join((el("dt", name), el("dd", value))) for name, value in rows), class_="facts")


def para(*children: Child, class_: str | None = None) -> Markup:
    """A paragraph."""
    return el("p", *children, class_=class_)


def bullets(items: list[Child]) -> Markup:
    """A list."""
    return el("ul", *(el("li", item) for item in items))


def code(text: str) -> Markup:
    """An identifier or hash."""
    return el("code", text)
