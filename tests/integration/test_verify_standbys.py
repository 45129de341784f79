"""Two standbys held against each other, with a primary that writes, without one, and where one of them is behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from orchestrator.model.observation import Verdict
from orchestrator.model.proof import Method, Part, Sameness, ServiceProof
from tests.integration.test_verify_live import populate, write
from tests.integration.verify_pair import Node, Pair, Writer, pair, wait_for
from tests.integration.verify_tools import Heap, of, prove, settle_to_disk

B, C = "legal-person/db@b", "legal-person/db@c"


@pytest.fixture(scope="module")
def live() -> Iterator[Pair]:
    with pair(("b", "c")) as made:
        populate(made)
        made.a.sql("CREATE TABLE still (id int PRIMARY KEY, name text) WITH (autovacuum_enabled = false)")
        made.a.sql("INSERT INTO still SELECT g, 'row-' || g || '-here' FROM generate_series(1, 500) g")
        made.catch_up(made.standbys["b"])
        made.catch_up(made.standbys["c"])
        yield made


def between(live: Pair, *parts: Part, reference: str = B, **options: Any) -> ServiceProof:
    return prove(live, *parts, reference=reference, locks=False, **options)


@contextmanager
def paused(node: Node) -> Iterator[None]:
    node.sql("SELECT pg_wal_replay_pause()")
    try:
        wait_for(lambda: node.sql("SELECT pg_get_wal_replay_pause_state()") == [("paused",)], 10, "the pause")
        yield
    finally:
        node.sql("SELECT pg_wal_replay_resume()")


def test_standbys_of_a_primary_that_writes_are_equal(live: Pair) -> None:
    with Writer(live.a, write) as writer:
        for reference, other in ((B, C), (C, B)):
            proof = between(live, reference=reference)
            assert proof.ok, msgspec.json.encode(proof).decode()
            assert (proof.primary, [r.instance for r in proof.replicas]) == (reference, [other])
            found = proof.replicas[0].content
            assert found is not None
            assert (found.method, found.held_s) == (Method.RECHECK, 0)
        assert writer.done


@pytest.mark.parametrize(("behind", "ahead"), [("b", "c"), ("c", "b")])
def test_one_that_is_behind_is_no_difference_and_no_proof(live: Pair, behind: str, ahead: str) -> None:
    """Whichever side is behind: the reference or the other."""
    with paused(live.standbys[behind]):
        live.a.sql("UPDATE person SET visits = visits + 1 WHERE id < 100")
        live.catch_up(live.standbys[ahead])
        proof = between(live, Part.CONTENT, within_s=0.5)
        found = proof.replicas[0].content
        assert found is not None
        assert not proof.ok
        assert found.count(Sameness.DIFFERENT) == 0, msgspec.json.encode(found).decode()
        assert found.verdict is Verdict.UNKNOWN
    live.catch_up(live.standbys[behind])
    assert between(live, Part.CONTENT).ok


def test_a_primary_is_no_reference(live: Pair) -> None:
    leads = between(live, reference="legal-person/db@a")
    assert not leads.ok
    assert "it is a primary" in leads.reason.en


def dies(live: Pair) -> None:
    """The primary, with its standbys at one position: without clients it writes too, and that may reach one alone."""
    for _ in range(5):
        for node in live.standbys.values():
            live.catch_up(node)
        live.a.stop("immediate")
        if len({node.sql("SELECT pg_last_wal_receive_lsn()")[0][0] for node in live.standbys.values()}) == 1:
            return
        live.a.start()
    raise AssertionError("each time one standby had received more than the other")


def test_without_a_primary_they_are_proven_and_a_difference_is_found(live: Pair) -> None:
    """Last in this file: the primary dies, and one standby's storage is edited."""
    settle_to_disk(live, live.standbys["c"])
    dies(live)
    gone = prove(live, Part.CONTENT)
    assert not gone.primary  # what could not be proven before
    silent = between(live, Part.CONTENT, reference="legal-person/db@a")
    assert (silent.ok, silent.primary) == (False, "")
    assert "connection" in silent.reason.en
    proof = between(live, Part.POSITIONS, Part.CONTENT, Part.DRIFT, centres=("c",))
    assert proof.ok, msgspec.json.encode(proof).decode()
    c = live.standbys["c"]
    heap = Heap(c, "still")
    c.stop()
    heap.flip(b"row-77-here", b"row-77-gone")
    c.start()
    found = between(live, Part.CONTENT, centres=("c",)).replicas[0].content
    assert found is not None
    assert [(d.key, d.kind.value) for d in of(found, "public.still").differences] == [("77", "changed")]
    assert of(found, "public.person").sameness is Sameness.EQUAL
