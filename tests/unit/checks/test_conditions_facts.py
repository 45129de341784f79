"""The plain facts: table of worlds and verdicts, one row a guard."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.checks.conditions import JUDGES, Evidence, judge, judge_all_conditions, opens
from orchestrator.model.observation import Downstream, Reach, Snapshot, Verdict
from orchestrator.model.plan import Condition, Fact
from orchestrator.model.topology import Role
from tests.unit.checks.world import APP_A, APP_B, APP_C, ENTRY, HEALTHY, PEOPLE, TOPOLOGY, A, B, C, change, gone

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
F = Fact
UNREAD = {Reach.REFUSED: FAIL, Reach.DENIED: UNKNOWN, Reach.SILENT: UNKNOWN, Reach.UNKNOWN: UNKNOWN}
"""What a statement that needs an answer is, for each way of not answering."""


def seen(fact: Fact, instance: str, others: tuple[str, ...], now: Snapshot, **fields: Any) -> Verdict:
    found = judge(
        Condition(fact=fact, instance=instance, others=others), Evidence(topology=TOPOLOGY, now=now, **fields)
    )
    assert (found.check, found.subject) == (fact.value, instance)
    assert found.reason.en and found.reason.zh
    return found.verdict


def test_every_fact_has_a_judge() -> None:
    assert set(JUDGES) == set(Fact)


SYNCED = (Downstream(centre="b", sync=True, streaming=True),)
DETACHED: dict[str, Any] = {"upstream": "", "receiving": False}

TABLE: list[tuple[Fact, str, tuple[str, ...], str, dict[str, Any], Verdict]] = [
    # fact, instance, others, instance that is changed, its fields, verdict
    (F.ANSWERS, A, (), A, {}, PASS),
    (F.WRITABLE_PRIMARY, A, (), A, {}, PASS),
    (F.WRITABLE_PRIMARY, B, (), B, {}, FAIL),
    (F.WRITABLE_PRIMARY, A, (), A, {"role": Role.STANDBY}, FAIL),
    (F.WRITABLE_PRIMARY, A, (), A, {"writable": False}, FAIL),
    (F.WRITABLE_PRIMARY, A, (), A, {"writable": None}, UNKNOWN),
    (F.WRITABLE_PRIMARY, A, (), A, {"role": None}, UNKNOWN),
    (F.NOT_WRITABLE, B, (), B, {}, PASS),
    (F.NOT_WRITABLE, A, (), A, {}, FAIL),
    (F.NOT_WRITABLE, A, (), A, {"writable": None}, UNKNOWN),
    (F.NOT_WRITABLE, A, (), A, {"reach": Reach.REFUSED, "writable": False}, UNKNOWN),
    (F.NOT_WRITABLE, A, (), A, {"reach": Reach.SILENT, "writable": False}, UNKNOWN),
    (F.NOT_SERVING, A, (), A, {}, FAIL),
    (F.NOT_SERVING, A, (), A, {"writable": False}, PASS),
    (F.NOT_SERVING, A, (), A, {"writable": None}, UNKNOWN),
    (F.NOT_SERVING, A, (), A, {"reach": Reach.REFUSED}, PASS),
    (F.NOT_SERVING, A, (), A, {"reach": Reach.SILENT}, PASS),
    (F.NOT_SERVING, A, (), A, {"reach": Reach.UNKNOWN}, UNKNOWN),
    (F.NOT_SERVING, A, (), A, {"reach": Reach.DENIED}, UNKNOWN),
    (F.NOT_SERVING, A, (), A, {"reach": Reach.DENIED, "barred": True}, PASS),
    (F.NOT_SERVING, APP_A, (), APP_A, {}, FAIL),
    (F.NOT_SERVING, APP_A, (), APP_A, {"answers": False}, PASS),
    (F.NOT_SERVING, APP_A, (), APP_A, {"answers": None, "writable": False}, UNKNOWN),
    (F.STANDBY_OF, B, (A,), B, {}, PASS),
    (F.STANDBY_OF, B, (), B, {}, UNKNOWN),
    (F.STANDBY_OF, C, (A,), C, {}, FAIL),
    (F.STANDBY_OF, B, (A,), B, {"role": Role.PRIMARY}, FAIL),
    (F.STANDBY_OF, B, (A,), B, {"role": None}, UNKNOWN),
    (F.STANDBY_OF, B, (A,), B, {"upstream": ""}, FAIL),
    (F.STANDBY_OF, B, (A,), B, {"upstream": None}, UNKNOWN),
    (F.STANDBY_OF, B, (A,), B, {"receiving": False}, FAIL),
    (F.STANDBY_OF, B, (A,), B, {"receiving": None}, UNKNOWN),
    (F.SYNC_STANDBY_OF, B, (A,), B, {}, PASS),
    (F.SYNC_STANDBY_OF, C, (B,), C, {}, FAIL),
    (F.SYNC_STANDBY_OF, B, (A,), B, {"receiving": False}, FAIL),
    (F.SYNC_STANDBY_OF, B, (), B, {}, UNKNOWN),
    (F.SYNC_STANDBY_OF, B, (A,), A, {"sync_required": ()}, FAIL),
    (F.SYNC_STANDBY_OF, B, (A,), A, {"sync_required": None}, UNKNOWN),
    (F.SYNC_STANDBY_OF, B, (A,), A, {"reach": Reach.SILENT}, UNKNOWN),
    (F.SYNC_STANDBY_OF, B, (A,), A, {"downstreams": ()}, FAIL),
    (F.SYNC_STANDBY_OF, B, (A,), A, {"downstreams": (replace(SYNCED[0], sync=False),)}, FAIL),
    (F.SYNC_STANDBY_OF, B, (A,), A, {"downstreams": (replace(SYNCED[0], streaming=False),)}, FAIL),
    (F.SYNC_STANDBY_OF, B, (A,), A, {"downstreams": (replace(SYNCED[0], centre="c"),)}, FAIL),
    (F.DETACHED, B, (), B, {}, FAIL),
    (F.DETACHED, B, (), B, DETACHED, PASS),
    (F.DETACHED, B, (), B, {**DETACHED, "role": Role.DETACHED}, PASS),
    (F.DETACHED, B, (), B, {**DETACHED, "role": Role.PRIMARY}, FAIL),
    (F.DETACHED, B, (), B, {**DETACHED, "role": None}, UNKNOWN),
    (F.DETACHED, B, (), B, {**DETACHED, "receiving": True}, FAIL),
    (F.DETACHED, B, (), B, {**DETACHED, "receiving": None}, UNKNOWN),
    (F.DETACHED, B, (), B, {**DETACHED, "upstream": "a"}, FAIL),
    (F.DETACHED, B, (), B, {**DETACHED, "upstream": None}, UNKNOWN),
    (F.NO_SYNC_WAIT, A, (), A, {}, PASS),
    (F.NO_SYNC_WAIT, A, (), A, {"sync_required": (), "downstreams": ()}, PASS),
    (F.NO_SYNC_WAIT, A, (), A, {"sync_required": None}, UNKNOWN),
    (F.NO_SYNC_WAIT, A, (), A, {"role": None}, UNKNOWN),
    (F.NO_SYNC_WAIT, A, (), A, {"role": Role.STANDBY, "sync_required": ()}, FAIL),
    (F.NO_SYNC_WAIT, A, (), A, {"sync_required": ("b", "c")}, FAIL),
    (F.NO_SYNC_WAIT, A, (), A, {"downstreams": ()}, FAIL),
    (F.NO_SYNC_WAIT, A, (), A, {"downstreams": (replace(SYNCED[0], sync=False),)}, FAIL),
    (F.NO_SYNC_WAIT, A, (), A, {"downstreams": (replace(SYNCED[0], streaming=False),)}, FAIL),
    (F.CALLS, APP_B, (A,), APP_B, {}, PASS),
    (F.CALLS, APP_B, (B,), APP_B, {}, FAIL),
    (F.CALLS, APP_B, (), APP_B, {}, UNKNOWN),
    (F.CALLS, APP_B, (A,), APP_B, {"upstream": ""}, FAIL),
    (F.CALLS, APP_B, (A,), APP_B, {"upstream": None}, UNKNOWN),
    (F.ROUTED_TO, ENTRY, (APP_A, APP_B), ENTRY, {}, PASS),
    (F.ROUTED_TO, ENTRY, (APP_B, APP_A), ENTRY, {}, PASS),
    (F.ROUTED_TO, ENTRY, (APP_A,), ENTRY, {}, FAIL),
    (F.ROUTED_TO, ENTRY, (APP_A, APP_B, APP_C), ENTRY, {}, FAIL),
    (F.ROUTED_TO, ENTRY, (), ENTRY, {"routes_to": ()}, UNKNOWN),
    (F.ROUTED_TO, ENTRY, (APP_A,), ENTRY, {"routes_to": ()}, FAIL),
    (F.ROUTED_TO, ENTRY, (APP_A,), ENTRY, {"routes_to": None}, UNKNOWN),
    (F.SERVES_USERS, APP_A, (), APP_A, {}, PASS),
    (F.SERVES_USERS, APP_A, (), APP_A, {"answers": False}, FAIL),
    (F.SERVES_USERS, APP_A, (), APP_A, {"answers": None}, UNKNOWN),
    (F.SERVES_USERS, APP_A, (), APP_A, {"writable": False}, FAIL),
    (F.SERVES_USERS, APP_A, (), APP_A, {"writable": None}, UNKNOWN),
    (F.SERVES_USERS, ENTRY, (), ENTRY, {}, PASS),
    (F.SERVES_USERS, ENTRY, (), ENTRY, {"answers": False}, FAIL),
    (F.SERVES_USERS, ENTRY, (), ENTRY, {"writable": False}, FAIL),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{row[4]}")
def test_facts(row: tuple[Fact, str, tuple[str, ...], str, dict[str, Any], Verdict]) -> None:
    fact, instance, others, changed, fields, verdict = row
    assert seen(fact, instance, others, change(HEALTHY, changed, **fields)) is verdict


@pytest.mark.parametrize("reach", list(UNREAD))
@pytest.mark.parametrize(
    ("fact", "instance", "others"),
    [
        (F.ANSWERS, A, ()),
        (F.WRITABLE_PRIMARY, A, ()),
        (F.STANDBY_OF, B, (A,)),
        (F.SYNC_STANDBY_OF, B, (A,)),
        (F.DETACHED, B, ()),
        (F.NO_SYNC_WAIT, A, ()),
        (F.CALLS, APP_A, (A,)),
        (F.ROUTED_TO, ENTRY, (APP_A, APP_B)),
        (F.SERVES_USERS, APP_A, ()),
    ],
)
def test_what_does_not_answer_passes_no_statement_that_needs_an_answer(
    fact: Fact, instance: str, others: tuple[str, ...], reach: Reach
) -> None:
    """Its last known fields are left in place on purpose: only an answer of now counts."""
    fields: dict[str, Any] = {"reach": reach, **(DETACHED if fact is F.DETACHED else {})}
    assert seen(fact, instance, others, change(HEALTHY, instance, **fields)) is UNREAD[reach]


@pytest.mark.parametrize(
    ("reach", "barred", "fenced", "verdict"),
    [
        (Reach.REFUSED, None, {A}, PASS),
        (Reach.DENIED, True, {A}, PASS),
        (Reach.DENIED, False, {A}, UNKNOWN),
        (Reach.DENIED, None, {A}, UNKNOWN),
        (Reach.SILENT, None, {A}, UNKNOWN),
        (Reach.SILENT, True, {A}, UNKNOWN),
        (Reach.UNKNOWN, None, {A}, UNKNOWN),
        (Reach.REFUSED, None, {B}, FAIL),
        (Reach.ANSWERED, None, {A}, FAIL),
    ],
)
def test_fenced(reach: Reach, barred: bool | None, fenced: set[str], verdict: Verdict) -> None:
    world = gone(HEALTHY, A, reach, barred=barred)
    assert seen(F.FENCED, A, (), world, fenced=frozenset(fenced)) is verdict


@pytest.mark.parametrize(
    ("instance", "serves"),
    [
        (APP_A, ""),  # nothing behind it
        (APP_A, "people/entry"),  # another app or entry behind it, and that one's business
        (ENTRY, "people/db"),  # an entry takes no writes of its own
    ],
)
def test_only_an_app_on_a_database_must_write(instance: str, serves: str) -> None:
    services = tuple(
        replace(v, serves=serves) if instance in {i.id for i in v.instances} else v for v in PEOPLE.services
    )
    topology = replace(TOPOLOGY, systems=(replace(PEOPLE, services=services),))
    found = judge(
        Condition(fact=F.SERVES_USERS, instance=instance),
        Evidence(topology=topology, now=change(HEALTHY, instance, writable=None)),
    )
    assert found.verdict is PASS


@pytest.mark.parametrize("fact", list(Fact))
def test_an_instance_that_the_topology_does_not_hold_is_unknown(fact: Fact) -> None:
    assert seen(fact, "people/db@z", (A,), HEALTHY) is UNKNOWN
    assert seen(fact, A, ("people/db@z",), HEALTHY) is UNKNOWN


def test_only_pass_opens_and_nothing_judged_does_not() -> None:
    world = Evidence(topology=TOPOLOGY, now=HEALTHY)
    good = Condition(fact=F.ANSWERS, instance=A)
    bad = Condition(fact=F.WRITABLE_PRIMARY, instance=B)
    unknown = Condition(fact=F.FENCED, instance="people/db@z")
    assert opens(judge_all_conditions((good, good), world))
    assert not opens(judge_all_conditions((good, bad), world))
    assert not opens(judge_all_conditions((good, unknown), world))
    assert not opens(judge_all_conditions((), world))
