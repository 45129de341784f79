"""The master zone is lost, another takes its part; the old one comes back with what it knew: the stale-master trap."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.lab import buckets, state
from orchestrator.lab.ceph import GATEWAYS, STORAGE, comes_true
from orchestrator.model.observation import Reach
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Role
from orchestrator.providers.base import ActionFailed
from tests.ceph.world import World, refused, tables
from tests.integration.drills import Home


async def test_failover_stale_master_rejoin_and_failback(world: World) -> None:
    world.make("moved")
    world.client("a").put_object(Bucket="moved", Key="before", Body=b"1")
    world.settles("moved")
    a = world.realm.zones["a"]

    # Fence: nobody gets in, and twice is as once.
    assert (await world.act(Verb.FENCE, "a", epoch=1, bucket="moved")).changed
    assert not (await world.act(Verb.FENCE, "a", epoch=1, bucket="moved")).changed
    assert (await world.read("a", "moved")).reach is Reach.REFUSED

    # Promote b: it takes writes and makes buckets, as boto3 sees it.
    assert (await world.act(Verb.PROMOTE, "b", epoch=1, bucket="moved")).changed
    assert not (await world.act(Verb.PROMOTE, "b", epoch=1, bucket="moved")).changed
    b = world.client("b")
    assert not refused(lambda: b.put_object(Bucket="moved", Key="after", Body=b"2"))
    assert comes_true(lambda: not refused(lambda: b.create_bucket(Bucket="made-at-b")), 60, 0.5)
    reading = await world.read("b", "moved")
    assert (reading.role, reading.writable, reading.epoch, reading.setting("master")) == (Role.PRIMARY, True, 1, "b")
    assert comes_true(lambda: ("after",) in {k[:1] for k in world.listed("c", "moved")}, 60, 0.5)

    # An older run may do nothing any more.
    with pytest.raises(ActionFailed, match="later run"):
        await world.act(Verb.DEMOTE, "b", epoch=0, bucket="moved")

    # The trap: an administrator starts the old master as it is. It takes writes that nobody else sees as the master's.
    a.start(*GATEWAYS)
    stale = await world.read("a", "moved")
    assert (stale.writable, stale.setting("master")) == (True, "a")
    assert stale.timeline is not None and reading.timeline is not None and stale.timeline < reading.timeline
    trapped = await world.verify("moved")
    assert not trapped.ok
    assert "more than one zone takes writes" in trapped.reason.en
    assert not trapped.replicas

    # Rejoin: it learns the new period before its gateway starts, and follows.
    await world.act(Verb.FENCE, "a", epoch=2, bucket="moved")
    assert (await world.act(Verb.REJOIN, "a", "b", epoch=2, bucket="moved")).changed
    back = await world.read("a", "moved")
    assert (back.role, back.writable, back.setting("master"), back.timeline) == (
        Role.STANDBY, False, "b", reading.timeline,
    )  # fmt: skip
    assert refused(lambda: world.client("a").put_object(Bucket="moved", Key="at-a", Body=b"3")) == "AccessDenied"
    world.settles("moved", "bc", 150.0)
    proof = await world.verify("moved", within_s=30.0)
    assert proof.primary == "archive/files@b"
    assert tables(proof) == {c: {"settings": "equal", "files": "equal"} for c in "ac"}
    assert proof.ok

    # Failback: b stops taking writes, a is promoted; all zones act by one period, and nothing was lost.
    await world.act(Verb.DEMOTE, "b", epoch=3, bucket="moved")
    assert refused(lambda: b.put_object(Bucket="moved", Key="late", Body=b"4")) == "AccessDenied"
    assert (await world.verify("moved")).primary == ""
    await world.act(Verb.PROMOTE, "a", epoch=3, bucket="moved")
    await world.act(Verb.REPOINT, "b", "a", epoch=3, bucket="moved")
    assert not refused(lambda: world.client("a").put_object(Bucket="moved", Key="home", Body=b"5"))
    world.settles("moved", "bc", 150.0)
    assert {k for k, _, _ in world.listed("c", "moved")} == {"before", "after", "home"}
    home = await world.verify("moved", within_s=30.0)
    assert (home.primary, home.ok) == ("archive/files@a", True)


async def test_after_all_zones_were_dead_their_stores_tell_who_missed_a_failover(world: World, home: Home) -> None:
    if not world.has_bucket("a", "moved"):
        world.make("moved")
    zones = world.realm.zones
    zones["a"].end(*GATEWAYS, *STORAGE)
    await world.act(Verb.PROMOTE, "b", epoch=4, bucket="moved")
    leads = (await world.read("b", "moved")).timeline
    while (await world.read("c", "moved")).timeline != leads:
        await asyncio.sleep(0.1)
    for zone in zones.values():
        zone.end(*GATEWAYS, *STORAGE)

    name = "legal-person/files@"
    assert buckets.ensure(state.require(home.path / "lab")) == [
        f"left {name}a: it missed a failover; rejoin it", f"started {name}b", f"started {name}c",
    ]  # fmt: skip
    assert (await world.read("a", "moved")).reach is Reach.REFUSED
    assert not refused(lambda: world.client("b").put_object(Bucket="moved", Key="goes-on", Body=b"6"))

    # Fenced, it is left alone as well; and then everything goes home, for the tests that follow.
    await world.act(Verb.FENCE, "a", epoch=4, bucket="moved")
    (left,) = buckets.ensure(state.require(home.path / "lab"))
    assert left == f"left {name}a: fenced; unfence or rejoin it"
    await world.act(Verb.REJOIN, "a", "b", epoch=4, bucket="moved")
    world.settles("moved", "bc", 150.0)
    await world.act(Verb.DEMOTE, "b", epoch=5, bucket="moved")
    await world.act(Verb.PROMOTE, "a", epoch=5, bucket="moved")
    await world.act(Verb.REPOINT, "b", "a", epoch=5, bucket="moved")
    assert not refused(lambda: world.client("a").put_object(Bucket="moved", Key="home-again", Body=b"7"))
    world.settles("moved", "bc", 150.0)
