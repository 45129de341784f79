"""How far a zone has followed another, whether it receives at all, and what is cut off; against what boto3 lists."""

from __future__ import annotations

import time

from orchestrator.lab.ceph import comes_true
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Role
from tests.ceph.world import World


async def test_level_positions_mean_equal_listings_and_a_zone_cut_off_falls_behind(world: World) -> None:
    world.make("level")
    client, far = world.client("a"), world.realm.zones["c"]
    for n in range(40):
        client.put_object(Bucket="level", Key=f"k{n % 25}", Body=b"1")
    client.delete_object(Bucket="level", Key="k3")
    source = await world.read("a", "level")
    assert source.position
    reading = await world.read("b", "level")
    until = time.monotonic() + 90.0
    while reading.position != source.position and time.monotonic() < until:
        assert reading.position is None or reading.position < source.position
        reading = await world.read("b", "level")
    # Level, and told before anybody had looked: what b lists at that very moment is all.
    assert world.listed("b", "level") == world.listed("a", "level")
    assert (reading.position, reading.lag_s, reading.receiving, reading.upstream) == (source.position, 0.0, True, "a")

    # Cut off: it says so, its users are still served, and what is written meanwhile makes it older by the second.
    world.settles("level")
    assert (await world.act(Verb.REPOINT, "c", epoch=1, bucket="level")).changed
    assert not (await world.act(Verb.REPOINT, "c", epoch=1, bucket="level")).changed
    assert far.pid("sync") is None
    client.put_object(Bucket="level", Key="late", Body=b"2")
    apart = await world.read("c", "level")
    assert (apart.role, apart.upstream, apart.receiving, apart.lag_s) == (Role.STANDBY, "", False, None)
    assert apart.position == source.position
    now = (await world.read("a", "level")).position
    assert now is not None and now > source.position
    assert "late" not in {k for k, _, _ in world.listed("c", "level")}

    # Back: it is behind by the age of what it lacks, and then level again.
    far.start("sync")
    behind = await world.read("c", "level")
    assert behind.receiving in {True, False}
    assert (await world.act(Verb.REPOINT, "c", "a", epoch=1, bucket="level")).changed is False
    assert comes_true(lambda: "late" in {k for k, _, _ in world.listed("c", "level")}, 90.0, 0.2)
    assert behind.position in {apart.position, now}
    if behind.position == apart.position and behind.lag_s is not None:
        assert 0 < behind.lag_s < 90


async def test_a_demoted_zone_is_the_primary_that_takes_no_writes_and_unfence_gives_them_back(world: World) -> None:
    if not world.has_bucket("a", "level"):
        world.make("level")
    await world.act(Verb.DEMOTE, "a", epoch=2, bucket="level")
    reading = await world.read("a", "level")
    assert (reading.role, reading.writable, reading.upstream) == (Role.PRIMARY, False, "")
    await world.act(Verb.UNFENCE, "a", epoch=2, bucket="level")
    again = await world.read("a", "level")
    assert (again.role, again.writable) == (Role.PRIMARY, True)
    world.client("a").put_object(Bucket="level", Key="again", Body=b"3")
    world.settles("level")
