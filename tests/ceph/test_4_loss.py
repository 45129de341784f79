"""A zone is lost: the others are still proven, nothing is said of the lost one; and it catches up after its return."""

from __future__ import annotations

from orchestrator.lab.ceph import GATEWAYS, STORAGE
from orchestrator.model.observation import Reach, Verdict
from tests.ceph.world import CATCH_UP_S, World, tables


async def test_a_lost_zone_is_not_called_anything_and_catches_up(world: World) -> None:
    world.make("loss")
    client, far = world.client("a"), world.realm.zones["c"]
    for n in range(20):
        client.put_object(Bucket="loss", Key=f"before{n}", Body=b"1")
    world.settles("loss")
    far.end(*GATEWAYS, *STORAGE)
    try:
        for n in range(20):
            client.put_object(Bucket="loss", Key=f"meanwhile{n}", Body=b"1")
        world.settles("loss", "b")
        reading = await world.read("c", "loss")
        assert (reading.reach, reading.role, reading.writable) == (Reach.REFUSED, None, None)
        dark = await world.verify("loss")
        assert [r.content.verdict for r in dark.replicas if r.content] == [Verdict.PASS, Verdict.UNKNOWN]
        assert not dark.ok
    finally:
        far.start(*STORAGE)
        far.start("rgw")
    behind = await world.verify("loss", within_s=1.0)
    found = {r.instance[-1]: r.content for r in behind.replicas}
    assert found["c"] is not None and found["c"].verdict is not Verdict.PASS
    table = found["c"].tables[1]
    assert (table.rows_left, table.rows_right) == (40, 20)
    assert "was written" in table.reason.en
    far.start("sync")
    world.settles("loss", within_s=CATCH_UP_S)
    proof = await world.verify("loss")
    assert tables(proof) == {c: {"settings": "equal", "files": "equal"} for c in "bc"}
