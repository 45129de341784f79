"""The prover: shipped runbooks are proven, edited ones are refused with the harm told, shapes are searched once."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.machine import looks
from orchestrator.machine.table import ACTIONS, act_of, apply
from orchestrator.machine.world import Ground
from orchestrator.model.certificate import Certificate, Counterexample
from orchestrator.model.observation import Snapshot
from orchestrator.model.plan import Mode, Plan, Verb
from orchestrator.model.request import Request, Timings
from orchestrator.model.topology import Topology
from orchestrator.planner import UnsafeRunbook, plan
from orchestrator.prover import prove
from orchestrator.proving.worlds import AT
from orchestrator.runbooks import load_runbook
from tests.unit.estates import load

RUNBOOKS = Path(__file__).resolve().parents[2] / "runbooks"


def seen(topology: Topology) -> Snapshot:
    """A look at an estate that is well."""
    ground = Ground(topology, [s.id for s in topology.systems])
    return looks.look(ground, ground.declared(), AT)


def made(topology: Topology, runbook: Path, *, mode: Mode = Mode.LIVE, **words: object) -> Plan:
    """A plan, an unsafe one too."""
    look = seen(topology)
    request = Request(mode=mode, created_at=AT, topology_sha256="0" * 64, **words)  # type: ignore[arg-type]
    try:
        return plan(topology, look, load_runbook(runbook), request, Timings(), before=look)
    except UnsafeRunbook as unsafe:
        return unsafe.plan


def one_system(topology: Topology, whole: Plan, system: str) -> Plan:
    """The part of a plan that concerns one system."""
    steps = [s for s in whole.steps if s.system in {"", system}]
    ids = {s.id for s in steps}
    cut = tuple(replace(s, needs=tuple(n for n in s.needs if n in ids)) for s in steps)
    return replace(whole, systems=(system,), steps=cut)


def edited(tmp_path: Path, name: str, *changes: tuple[str, str]) -> Path:
    """A shipped runbook with exactly these changes."""
    text = (RUNBOOKS / f"{name}.yaml").read_text("utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        text = text.replace(old, new)
    path = tmp_path / f"{name}.yaml"
    path.write_text(text, "utf-8")
    return path


def certified(found: Certificate | Counterexample) -> Certificate:
    """A certificate, or the story in the failure."""
    assert isinstance(found, Certificate), found.told("en")
    return found


def harm(found: Certificate | Counterexample) -> Counterexample:
    """A counterexample."""
    assert isinstance(found, Counterexample), f"nothing found in {found.states} states"
    return found


TOPOLOGY = replace(load(), lab=True)
DRILL = {"lost": ("a",), "fault": "kill-centre a"}


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("centre-lost", DRILL),
        ("centre-lost", {"lost": ("a",), "fault": "freeze-centre a"}),
        ("centre-lost", {"lost": ("c",), "fault": "kill-centre c"}),
        ("switchover", {"target": "b", "systems": ("first",)}),
        ("isolated", {"mode": Mode.ISOLATED}),
    ],
)
def test_a_shipped_runbook_is_proven(scenario: str, words: dict[str, object]) -> None:
    whole = made(TOPOLOGY, RUNBOOKS / f"{scenario}.yaml", **words)  # type: ignore[arg-type]
    whole = one_system(TOPOLOGY, whole, "first")
    found = certified(prove(whole, TOPOLOGY, now=seen(TOPOLOGY), before=seen(TOPOLOGY)))
    assert found.complete
    assert found.systems == len(whole.systems)
    assert found.violations == 0 < found.states < found.transitions
    assert {s.troubles for s in found.shapes} == {3}


def test_a_real_loss_is_proven_from_every_way_that_a_centre_may_be_lost() -> None:
    whole = made(TOPOLOGY, RUNBOOKS / "centre-lost.yaml", mode=Mode.REHEARSAL, lost=("a",))
    found = certified(prove(one_system(TOPOLOGY, whole, "first"), TOPOLOGY))
    assert found.starts == ("blackout", "kill-centre", "freeze-centre", "darken")


def test_systems_that_are_alike_are_searched_once() -> None:
    whole = made(TOPOLOGY, RUNBOOKS / "switchover.yaml", target="b")
    found = certified(prove(whole, TOPOLOGY))
    assert [sorted(s.systems) for s in found.shapes] == [["first", "pool-east"]]
    alone = certified(prove(whole, TOPOLOGY, known={s.key: s for s in found.shapes}))
    assert alone == found


def test_a_certificate_says_what_it_is_of_and_is_the_same_every_time() -> None:
    whole = one_system(TOPOLOGY, made(TOPOLOGY, RUNBOOKS / "centre-lost.yaml", **DRILL), "first")  # type: ignore[arg-type]
    one, two = prove(whole, TOPOLOGY), prove(whole, TOPOLOGY)
    assert one == two
    assert certified(one).plan_sha256 == whole.sha256


def test_too_many_states_are_not_called_proven() -> None:
    whole = one_system(TOPOLOGY, made(TOPOLOGY, RUNBOOKS / "centre-lost.yaml", **DRILL), "first")  # type: ignore[arg-type]
    found = certified(prove(whole, TOPOLOGY, states_max=10))
    assert not found.complete
    assert found.unproven == ("first",)
    fewer = certified(prove(whole, TOPOLOGY, states_max=700))
    assert fewer.complete
    assert fewer.shapes[0].troubles < 3


def test_the_way_home_is_proven_from_where_the_primary_stands_now() -> None:
    """The primary is in c, by a switchover: what it holds is all there is, and nothing is asked of the declared one."""
    ground = Ground(TOPOLOGY, [s.id for s in TOPOLOGY.systems])
    away = made(TOPOLOGY, RUNBOOKS / "switchover.yaml", target="c", systems=("first",))
    world = ground.declared()
    for step in away.steps:
        if step.verb in ACTIONS:
            world = apply(ground, world, act_of(ground, step))
    look = looks.look(ground, world, AT)
    request = Request(mode=Mode.LIVE, created_at=AT, topology_sha256="0" * 64)
    home = plan(TOPOLOGY, look, load_runbook(RUNBOOKS / "failback.yaml"), request, Timings(), before=look)
    assert certified(prove(home, TOPOLOGY, now=look, before=look)).complete


# ------------------------------------------------------------- runbooks that were edited


def test_a_runbook_that_promotes_before_it_fences_is_refused_with_its_story(tmp_path: Path) -> None:
    """Taking over in c accepts a loss, so the old primary must be fenced first: it waits for nobody in c."""
    path = edited(
        tmp_path,
        "centre-lost",
        ("    after: [detach, fence-first]", "    after: [detach]"),
        ("      - {fact: fenced, of: old-primary}\n      - {fact: cannot_ack, of: old-primary}\n", ""),
    )
    whole = made(TOPOLOGY, path, lost=("a",), target="c", accept_loss=True, fault="freeze-centre a")
    found = harm(prove(one_system(TOPOLOGY, whole, "first"), TOPOLOGY))
    assert found.rule in {"one-acknowledger", "promotion-licensed"}
    told = found.told("en")
    assert "Promote first/db@c" in told
    assert told.splitlines()[0].startswith("  1. ")
    assert "first/db@a" in found.story[-1].en
    assert "first/db@a" in found.story[-1].zh
    assert "Fence" not in told


def test_a_runbook_that_redirects_before_it_promotes_is_refused_with_its_story(tmp_path: Path) -> None:
    text = (RUNBOOKS / "centre-lost.yaml").read_text("utf-8")
    head, redirect, rest = text.partition("  - id: redirect\n")
    body, _, tail = rest.partition("    gates:\n")
    after = next(line for line in body.splitlines() if line.startswith("    after:"))
    lines = tail.splitlines(keepends=True)
    kept = "".join(line for n, line in enumerate(lines) if n > 2)
    path = tmp_path / "centre-lost.yaml"
    path.write_text(head + redirect + body.replace(after, "    after: [detect, release]") + kept, "utf-8")
    whole = made(TOPOLOGY, path, **DRILL)  # type: ignore[arg-type]
    found = harm(prove(one_system(TOPOLOGY, whole, "first"), TOPOLOGY))
    assert found.rule == "users-led-to-the-primary"
    assert "first/entry@edge" in found.story[-1].en
    assert not any("Promote" in s.en for s in found.story)


def test_a_plan_that_forgets_the_rejoin_is_refused_with_its_story() -> None:
    whole = one_system(TOPOLOGY, made(TOPOLOGY, RUNBOOKS / "centre-lost.yaml", **DRILL), "first")  # type: ignore[arg-type]
    gone = {s.id for s in whole.steps if s.verb is Verb.REJOIN}
    steps = tuple(replace(s, needs=tuple(n for n in s.needs if n not in gone)) for s in whole.steps if s.id not in gone)
    found = harm(prove(replace(whole, steps=steps), TOPOLOGY))
    assert found.rule == "comes-to-its-end"
    assert "first:protected" in found.story[-1].en


def test_a_plan_that_calls_itself_done_without_its_copies_is_refused() -> None:
    """Neither does the copy come back, nor does anything ask for it at the end."""
    whole = one_system(TOPOLOGY, made(TOPOLOGY, RUNBOOKS / "centre-lost.yaml", **DRILL), "first")  # type: ignore[arg-type]
    gone = {s.id for s in whole.steps if s.verb is Verb.REJOIN or s.id == "first:protected"}
    steps = tuple(replace(s, needs=tuple(n for n in s.needs if n not in gone)) for s in whole.steps if s.id not in gone)
    found = harm(prove(replace(whole, steps=steps), TOPOLOGY))
    assert found.rule == "three-copies"


def test_a_story_has_as_little_going_wrong_as_possible(tmp_path: Path) -> None:
    whole = one_system(TOPOLOGY, made(TOPOLOGY, RUNBOOKS / "centre-lost.yaml", **DRILL), "first")  # type: ignore[arg-type]
    gone = {s.id for s in whole.steps if s.verb is Verb.REJOIN or s.id == "first:protected"}
    steps = tuple(replace(s, needs=tuple(n for n in s.needs if n not in gone)) for s in whole.steps if s.id not in gone)
    found = harm(prove(replace(whole, steps=steps), TOPOLOGY))
    told = " ".join(s.en for s in found.story)
    assert not any(word in told for word in ("dies", "aborts", "late", "is cut", "stops by itself"))
