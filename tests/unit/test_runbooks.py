"""Runbook files: the ones that come with the program, and every mistake in others."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import BadFile
from orchestrator.model.plan import Mode, ScenarioKind, Verb
from orchestrator.model.request import Timings
from orchestrator.model.runbook import GateName, Runbook, When
from orchestrator.model.topology import Setting
from orchestrator.planner import plan
from orchestrator.runbooks import load_runbook, load_runbooks, runbook_folder
from tests.unit.build import RUNBOOKS, healthy, lab, request

GOOD = """\
id: mine
kind: exercise
name: {en: Mine, zh: 我的}
summary: {en: A test, zh: 测试}
scope: {lost: none, target: remote, modes: [rehearsal]}
gates: [primary-answers]
steps:
  - id: look
    do: confirm
    for: standby-at-target
    phase: prepare
    verify:
      - {fact: standby_of, of: self, others: upstream}
    text: {en: "Look at {instance}", zh: "检查 {instance}"}
verify:
  - {fact: writable_primary, of: new-primary}
"""


def load(folder: Path, text: str, name: str = "mine") -> Runbook:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return load_runbook(path)


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_runbook_of_ours_is_good(path: Path) -> None:
    found = load_runbook(path)
    assert found.id == path.stem
    assert found.gates
    assert found.verify
    assert found.name.en != found.name.zh


def test_the_folder_holds_the_scenarios_of_the_issue() -> None:
    found = {r.id: r for r in load_runbooks(runbook_folder())}
    assert {"switchover", "centre-lost", "site-lost", "failback", "system-switchover", "isolated"} <= found.keys()
    assert found["failback"].kind is ScenarioKind.FAILBACK
    assert found["failback"].steps == found["switchover"].steps
    assert GateName.THREE_COPIES in found["failback"].gates
    assert found["isolated"].scope.modes[0] is Mode.ISOLATED


def test_the_order_of_a_take_over_stands_in_the_file() -> None:
    steps = {s.id: s for s in load_runbook(RUNBOOKS / "centre-lost.yaml").steps}
    assert steps["promote"].after == ("detach",)
    assert "promote" in steps["call"].after
    assert {"call", "dependencies.redirect"} <= set(steps["redirect"].after)
    assert When.LOSS_ACCEPTED in steps["fence-first"].when
    assert "fence-first" in steps["promote-accepting-loss"].after


def test_a_good_file(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD)
    assert found.steps[0].timeout_s == 60.0


HUMAN = """
  - id: permit
    do: ask
    for: estate
    phase: decide
    ask:
      question: {en: "Does the duty officer permit it?", zh: "值班领导是否批准？"}
    timeout: 30m
  - id: note
    do: ask
    for: system
    after: [permit]
    phase: protect
    ask:
      question: {en: "What did users of {system} report?", zh: "{system}的用户反馈？"}
      answer: text
  - id: smoke
    do: run_playbook
    for: system
    playbook: smoke_{kind}test.yml
    after: [note]
    phase: verify
    params: {url: "https://{system}.example"}
    text: {en: Smoke test, zh: 冒烟测试}
verify:"""


def test_human_steps_and_custom_playbooks(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD.replace("\nverify:", HUMAN))
    made = plan(lab(), healthy(lab()), found, request(), Timings())
    permit = made.step_by_id["permit"]
    assert permit.verb is Verb.ASK
    assert permit.text.zh == "值班领导是否批准？"
    assert "yes" in permit.param("expect").split(",")
    assert permit.timeout_s == 1800
    note = made.step_by_id["sharing:note"]
    assert note.needs == ("permit",)
    assert note.text.en == "What did users of sharing report?"
    assert not note.param("expect")
    smoke = made.step_by_id["sharing:smoke"]
    assert smoke.params == (
        Setting(name="playbook", value="smoke_test.yml"),
        Setting(name="url", value="https://sharing.example"),
    )
    assert smoke.needs == ("sharing:note",)


@pytest.mark.parametrize(
    ("change", "where", "message"),
    [
        (("do: confirm", "do: confrim"), "9:9", "did you mean `confirm`"),
        (("for: standby-at-target", "for: standby-at-tarjet"), "10:10", "standby-at-target"),
        (("phase: prepare", "phase: prepair"), "11:12", "did you mean `prepare`"),
        (("phase:", "fase:"), "11:5", "did you mean `phase`"),
        (("standby_of", "standbyof"), "13:16", "standby_of"),
        (("others: upstream", "others: upstreem"), "13:46", "upstream"),
        (("gates: [primary-answers]", "gates: [primary-answer]"), "6:9", "primary-answers"),
        (("gates: [primary-answers]", "gates: []"), "6:8", "no gate at all"),
        (("modes: [rehearsal]", "modes: []"), "5:44", "no mode at all"),
        (("modes: [rehearsal]", "modes: [reharsal]"), "5:45", "did you mean `rehearsal`"),
        (("{instance}", "{instanze}"), "8:5", "did you mean `instance`"),
        (("    phase: prepare", "    after: [lok]\n    phase: prepare"), "11:13", "did you mean `look`"),
        (("    phase: prepare", "    after: [source.lok]\n    phase: prepare"), "11:13", "did you mean `look`"),
        (("    phase: prepare", "    after: [dependency.look]\n    phase: prepare"), "11:13", "dependencies"),
        (("    phase: prepare", "    timeout: 30\n    phase: prepare"), "11:14", "a duration with its unit"),
        (("for: standby-at-target", "for: self"), "10:10", "names no instances by itself"),
        (("of: self", "of: estate"), "13:32", "names no instances"),
        (("id: look", "id: protected"), "8:9", "is taken"),
        (("id: mine", "id: yours"), "1:5", "write `mine`"),
        (("do: confirm", "do: promote\n    for: estate"), "11:5", "duplicate key"),
        (("do: confirm", "do: redirect"), "8:5", "`redirect` needs `towards`"),
        (("do: confirm", "do: ask"), "8:5", "`ask` belongs to `do: ask`"),
        (("do: confirm", "do: run_playbook"), "8:5", "`playbook` belongs to"),
        (("do: confirm", "do: inject"), "10:10", "for the whole `estate`"),
        (("text: {en: ", "texts: {en: "), "14:5", "did you mean `text`"),
        (('    text: {en: "Look at {instance}", zh: "检查 {instance}"}\n', ""), "8:5", "missing key: `text`"),
        (("zh: 我的", "de: Meins"), "3:18", "unknown key"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, change: tuple[str, str], where: str, message: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(BadFile) as caught:
        load(tmp_path, GOOD.replace(*change, 1))
    told = f"{caught.value.message} {caught.value.hint}"
    assert f"mine.yaml:{where}" in told
    assert message in told
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (
            GOOD.replace("verify:\n  - {fact: writable_primary, of: new-primary}\n", "verify: []\n"),
            "nothing is verified",
        ),
        (GOOD[: GOOD.index("steps:")] + "steps: []\nverify:\n  - {fact: answers, of: entries}\n", "no step at all"),
        (GOOD.replace("    verify:\n      - {fact: standby_of, of: self, others: upstream}\n", ""), "`confirm` needs"),
        (GOOD + "  - 5\n", "expected"),
        ("- 1\n", "expected"),
    ],
)
def test_a_file_that_says_too_little(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadFile, match=message):
        load(tmp_path, text)


def test_every_mistake_is_shown_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadFile) as caught:
        load(tmp_path, GOOD.replace("do: confirm", "do: x").replace("phase: prepare", "phase: y"))
    assert caught.value.message.count("mine.yaml:") == 2


EXTENSION = """\
id: mine
extends: base
kind: switchover
name: {en: Mine, zh: 我的}
summary: {en: A test, zh: 测试}
scope: {lost: none, target: named, modes: [live]}
gates: [three-copies]
"""


def test_a_runbook_on_another(tmp_path: Path) -> None:
    base = load(tmp_path, GOOD.replace("id: mine", "id: base"), "base")
    found = load(tmp_path, EXTENSION)
    assert found.steps == base.steps
    assert found.gates == (GateName.THREE_COPIES,)
    assert found.scope.modes == (Mode.LIVE,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EXTENSION, "no runbook `base` beside this one"),
        (EXTENSION.replace("extends: base", "extends: mine"), "in a circle"),
        (EXTENSION.replace("gates: [three-copies]", "gates: []"), "no gate at all"),
        (EXTENSION + "steps: []\n", "unknown key"),
    ],
)
def test_a_runbook_on_nothing(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadFile, match=message):
        load(tmp_path, text)


def test_a_circle_of_runbooks(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(EXTENSION.replace("id: mine", "id: base").replace("s: base", "s: mine"))
    with pytest.raises(BadFile, match="in a circle"):
        load(tmp_path, EXTENSION)


def test_a_folder_without_runbooks(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no runbook"):
        load_runbooks(tmp_path)
