"""How far a zone has followed another, whether it receives at all, and what is cut off; against what boto3 lists."""

from __future__ import annotations

import time

from orchestrator.lab.ceph import comes_true
from orchestrator.model.observation import Reading
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Role
from tests.ceph.world import World


def logged(world: World, entries: int) -> None:
    """Wait until the master lists so many entries: a gateway completes one, in index and log, just after its answer."""
    assert comes_true(lambda: len(world.listed("a", "level")) == entries, 30.0, 0.1)


async def level(world: World, zone: str, least: int = 0) -> Reading:
    """A reading of a zone that stands where the master stood before and after it; none on the way went too far."""
    until = time.monotonic() + 90.0
    while time.monotonic() < until:
        before = (await world.read("a", "level")).position
        reading = await world.read(zone, "level")
        after = (await world.read("a", "level")).position
        assert after is not None
        assert reading.position is None or least <= reading.position <= after
        if before == reading.position == after > least:
            return reading
    raise AssertionError(f"{zone} is not level with a: {reading}")


async def test_level_positions_mean_equal_listings_and_a_zone_cut_off_falls_behind(joined: World) -> None:
    world = joined
    world.make("level")
    client, far = world.client("a"), world.realm.zones["c"]
    for n in range(40):
        client.put_object(Bucket="level", Key=f"k{n % 25}", Body=b"1")
    client.delete_object(Bucket="level", Key="k3")
    logged(world, 41)
    reading = await level(world, "b")
    # Level, and told before anybody had looked: what b lists at that very moment is all.
    assert world.listed("b", "level") == world.listed("a", "level")
    assert (reading.lag_s, reading.receiving, reading.upstream) == (0.0, True, "a")

    # Cut off: it says so, its users are still served, and what is written meanwhile makes it older by the second.
    # Level by its own position first: a zone lists an object a moment before it counts it as followed.
    source = (await level(world, "c")).position
    assert source
    assert (await world.act(Verb.REPOINT, "c", epoch=1, bucket="level")).changed
    assert not (await world.act(Verb.REPOINT, "c", epoch=1, bucket="level")).changed
    assert far.pid("sync") is None
    client.put_object(Bucket="level", Key="late", Body=b"2")
    logged(world, 42)
    apart = await world.read("c", "level")
    assert (apart.role, apart.upstream, apart.receiving, apart.lag_s) == (Role.STANDBY, "", False, None)
    assert apart.position == source
    assert "late" not in {k for k, _, _ in world.listed("c", "level")}

    # Back: it comes nearer and never says more than what it has; level again, it has everything.
    assert (await world.act(Verb.REPOINT, "c", "a", epoch=1, bucket="level")).changed
    assert not (await world.act(Verb.REPOINT, "c", "a", epoch=1, bucket="level")).changed
    back = await level(world, "c", source)
    assert "late" in {k for k, _, _ in world.listed("c", "level")}
    assert (back.lag_s, back.receiving, back.upstream) == (0.0, True, "a")


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
