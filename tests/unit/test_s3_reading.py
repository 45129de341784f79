"""A look at a bucket's zone where a gateway answers what a healthy one rarely does: nothing is made better by it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from orchestrator.model.observation import Reading
from orchestrator.model.topology import CopyMode, Instance, Replication, Role, Service, Setting
from orchestrator.providers.s3_reading import read
from orchestrator.providers.s3_wire import Wire
from tests.integration.provider_world import closed_address, garbage_address, silent_address
from tests.unit.s3_server import reply, server

ZONES = {"a": "id-a", "b": "id-b"}
VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


class Gateway:
    """One zone's gateway: what it says, by what it is asked."""

    def __init__(self, **said: Any) -> None:
        self.period = {
            "id": "p", "epoch": 1, "master_zone": "id-a", "realm_epoch": 3,
            "period_map": {"zonegroups": [{"id": "g", "name": "cq", "zones": [
                {"id": i, "name": n, "read_only": "false" if n == "a" else "true"} for n, i in ZONES.items()
            ]}]},
        }  # fmt: skip
        self.bucket: Any = {"id": "i", "max_marker": "0#00000000007.1.1,1#00000000005.2.1"}
        self.followed: Any = marks("00000000007.1.1", "00000000005.2.1")
        self.sync: Any = {"info": {"status": "sync"}, "markers": [{"key": 0, "val": {"status": "incremental-sync"}}]}
        self.entries: Any = []
        self.asked: list[str] = []
        vars(self).update(said)

    def answer(self, head: bytes, _: int) -> bytes:
        target = head.split(b" ", 2)[1].decode()
        asked = parse_qs(urlsplit(target).query, keep_blank_values=True)
        self.asked.append(target)
        path = urlsplit(target).path
        if path == "/admin/realm/period":
            return said(self.period)
        if path == "/admin/bucket":
            return said(self.bucket)
        if path == "/admin/log":
            if asked["type"] == ["data"]:
                return said(self.sync)
            return said(self.followed if "status" in asked else self.entries)
        if "versioning" in asked:
            return reply(VERSIONING)
        return reply(status="404 Not Found")


def said(body: Any) -> bytes:
    return reply(status="403 Forbidden") if body is None else reply(json.dumps(body).encode())


def marks(*positions: str, status: str = "incremental-sync") -> list[Mapping[str, Any]]:
    return [{"status": status, "inc_marker": {"position": p}} for p in positions]


async def look(leader: Gateway, copy: Gateway, *, sync: str = "", dark: bool = False) -> tuple[Reading, Reading]:
    """Both zones, read as the provider reads them; `sync`: where the copy's own gateway for that is declared to be."""
    async with server(leader.answer) as first, server(copy.answer) as second:
        a = msgspec.structs.replace(first, id="s/x@a", centre="a", service="s/x")
        b = msgspec.structs.replace(second, id="s/x@b", centre="b", service="s/x", role=Role.STANDBY)
        if sync:
            b = msgspec.structs.replace(b, params=(*b.params, Setting(name="sync_address", value=sync)))
        if dark:
            a = msgspec.structs.replace(a, address="127.0.0.1:9/b")
        service = bucket(a, b)
        return await read(service, a, 2.0), await read(service, b, 2.0)


def bucket(*instances: Instance) -> Service:
    way = Replication(source="a", target="b", mode=CopyMode.ASYNC, lag_max_s=3.0)
    return Service(
        id="s/x", system="s", name="x", kind="s3-bucket", nature="replicated",  # type: ignore[arg-type]
        instances=instances, replications=(way,),
    )  # fmt: skip


async def test_a_level_copy_is_level_and_a_master_leads() -> None:
    leader, copy = await look(Gateway(), Gateway())
    assert (leader.role, leader.writable, leader.position, leader.upstream) == (Role.PRIMARY, True, 12, "")
    assert (copy.role, copy.writable, copy.position, copy.upstream) == (Role.STANDBY, False, 12, "a")
    assert (copy.receiving, copy.lag_s, copy.timeline) == (True, 0.0, 3)


async def test_a_copy_that_is_behind_is_so_by_the_age_of_the_oldest_entry_it_lacks() -> None:
    written = time.time() - 40
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(written)) + ".000000Z"
    behind = Gateway(followed=marks("00000000006.1.1", "00000000005.2.1"))
    _, copy = await look(Gateway(entries=[{"timestamp": stamp}]), behind)
    assert copy.position == 11
    assert copy.lag_s == pytest.approx(40, abs=3)


@pytest.mark.parametrize(
    ("leader", "copy"),
    [
        ({}, {"followed": marks("00000000007.1.1", "", status="full-sync")}),
        ({}, {"followed": []}),
        ({}, {"followed": None}),
        ({}, {"bucket": None}),
        ({}, {"bucket": {"id": "i", "max_marker": "0#7,2#5"}}),
    ],
)
async def test_what_is_not_told_has_no_position(leader: dict[str, Any], copy: dict[str, Any]) -> None:
    _, seen = await look(Gateway(**leader), Gateway(**copy))
    assert (seen.role, seen.position, seen.lag_s) == (Role.STANDBY, None, None)


@pytest.mark.parametrize("entries", [[], None, [{"timestamp": "yesterday"}]])
async def test_behind_by_an_entry_that_nobody_shows_is_behind_by_an_unknown_time(entries: Any) -> None:
    _, copy = await look(Gateway(entries=entries), Gateway(followed=marks("00000000006.1.1", "00000000005.2.1")))
    assert (copy.position, copy.lag_s) == (11, None)


async def test_another_number_of_shards_tells_no_time() -> None:
    _, copy = await look(Gateway(), Gateway(followed=marks("00000000007.1.1")))
    assert copy.lag_s is None


async def test_a_master_that_does_not_answer_leaves_the_lag_untold() -> None:
    _, copy = await look(Gateway(), Gateway(), dark=True)
    assert (copy.position, copy.receiving, copy.lag_s) == (12, True, None)


async def test_what_fetches_and_is_not_there_means_that_nobody_is_received_from() -> None:
    with closed_address() as closed:
        _, copy = await look(Gateway(), Gateway(), sync=closed)
    assert copy.lag_s is None
    assert (copy.role, copy.upstream, copy.receiving, copy.position) == (Role.STANDBY, "", False, 12)


async def test_what_fetches_and_does_not_answer_leaves_it_untold() -> None:
    with silent_address() as silent:
        _, copy = await look(Gateway(), Gateway(), sync=silent)
    assert (copy.role, copy.upstream, copy.receiving, copy.position) == (Role.STANDBY, None, None, 12)


async def test_what_fetches_and_answers_nonsense_leaves_it_untold() -> None:
    with garbage_address() as garbage:
        _, copy = await look(Gateway(), Gateway(), sync=garbage)
    assert (copy.upstream, copy.receiving) == (None, None)


async def test_a_demoted_master_leads_and_takes_no_writes() -> None:
    gateway = Gateway()
    gateway.period["period_map"]["zonegroups"][0]["zones"][0]["read_only"] = "true"  # type: ignore[index]
    leader, _ = await look(gateway, Gateway())
    assert (leader.role, leader.writable, leader.position, leader.upstream) == (Role.PRIMARY, False, 12, "")


async def test_keys_that_change_are_used_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def answer(head: bytes, _: int) -> bytes:
        seen.append(head)
        return reply()

    async with server(answer) as instance:
        for key in ("one", "two"):
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
            wire = Wire(instance)
            await asyncio.wait_for(wire.ask("GET"), 5.0)
            wire.close()
    assert [key in head for head, key in zip(seen, (b"Credential=one/", b"Credential=two/"), strict=True)] == [True] * 2
