"""Every verb of the PostgreSQL provider on real databases; outcomes are read from the databases, not from the provider.

Each test takes a system as it finds it (whoever is primary now) and leaves it with three streaming copies.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from pathlib import Path

import msgspec
import psycopg
import pytest

from orchestrator.model.observation import Reach
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Role, Setting
from orchestrator.providers.base import ActionFailed, Outcome
from orchestrator.providers.postgresql_sql import quoted
from orchestrator.providers.waiting import comes_true
from tests.integration.labs import Lab
from tests.integration.provider_world import World

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def world(fresh_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(fresh_lab.dir, tmp_path_factory.mktemp("artifacts"))


def facts(outcome: Outcome) -> dict[str, str]:
    return {f.name: f.value for f in outcome.facts}


async def test_failover_after_a_killed_primary_and_rejoin_by_rewind(world: World) -> None:
    primary, sync, third = await world.trio("legal-person")
    world.begin()
    world.write(primary, "acknowledged")
    world.signal(primary, signal.SIGKILL)

    detached = await world.act(Verb.REPOINT, sync)
    reading = await world.read(sync)
    assert (reading.upstream, reading.receiving, reading.role) == ("", False, Role.STANDBY)
    assert int(facts(detached)["received"]) == reading.position
    await world.act(Verb.PROMOTE, sync)
    world.write(sync, "after")

    for verb in (Verb.PROMOTE, Verb.DEMOTE):
        assert (await world.read(sync)).epoch == world.epoch
        if verb is Verb.PROMOTE:
            assert not (await world.act(verb, sync)).changed
    with pytest.raises(ActionFailed, match="is a primary"):
        await world.act(Verb.REPOINT, sync)

    outcome, _ = await world.protect(sync, primary, third)
    assert facts(outcome)["method"] == "rewind"
    assert facts(outcome)["discarded_transactions"] == "0"
    assert await world.trio("legal-person") == (sync, primary, third)
    assert {"acknowledged", "after"} <= world.values(primary)
    again = await world.act(Verb.REJOIN, primary, sync, mode="sync")
    assert not again.changed
    assert not list(Path(f"{world.param(primary, 'pgdata')}.drctl").glob("conf*"))


async def test_switchover_loses_nothing_and_ends_clients(world: World) -> None:
    primary, sync, third = await world.trio("legal-person")
    world.begin()
    world.write(primary, "before")
    with world.sql(primary) as client:
        outcome = await world.act(Verb.DEMOTE, primary)
        assert int(facts(outcome)["sessions_ended"]) >= 1
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        world.write(primary, "too late")
    reading = await world.read(primary)
    assert (reading.role, reading.writable) == (Role.PRIMARY, False)
    assert not (await world.act(Verb.DEMOTE, primary)).changed

    async def holds_all() -> bool:
        return (await world.read(sync)).position == (await world.read(primary)).position

    assert await comes_true(holds_all, 10.0, 0.01)

    await world.act(Verb.REPOINT, sync)
    await world.act(Verb.PROMOTE, sync)
    world.write(sync, "on the new one")
    await world.protect(sync, primary, third)
    assert await world.trio("legal-person") == (sync, primary, third)
    assert {"before", "on the new one"} <= world.values(primary)
    assert "too late" not in world.values(sync)
    assert world.ask(primary, "show default_transaction_read_only") == "off"


async def test_undo_of_a_demotion_takes_writes_again(world: World) -> None:
    primary, sync, _ = await world.trio("legal-person")
    world.begin()
    await world.act(Verb.DEMOTE, primary)
    assert (await world.act(Verb.UNFENCE, primary)).changed
    assert not (await world.act(Verb.UNFENCE, primary)).changed
    world.write(primary, "writable again")
    await world.act(Verb.DEMOTE, sync, primary)
    assert (await world.read(primary)).sync_required == ()
    await world.act(Verb.UNFENCE, sync, primary)
    assert (await world.trio("legal-person"))[:2] == (primary, sync)


async def test_a_frozen_primary_is_fenced_for_good(world: World) -> None:
    primary, sync, third = await world.trio("sharing")
    world.begin()
    world.write(primary, "acknowledged")
    world.signal(primary, signal.SIGSTOP)
    began = time.monotonic()
    reading = await world.read(primary, 0.5)
    assert (reading.reach, reading.writable, reading.role) == (Reach.SILENT, None, None)
    for verb in (Verb.PROMOTE, Verb.DEMOTE, Verb.REPOINT):
        with pytest.raises(ActionFailed):
            await world.act(verb, primary, within_s=0.5)
    assert time.monotonic() - began < 4 * 0.5 + 2.0

    await world.act(Verb.REPOINT, sync)
    with pytest.raises(ActionFailed):
        await world.act(Verb.REPOINT, sync, primary, within_s=1.0)
    assert (await world.read(sync)).upstream == primary[-1]  # the way back is set, though its source is not there
    await world.act(Verb.REPOINT, sync)
    await world.act(Verb.PROMOTE, sync)
    world.write(sync, "after")
    assert (await world.act(Verb.FENCE, primary)).changed
    assert world.pids(primary) == []
    assert not (await world.act(Verb.FENCE, primary)).changed
    assert (await world.read(primary)).reach is Reach.REFUSED

    world.start_by_hand(primary)
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
        world.write(primary, "into the fenced one")
    reading = await world.read(primary)
    assert (reading.reach, reading.barred, reading.writable) == (Reach.DENIED, True, None)
    for verb in (Verb.UNFENCE, Verb.START):
        with pytest.raises(ActionFailed, match=r"second primary|is fenced"):
            await world.act(verb, primary)
        assert (await world.read(primary)).reach is Reach.DENIED

    await world.protect(sync, primary, third)
    assert await world.trio("sharing") == (sync, primary, third)
    assert {"acknowledged", "after"} <= world.values(primary)


async def test_a_later_run_fences_an_older_one_out(world: World) -> None:
    primary, sync, third = await world.trio("sharing")
    old, new = world.begin(), world.begin()
    with world.sql(primary, f"drctl {old}") as zombie:
        assert not (await world.act(Verb.PROMOTE, primary, epoch=new)).changed
        with pytest.raises(psycopg.OperationalError):
            zombie.execute("alter system set work_mem = '5MB'")
    await world.act(Verb.REPOINT, third, sync, epoch=new)
    settings = world.ask(primary, "select string_agg(name || setting, ',') from pg_file_settings")
    for verb, name, towards in (
        (Verb.PROMOTE, primary, ()),
        (Verb.DEMOTE, primary, ()),
        (Verb.UNFENCE, primary, ()),
        (Verb.REPOINT, third, ()),
        (Verb.REPOINT, third, (primary,)),
        (Verb.DEMOTE, sync, (primary,)),
        (Verb.REJOIN, third, (sync,)),
        (Verb.FENCE, third, ()),
        (Verb.STOP, third, ()),
    ):
        with pytest.raises(ActionFailed, match="later run"):
            await world.act(verb, name, *towards, epoch=old)
    assert world.ask(primary, "select string_agg(name || setting, ',') from pg_file_settings") == settings
    assert await world.trio("sharing") == (primary, sync, third)


async def test_writes_hang_on_a_dead_sync_standby_until_it_is_demoted(world: World) -> None:
    primary, sync, _ = await world.trio("sharing")
    world.begin()
    world.signal(sync, signal.SIGKILL)
    done = threading.Event()

    def write() -> None:
        world.write(primary, "waits")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert not done.wait(0.7)
    reading = await world.read(primary)
    assert reading.sync_required == (sync[-1],)
    assert not any(d.sync for d in reading.downstreams)
    assert (await world.act(Verb.DEMOTE, sync, primary)).changed
    assert done.wait(5)
    writer.join()
    assert not (await world.act(Verb.DEMOTE, sync, primary)).changed
    assert (await world.read(primary)).sync_required == ()

    outcome = await world.act(Verb.REJOIN, sync, primary, mode="sync")
    assert facts(outcome)["method"] == "start"
    assert (await world.trio("sharing"))[:2] == (primary, sync)
    assert "waits" in world.values(sync)


async def test_stop_start_fence_and_unfence_of_a_standby(world: World) -> None:
    primary, sync, third = await world.trio("sharing")
    world.begin()
    assert (await world.act(Verb.STOP, third)).changed
    assert world.pids(third) == []
    assert not (await world.act(Verb.STOP, third)).changed
    assert (await world.act(Verb.START, third)).changed
    assert not (await world.act(Verb.START, third)).changed
    await world.act(Verb.FENCE, third)
    with pytest.raises(ActionFailed, match="is fenced"):
        await world.act(Verb.START, third)
    assert (await world.act(Verb.UNFENCE, third)).changed
    reading = await world.read(third)
    assert (reading.reach, reading.epoch) == (Reach.ANSWERED, world.epoch)
    await world.act(Verb.REPOINT, third, sync)
    assert await world.trio("sharing") == (primary, sync, third)


async def test_repoint_moves_the_slot_along(world: World) -> None:
    primary, sync, third = await world.trio("sharing")
    world.begin()
    centre = third[-1]
    slots = "select array_agg(slot_name::text order by slot_name) from pg_replication_slots"
    assert (await world.act(Verb.REPOINT, third, primary)).changed
    assert not (await world.act(Verb.REPOINT, third, primary)).changed
    assert (await world.read(third)).upstream == primary[-1]
    assert centre in world.ask(primary, slots)
    assert centre not in (world.ask(sync, slots) or [])
    await world.act(Verb.REPOINT, third, sync)
    assert centre not in world.ask(primary, slots)
    assert world.ask(sync, slots) == [centre]


async def test_what_a_rejoin_discards_is_counted_and_kept(world: World) -> None:
    primary, sync, third = await world.trio("open-data")
    world.begin()
    world.write(primary, "in both")
    await world.act(Verb.DEMOTE, sync, primary)
    await world.arrives(sync, "in both")
    await world.act(Verb.REPOINT, sync)
    lost = {f"lost-{n}" for n in range(5)}
    for value in sorted(lost):
        world.write(primary, value)
    world.signal(primary, signal.SIGKILL)
    await world.act(Verb.PROMOTE, sync)
    world.write(sync, "survives")

    told = facts((await world.protect(sync, primary, third))[0])
    assert told["method"] == "rewind"
    assert told["discarded_transactions"] == "5"
    assert int(told["discarded_bytes"]) > 0
    kept = Path(told["discarded_kept"])
    assert len((kept / "transactions.txt").read_text().splitlines()) == 5
    assert any(len(p.name) == 24 for p in kept.iterdir())
    assert await world.trio("open-data") == (sync, primary, third)
    for name in (primary, sync):
        assert world.values(name) >= {"in both", "survives"}
        assert not world.values(name) & lost


async def test_a_standby_that_ran_ahead_is_rewound(world: World) -> None:
    primary, sync, third = await world.trio("open-data")
    world.begin()
    await world.act(Verb.REPOINT, third, primary)
    await world.act(Verb.DEMOTE, sync, primary)
    await world.act(Verb.REPOINT, sync)
    world.write(primary, "only in the third")
    await world.arrives(third, "only in the third")
    world.signal(primary, signal.SIGKILL)
    await world.act(Verb.PROMOTE, sync)
    outcome = await world.act(Verb.REJOIN, third, sync)
    assert facts(outcome)["method"] == "rewind"
    assert int(facts(outcome)["discarded_bytes"]) > 0
    assert facts(outcome)["discarded_transactions"] == "1"
    assert "only in the third" not in world.values(third)
    await world.protect(sync, primary, third)
    assert await world.trio("open-data") == (sync, primary, third)


async def test_a_lost_data_folder_and_an_interrupted_rewind_come_back_by_base_backup(world: World) -> None:
    primary, sync, third = await world.trio("open-data")
    world.begin()
    world.signal(third, signal.SIGKILL)
    data = Path(world.param(third, "pgdata"))
    for item in data.iterdir():
        shutil.rmtree(item) if item.is_dir() else item.unlink()
    assert facts(await world.act(Verb.REJOIN, third, sync))["method"] == "basebackup"
    assert await world.trio("open-data") == (primary, sync, third)

    world.signal(third, signal.SIGKILL)
    (Path(f"{data}.drctl") / "rewinding").touch()
    with pytest.raises(ActionFailed, match="interrupted"):
        await world.act(Verb.START, third)
    assert facts(await world.act(Verb.REJOIN, third, sync))["method"] == "basebackup"
    assert await world.trio("open-data") == (primary, sync, third)
    assert not (Path(f"{data}.drctl") / "old").exists()


async def test_a_rejoin_never_discards_the_only_primary(world: World) -> None:
    primary, sync, third = await world.trio("open-data")
    world.begin()
    with pytest.raises(ActionFailed, match="takes writes"):
        await world.act(Verb.REJOIN, primary, sync)
    world.write(primary, "still here")
    assert await world.trio("open-data") == (primary, sync, third)


async def test_lag_is_told_while_replay_is_paused(world: World) -> None:
    primary, sync, third = await world.trio("open-data")
    world.write(primary, "first")
    with world.sql(third) as session:
        session.execute("select pg_wal_replay_pause()")
    try:
        world.write(primary, "unseen")
        began = time.monotonic()
        while (lag := (await world.read(third)).lag_s or 0.0) < 1.0:
            assert time.monotonic() - began < 10
        reading = await world.read(third)
        assert reading.replayed is not None
        assert reading.position is not None
        assert reading.replayed < reading.position
        assert lag < time.monotonic() - began + 5
    finally:
        with world.sql(third) as session:
            session.execute("select pg_wal_replay_resume()")
    while (await world.read(third)).lag_s:
        assert time.monotonic() - began < 20
    assert (await world.read(sync)).lag_s == 0.0


async def test_an_unused_slot_is_seen_to_keep_the_log_back(world: World) -> None:
    primary, _, _ = await world.trio("open-data")
    with world.sql(primary) as session:
        session.execute("select pg_create_physical_replication_slot('unused', true)")
        try:
            session.execute("create temp table filler as select generate_series(1, 20000)")
            for n in range(20):
                world.write(primary, f"filler-{n}")
            reading = await world.read(primary)
            assert reading.wal_retained_bytes is not None
            assert reading.wal_retained_bytes > 1000
            assert reading.wal_limit_bytes == 512 << 20
            assert reading.slots_lost == ()
        finally:
            session.execute("select pg_drop_replication_slot('unused')")


async def test_disk_room_can_come_from_a_query_of_the_operator(world: World) -> None:
    primary, _, third = await world.trio("open-data")
    program = """df -B1 --output=avail,size . | awk 'NR==2 {print $1 "," $2}'"""
    with world.sql(primary) as session:
        session.execute("create extension if not exists file_fdw")
        session.execute("create server if not exists df foreign data wrapper file_fdw")
        session.execute(
            "create foreign table if not exists drctl_disk (free bigint, total bigint) server df"
            f" options (program {quoted(program)}, format 'csv')"
        )

    async def defined() -> bool:
        return bool(world.ask(third, "select to_regclass('drctl_disk') is not null"))

    assert await comes_true(defined, 10.0, 0.01)
    for name in (primary, third):
        instance = world.instance(name)
        asked = Setting(name="disk_query", value="select free, total from drctl_disk")
        told = msgspec.structs.replace(instance, params=(*instance.params, asked))
        service = world.topology.service_by_id[instance.service]
        reading = await world.postgresql.read(service, told, 5.0)
        usual = await world.read(name)
        assert reading.disk_total_bytes == usual.disk_total_bytes
        assert reading.disk_free_bytes == pytest.approx(usual.disk_free_bytes, rel=0.1)
