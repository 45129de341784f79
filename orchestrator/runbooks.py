"""Reads runbooks: one YAML file per scenario, each mistake with file:line:column and what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from orchestrator.errors import BadFile
from orchestrator.model.plan import Mode, Phase, ScenarioKind, Verb
from orchestrator.model.runbook import (
    ConditionTemplate,
    GateName,
    LostRule,
    Runbook,
    Scope,
    Selector,
    StepTemplate,
    SystemRule,
    TargetRule,
    UndoTemplate,
    When,
)
from orchestrator.model.topology import Frozen, Setting, Text
from orchestrator.planning.steps import FINAL, PLACEHOLDER, PLACEHOLDERS
from orchestrator.yamlfile import Problems, Source, did_you_mean, read_yaml
from orchestrator.yamltypes import Duration, Identifier, convert, seconds

EXTENDS_MAX = 3
"""A runbook may stand on another, that on a third; deeper is hard to read."""

YES = "yes,y,是,同意"
"""Answers to a yes-no question that let a plan go on."""

NOWHERE = frozenset({Selector.ESTATE, Selector.SYSTEM, Selector.NOBODY})
SUBJECTS = frozenset(Selector) - {
    Selector.NOBODY,
    Selector.SELF,
    Selector.UPSTREAM,
    Selector.HOME_SOURCE,
    Selector.ROUTES_NOW,
}


class ScopeFile(Frozen, kw_only=True):
    """`scope` as written."""

    lost: LostRule
    target: TargetRule
    systems: SystemRule = SystemRule.AFFECTED
    modes: tuple[Mode, ...]


class UndoFile(Frozen, kw_only=True):
    """`undo` as written."""

    do: Verb
    towards: Selector = Selector.NOBODY
    playbook: str = ""
    params: dict[str, str] = msgspec.field(default_factory=dict)


class AskFile(Frozen, kw_only=True):
    """`ask` as written."""

    question: Text
    answer: Literal["yes-no", "text"] = "yes-no"
    """yes-no: only a yes lets the plan go on; text: whatever is answered is kept."""


class StepFile(Frozen, kw_only=True):
    """One of `steps` as written."""

    id: Identifier
    do: Verb
    subject: Selector = msgspec.field(name="for")
    towards: Selector = Selector.NOBODY
    when: tuple[When, ...] = ()
    after: tuple[str, ...] = ()
    phase: Phase
    gates: tuple[ConditionTemplate, ...] = ()
    verify: tuple[ConditionTemplate, ...] = ()
    undo: UndoFile | None = None
    playbook: str = ""
    ask: AskFile | None = None
    params: dict[str, str] = msgspec.field(default_factory=dict)
    timeout: Duration = "60s"
    text: Text | None = None


class RunbookFile(Frozen, kw_only=True):
    """A runbook file."""

    id: Identifier
    kind: ScenarioKind
    name: Text
    summary: Text
    scope: ScopeFile
    gates: tuple[GateName, ...]
    steps: tuple[StepFile, ...]
    verify: tuple[ConditionTemplate, ...]


class ExtensionFile(Frozen, kw_only=True):
    """A runbook file that takes its steps from another one in the same folder."""

    id: Identifier
    extends: Identifier
    kind: ScenarioKind
    name: Text
    summary: Text
    scope: ScopeFile
    gates: tuple[GateName, ...]


def load_runbook(path: Path) -> Runbook:
    """Read one runbook.

    Raises:
        BadFile: with every mistake: unknown key, word or step, empty gates, a circle of `extends`.
    """
    return _load(path, EXTENDS_MAX)


def _load(path: Path, depth: int) -> Runbook:
    source = read_yaml(path)
    if isinstance(source.data, dict) and "extends" in source.data:
        return _extended(source, depth)
    file = convert(source, RunbookFile)
    problems = Problems(source)
    _judge(problems, file)
    problems.raise_if_any()
    return Runbook(
        id=file.id,
        kind=file.kind,
        name=file.name,
        summary=file.summary,
        scope=_scope(file.scope),
        gates=file.gates,
        steps=tuple(_template(step) for step in file.steps),
        verify=file.verify,
    )


def _extended(source: Source, depth: int) -> Runbook:
    file = convert(source, ExtensionFile)
    problems = Problems(source)
    _judge_head(problems, file)
    base = source.path.parent / f"{file.extends}.yaml"
    known = [p.stem for p in source.path.parent.glob("*.yaml") if p.stem != file.id]
    if not base.is_file():
        problems.add(("extends",), f"no runbook `{file.extends}` beside this one", did_you_mean(file.extends, known))
    if depth == 0 or file.extends == file.id:
        problems.add(("extends",), "runbooks extend each other too deeply, or in a circle")
    problems.raise_if_any()
    below = _load(base, depth - 1)
    return msgspec.structs.replace(
        below,
        id=file.id,
        kind=file.kind,
        name=file.name,
        summary=file.summary,
        scope=_scope(file.scope),
        gates=file.gates,
    )


def _scope(file: ScopeFile) -> Scope:
    return Scope(lost=file.lost, target=file.target, systems=file.systems, modes=file.modes)


def _template(step: StepFile) -> StepTemplate:
    text = step.text or (step.ask.question if step.ask else Text(en="", zh=""))
    params = {**step.params, **({"playbook": step.playbook} if step.playbook else {})}
    if step.ask:
        params["answer"] = step.ask.answer
        if step.ask.answer == "yes-no":
            params["expect"] = YES
    return StepTemplate(
        id=step.id,
        verb=step.do,
        subject=step.subject,
        towards=step.towards,
        when=step.when,
        after=step.after,
        phase=step.phase,
        gates=step.gates,
        verify=step.verify,
        undo=_undo(step.undo) if step.undo else None,
        params=_settings(params),
        timeout_s=seconds(step.timeout),
        text=text,
    )


def _undo(file: UndoFile) -> UndoTemplate:
    params = {**file.params, **({"playbook": file.playbook} if file.playbook else {})}
    return UndoTemplate(verb=file.do, towards=file.towards, params=_settings(params))


def _settings(params: dict[str, str]) -> tuple[Setting, ...]:
    return tuple(Setting(name=name, value=value) for name, value in sorted(params.items()))


def _judge_head(problems: Problems, file: RunbookFile | ExtensionFile) -> None:
    if file.id != problems.source.path.stem:
        problems.add(("id",), f"the id `{file.id}` is not the file's name", f"write `{problems.source.path.stem}`")
    if not file.gates:
        problems.add(("gates",), "no gate at all", "an empty list never passes; name at least one")
    if not file.scope.modes:
        problems.add(("scope", "modes"), "no mode at all", "name at least one, the usual one first")


def _judge(problems: Problems, file: RunbookFile) -> None:
    _judge_head(problems, file)
    if not file.steps:
        problems.add(("steps",), "no step at all")
    if not file.verify:
        problems.add(
            ("verify",), "nothing is verified at the end", "an empty list never passes; state at least one fact"
        )
    _judge_conditions(problems, file.verify, ("verify",))
    seen: set[str] = set()
    for index, step in enumerate(file.steps):
        at = ("steps", index)
        if step.id in seen or step.id == FINAL:
            problems.add((*at, "id"), f"the step id `{step.id}` is taken", "ids are unique in a runbook")
        seen.add(step.id)
        _judge_order(problems, step, [s.id for s in file.steps], index)
        _judge_step(problems, step, index)
        _judge_words(problems, step, index)


def _judge_order(problems: Problems, step: StepFile, ids: list[str], index: int) -> None:
    for place, word in enumerate(step.after):
        where, dot, name = word.rpartition(".")
        at = ("steps", index, "after", place)
        if dot and where not in {"dependencies", "source"}:
            problems.add(at, f"unknown place `{where}`", did_you_mean(where, ["dependencies", "source"]))
        if name not in ids:
            problems.add(at, f"unknown step `{name}`", did_you_mean(name, ids))


def _judge_step(problems: Problems, step: StepFile, index: int) -> None:
    at = ("steps", index)
    if step.subject not in SUBJECTS:
        problems.add((*at, "for"), f"`{step.subject.value}` names no instances by itself", "use it for `towards`")
    needs_instance = step.do not in {Verb.CONFIRM, Verb.ASK, Verb.INJECT, Verb.HEAL, Verb.RUN_PLAYBOOK}
    if needs_instance and step.subject in NOWHERE:
        problems.add((*at, "for"), f"`{step.do.value}` needs instances", "for example `old-primary`")
    if step.do in {Verb.INJECT, Verb.HEAL} and step.subject is not Selector.ESTATE:
        problems.add((*at, "for"), f"`{step.do.value}` is for the whole `estate`")
    if step.do in {Verb.REDIRECT, Verb.REJOIN} and step.towards is Selector.NOBODY:
        problems.add(at, f"`{step.do.value}` needs `towards`")
    if (step.do is Verb.RUN_PLAYBOOK) != bool(step.playbook):
        problems.add(at, "`playbook` belongs to `do: run_playbook`, and only there")
    if (step.do is Verb.ASK) != bool(step.ask):
        problems.add(at, "`ask` belongs to `do: ask`, and only there")
    if step.do is Verb.CONFIRM and not step.verify:
        problems.add(at, "`confirm` needs `verify`", "an empty list never passes")
    if step.text is None and step.ask is None:
        problems.add(at, "missing key: `text`", "one sentence in both languages: {en: ..., zh: ...}")
    _judge_conditions(problems, step.gates, (*at, "gates"))
    _judge_conditions(problems, step.verify, (*at, "verify"))


def _judge_conditions(problems: Problems, templates: tuple[ConditionTemplate, ...], at: tuple[str | int, ...]) -> None:
    for place, template in enumerate(templates):
        if template.of in NOWHERE:
            problems.add((*at, place, "of"), f"`{template.of.value}` names no instances", "a fact is about instances")


def _judge_words(problems: Problems, step: StepFile, index: int) -> None:
    for text in _texts(step):
        for word in PLACEHOLDER.findall(text):
            if word not in PLACEHOLDERS:
                hint = did_you_mean(word, PLACEHOLDERS)
                problems.add(("steps", index), f"unknown placeholder {{{word}}} in step `{step.id}`", hint)


def _texts(step: StepFile) -> Iterator[str]:
    for text in (step.text, step.ask.question if step.ask else None):
        if text:
            yield from (text.en, text.zh)
    yield from step.params.values()
    yield step.playbook
    if step.undo:
        yield from (*step.undo.params.values(), step.undo.playbook)


def runbook_folder() -> Path:
    """The runbooks that come with the program: runbooks/ beside the package."""
    return Path(__file__).resolve().parent.parent / "runbooks"


def load_runbooks(folder: Path) -> tuple[Runbook, ...]:
    """Every runbook of a folder, by id.

    Raises:
        BadFile: one of them is wrong, or there is none.
    """
    found = tuple(load_runbook(path) for path in sorted(folder.glob("*.yaml")))
    if not found:
        raise BadFile(f"{folder}: no runbook (*.yaml) in it", hint="runbooks/ holds one file per scenario")
    return found
