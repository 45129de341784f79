"""The provider contract, on a bucket of a real realm; and what a reading says of it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from orchestrator.lab.layout import CENTRES
from orchestrator.model.observation import Reach
from orchestrator.model.plan import Verb
from orchestrator.model.topology import Instance, Role
from orchestrator.providers.base import Order
from tests.ceph.world import DEFAULT, World, refused
from tests.contract_providers import ActorContract, Case, ProberContract
from tests.integration.provider_world import at, closed_address, garbage_address, silent_address


@pytest.fixture(scope="module")
def epochs() -> Iterator[int]:
    return iter(range(10, 10_000, 10))


@pytest.fixture
def files(world: World) -> World:
    if not world.has_bucket("a", DEFAULT):
        world.make(DEFAULT)
    return world


class TestS3Bucket(ProberContract, ActorContract):
    @pytest.fixture
    def case(self, files: World, epochs: Iterator[int]) -> Iterator[Case]:
        instance, epoch = files.instance("b"), next(epochs)

        def order(target: Instance, of: int, within_s: float) -> Order:
            return msgspec.structs.replace(files.order("b", epoch=of, within_s=within_s), instance=target)

        with closed_address() as closed, silent_address() as silent, garbage_address() as garbage:
            yield Case(
                provider=files.provider, actor=files.provider, service=files.service(), healthy=instance,
                closed=at(instance, f"{closed}/{DEFAULT}"), silent=at(instance, f"{silent}/{DEFAULT}"),
                garbage=at(instance, f"{garbage}/{DEFAULT}"), homeless=at(instance, ""), order=order, verb=Verb.DEMOTE,
                other_verb=Verb.REDIRECT, epoch=epoch,
            )  # fmt: skip


async def test_a_reading_says_who_takes_writes_and_what_is_kept(files: World) -> None:
    readings = {c: await files.read(c) for c in CENTRES}
    assert [r.role for r in readings.values()] == [Role.PRIMARY, Role.STANDBY, Role.STANDBY]
    assert [r.writable for r in readings.values()] == [True, False, False]
    for centre, reading in readings.items():
        allowed = not refused(lambda c=centre: files.client(c).put_object(Bucket=DEFAULT, Key="try", Body=b""))  # type: ignore[misc]
        assert reading.writable == allowed
        assert reading.setting("versioning") == "enabled"
        assert reading.setting("object_lock") == "false"
        assert reading.setting("master") == "a"
    assert len({r.timeline for r in readings.values()}) == 1
    assert [r.upstream for r in readings.values()] == ["", "a", "a"]


async def test_wrong_keys_and_a_missing_bucket_are_told_apart(files: World, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = await files.provider.read(files.service("nowhere"), files.instance("a", "nowhere"), 5.0)
    assert (nowhere.reach, nowhere.error) == (Reach.ANSWERED, "no such bucket")
    assert nowhere.role is None or nowhere.epoch is None
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    denied = await files.read("a")
    assert denied.reach is Reach.DENIED
    assert denied.writable is None
