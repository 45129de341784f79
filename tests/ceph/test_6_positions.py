"""How far a zone has followed another, whether it receives at all, and what is cut off; against what boto3 lists."""

from __future__ import annotations

import asyncio
import time

from orchestrator.model.plan import Verb
from orchestrator.model.topology import Role
from tests.ceph.world import World


async def at_rest(world: World) -> int:
    """The master's position when nobody writes: a gateway completes an entry of the index just after its answer."""
    before, now = None, (await world.read("a", "level")).position
    while now is None or now != before:
        await asyncio.sleep(0.3)
        before, now = now, (await world.read("a", "level")).position
    return now


async def test_level_positions_mean_equal_listings_and_a_zone_cut_off_falls_behind(joined: World) -> None:
    world = joined
    world.make("level")
    client, far = world.client("a"), world.realm.zones["c"]
    for n in range(40):
        client.put_object(Bucket="level", Key=f"k{n % 25}", Body=b"1")
    client.delete_object(Bucket="level", Key="k3")
    source = await at_rest(world)
    assert source
    reading = await world.read("b", "level")
    until = time.monotonic() + 90.0
    while reading.position != source and time.monotonic() < until:
        assert reading.position is None or reading.position < source
        reading = await world.read("b", "level")
    # Level, and told before anybody had looked: what b lists at that very moment is all.
    assert world.listed("b", "level") == world.listed("a", "level")
    assert (reading.position, reading.lag_s, reading.receiving, reading.upstream) == (source, 0.0, True, "a")

    # Cut off: it says so, its users are still served, and what is written meanwhile makes it older by the second.
    # Level by its own position first: a zone lists an object a moment before it counts it as followed.
    while (await world.read("c", "level")).position != source and time.monotonic() < until:
        await asyncio.sleep(0.1)
    assert (await world.act(Verb.REPOINT, "c", epoch=1, bucket="level")).changed
    assert not (await world.act(Verb.REPOINT, "c", epoch=1, bucket="level")).changed
    assert far.pid("sync") is None
    client.put_object(Bucket="level", Key="late", Body=b"2")
    apart = await world.read("c", "level")
    assert (apart.role, apart.upstream, apart.receiving, apart.lag_s) == (Role.STANDBY, "", False, None)
    now = await at_rest(world)
    assert now > source == apart.position
    assert "late" not in {k for k, _, _ in world.listed("c", "level")}

    # Back: it comes nearer and never says more than what it has; level again, it has everything.
    assert (await world.act(Verb.REPOINT, "c", "a", epoch=1, bucket="level")).changed
    assert not (await world.act(Verb.REPOINT, "c", "a", epoch=1, bucket="level")).changed
    until = time.monotonic() + 90.0
    back = await world.read("c", "level")
    while back.position != now and time.monotonic() < until:
        assert back.position is None or apart.position <= back.position < now
        back = await world.read("c", "level")
    assert "late" in {k for k, _, _ in world.listed("c", "level")}
    assert (back.position, back.lag_s, back.receiving, back.upstream) == (now, 0.0, True, "a")


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
