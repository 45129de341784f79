"""From suspects to answers: what is looked at again, what an ETag may decide, and what is never called equal."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from orchestrator.model.objects import Entry, Facts, Versioning, parts_of, plain_md5
from orchestrator.model.observation import Verdict
from orchestrator.model.proof import ContentProof, Part, Sameness, ServiceProof
from orchestrator.model.topology import CopyMode, Instance, Nature, Replication, Role, Service, Setting
from orchestrator.verification import objects_settle
from orchestrator.verification.objects import lag_s, verify_bucket
from orchestrator.verification.objects_judge import by_facts
from orchestrator.verification.objects_settle import Case, settle, shown
from orchestrator.verification.objects_sweep import CANARY
from orchestrator.verification.options import Options
from tests.unit.objects_store import Store, entry, lost

MD5 = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules do not depend on how long a pause is."""
    monkeypatch.setattr(objects_settle, "PAUSE_S", 0.02)
    monkeypatch.setattr(objects_settle, "LEAST_LAG_S", 0.1)


def service(lag: float = 0.2) -> Service:
    return Service(
        id="x/files", system="x", name="files", kind="s3-bucket", nature=Nature.REPLICATED,
        instances=tuple(
            Instance(id=f"x/files@{c}", service="x/files", centre=c, address="", role=role)
            for c, role in (("a", Role.PRIMARY), ("b", Role.STANDBY), ("c", Role.STANDBY))
        ),
        replications=tuple(
            Replication(source=s, target=t, mode=CopyMode.ASYNC, lag_max_s=lag) for s, t in ("ab", "bc")
        ),
    )  # fmt: skip


def copies(*entries: Entry) -> list[Store]:
    return [Store(f"x/files@{c}", entries, primary=c == "a") for c in "abc"]


async def proof(stores: list[Store], *parts: Part, lag: float = 0.2, **options: object) -> ServiceProof:
    chosen = Options(parts=parts or (Part.CONTENT,), within_s=0.3, **options)  # type: ignore[arg-type]
    return await verify_bucket(service(lag), {s.instance: s for s in stores}, chosen)


def content(found: ServiceProof, centre: str) -> ContentProof:
    (one,) = [r.content for r in found.replicas if r.instance.endswith(centre)]
    assert one is not None
    return one


async def test_equal_copies_are_equal() -> None:
    found = await proof(copies(entry(b"a"), entry(b"b")))
    assert found.ok
    assert [content(found, c).verdict for c in "bc"] == [Verdict.PASS, Verdict.PASS]


async def test_empty_buckets_are_equal_and_an_empty_copy_is_not() -> None:
    stores = copies(entry(b"a"))
    stores[1].objects.clear()
    found = await proof(stores)
    assert content(found, "b").verdict is Verdict.FAIL
    assert content(found, "c").verdict is Verdict.PASS
    assert (await proof(copies())).ok


async def test_each_difference_is_named() -> None:
    stores = copies(entry(b"changed"), entry(b"gone"), entry(b"size"), entry(b"same"))
    b = stores[1]
    b.objects[b"changed"] = [entry(b"changed", b"y")]
    b.objects[b"size"] = [entry(b"size", b"longer")]
    b.objects[b"more\x01"] = [entry(b"more\x01")]
    del b.objects[b"gone"]
    found = await proof(stores)
    table = content(found, "b").tables[1]
    told = {d.key: (d.kind.value, [c.name for c in d.columns]) for d in table.differences}
    assert told == {
        "changed": ("changed", ["etag"]), "size": ("changed", ["size"]),
        "gone": ("missing", []), "more\\x01": ("extra", []),
    }  # fmt: skip
    assert (table.rows_left, table.rows_right) == (4, 4)
    assert content(found, "c").verdict is Verdict.PASS


def arriving(store: Store, after: int, change: Callable[[], None]) -> None:
    """The change happens at the so-many-th request."""

    def hook() -> None:
        if store.requests == after:
            change()

    store.hook = hook


async def test_what_is_on_its_way_is_no_difference() -> None:
    stores = copies(entry(b"a"), entry(b"new"))
    late = stores[1].objects.pop(b"new")
    arriving(stores[1], 4, lambda: stores[1].objects.update({b"new": late}))
    found = await proof(stores)
    assert found.ok
    assert content(found, "b").tables[1].rounds >= 1


async def test_what_is_younger_than_the_declared_lag_cannot_be_told() -> None:
    stores = copies(entry(b"a"))
    stores[0].objects[b"new"] = [entry(b"new", modified_s=time.time())]
    stores[2].objects[b"new"] = stores[0].objects[b"new"]
    found = await proof(stores, lag=3600.0)
    table = content(found, "b").tables[1]
    assert table.sameness is Sameness.UNKNOWN
    assert "younger" in table.reason.en and "was written" in table.reason.en
    assert content(found, "c").verdict is Verdict.PASS


async def test_what_is_older_than_the_declared_lag_is_told_at_once() -> None:
    stores = copies(entry(b"a"))
    del stores[1].objects[b"a"]
    begun = time.monotonic()
    assert content(await proof(stores, lag=3600.0), "b").verdict is Verdict.FAIL
    assert time.monotonic() - begun < 60


async def test_a_key_that_never_stands_still_cannot_be_told() -> None:
    stores = copies(entry(b"a"))
    stores[1].objects[b"a"] = [entry(b"a", b"other")]

    def write() -> None:
        stores[0].objects[b"a"] = [entry(b"a", b"%d" % stores[0].requests)]

    stores[0].hook = write
    assert content(await proof(stores), "b").tables[1].sameness is Sameness.UNKNOWN


async def test_canaries_of_another_run_are_no_difference() -> None:
    stores = copies(entry(b"a"))
    stores[0].objects[CANARY + b"run/1"] = [entry(CANARY + b"run/1")]
    assert (await proof(stores)).ok


async def test_a_copy_that_breaks_off_is_unknown_and_the_other_is_still_proven() -> None:
    stores = copies(*(entry(b"%04d" % n) for n in range(2500)))

    def broken() -> None:
        if stores[1].requests > 2:
            raise lost("x/files@b")

    stores[1].hook = broken
    found = await proof(stores)
    assert content(found, "b").verdict is Verdict.UNKNOWN
    assert "connection reset" in content(found, "b").reason.en
    assert content(found, "c").verdict is Verdict.PASS
    assert not found.ok


async def test_two_zones_that_take_writes_are_no_proof() -> None:
    stores = copies(entry(b"a"))
    stores[1].primary = True
    found = await proof(stores)
    assert (found.ok, found.primary) == (False, "")
    assert "more than one zone" in found.reason.en


async def test_zones_that_disagree_on_the_master_are_no_proof_though_all_is_equal() -> None:
    stores = copies(entry(b"a"))
    stores[2].lineage = "an older one"
    found = await proof(stores)
    assert not found.ok
    assert "missed a failover" in found.reason.en


async def test_where_no_copy_can_tell_the_declared_primary_is_taken() -> None:
    stores = copies(entry(b"a"))
    for store in stores:
        store.primary, store.lineage = None, ""
    found = await proof(stores)
    assert (found.primary, found.ok) == ("x/files@a", True)


async def test_a_declared_primary_that_takes_no_writes_is_none() -> None:
    stores = copies(entry(b"a"))
    stores[0].primary = False
    assert (await proof(stores)).primary == ""


async def test_settings_are_compared_too() -> None:
    stores = copies(entry(b"a"))
    stores[1].versioning = Versioning.SUSPENDED
    found = await proof(stores)
    assert content(found, "b").verdict is Verdict.FAIL
    assert "versioning" in content(found, "b").tables[0].reason.en


@pytest.mark.parametrize("noise", ["", "of-b"])
async def test_metadata_of_equal_listings_is_looked_at(noise: str) -> None:
    stores = copies(entry(b"a"))
    stores[1].noise = noise
    facts = Facts(size=1, etag=entry(b"a").etag)
    stores[0].heads = {b"a": facts}
    stores[1].heads = {b"a": Facts(size=1, etag=facts.etag, metadata=(Setting(name="x-amz-meta-who", value="other"),))}
    found = await proof(stores)
    (difference,) = content(found, "b").tables[1].differences
    assert [c.name for c in difference.columns] == ["metadata"]
    assert content(found, "c").verdict is Verdict.PASS


async def test_only_positions_of_a_bucket_is_nothing() -> None:
    found = await proof(copies(entry(b"a")), Part.POSITIONS)
    assert not found.ok
    assert found.asked == ()  # `estate.verify` leaves such a one out


async def test_canaries_are_timed_and_removed() -> None:
    stores = copies(entry(b"a"))
    for store in stores[1:]:
        store.objects, store.bodies = stores[0].objects, stores[0].bodies
    found = await proof(stores, Part.CANARY, samples=3)
    assert found.ok
    assert [r.canary.samples for r in found.replicas if r.canary] == [3, 3]
    assert list(stores[0].objects) == [b"a"]


async def test_a_canary_that_is_not_seen_or_is_another_fails() -> None:
    stores = copies(entry(b"a"))
    stores[1].objects = stores[0].objects
    stores[1].bodies = {}
    found = await proof(stores, Part.CANARY, samples=2)
    assert [r.canary.verdict for r in found.replicas if r.canary] == [Verdict.FAIL, Verdict.FAIL]


async def test_a_bucket_that_keeps_all_gets_no_canary() -> None:
    stores = copies(entry(b"a"))
    stores[0].retained = True
    found = await proof(stores, Part.CANARY, samples=2)
    assert [r.canary.verdict for r in found.replicas if r.canary] == [Verdict.UNKNOWN, Verdict.UNKNOWN]
    assert list(stores[0].objects) == [b"a"]


def facts(etag: str = MD5, size: int = 9, encrypted: str = "", **sums: str) -> Facts:
    told = tuple(Setting(name=n, value=v) for n, v in sums.items())
    return Facts(size=size, etag=etag, parts=parts_of(etag), encrypted=encrypted, checksums=told)


OTHER = MD5[::-1]


@pytest.mark.parametrize(
    ("left", "right", "answer"),
    [
        (facts(), facts(OTHER), Sameness.DIFFERENT),
        (facts(), facts(OTHER, encrypted="AES256"), Sameness.DIFFERENT),
        (facts(), facts(OTHER, size=8), Sameness.DIFFERENT),
        (facts(), facts(f"{OTHER}-2"), None),
        (facts(), facts(OTHER, encrypted="aws:kms"), None),
        (facts(encrypted="customer"), facts(OTHER), None),
        (facts(f"{MD5}-2"), facts(f"{MD5}-3"), None),
        (facts(f"{MD5}-2", sha256="x"), facts(f"{MD5}-3", sha256="x"), Sameness.EQUAL),
        (facts(f"{MD5}-2", sha256="x"), facts(f"{MD5}-3", sha256="y"), Sameness.DIFFERENT),
        (facts(f"{MD5}-2", sha256="x-2"), facts(f"{MD5}-3", sha256="y-3"), None),
        (facts(f"{MD5}-2", sha256="x"), facts(f"{MD5}-3", crc32="x"), None),
    ],
)
def test_an_etag_that_is_no_md5_decides_nothing(left: Facts, right: Facts, answer: Sameness | None) -> None:
    told = by_facts(left, right)
    assert (told.sameness if told else None) is answer


def test_what_an_etag_looks_like() -> None:
    assert plain_md5(MD5) and not plain_md5(MD5[:-1]) and not plain_md5(f"{MD5}-3") and not plain_md5(MD5.upper())
    assert (parts_of(f"{MD5}-3"), parts_of(MD5), parts_of("a-b")) == (3, None, None)


@pytest.mark.parametrize(("theirs", "answer"), [(b"content", 0), (b"CONTENT", 1)])
async def test_content_is_read_where_nothing_else_decides(theirs: bytes, answer: int) -> None:
    left, right = (Store(c, [entry(b"k", b"content", etag=f"{MD5}-{n}")]) for n, c in ((2, "x@a"), (3, "x@b")))
    left.bodies, right.bodies = {b"k": b"content"}, {b"k": theirs}
    settled = await settle(Case(left, right, False, 0.1, 1.0), [b"k"])
    assert len(settled.differences) == answer
    assert settled.agreed == 1 - answer


async def test_what_is_too_large_to_read_cannot_be_told() -> None:
    left, right = (Store(c, [entry(b"k", etag=f"{MD5}-{n}", size=1 << 40)]) for n, c in ((2, "x@a"), (3, "x@b")))
    left.heads, right.heads = ({b"k": facts(f"{MD5}-{n}", 1 << 40)} for n in (2, 3))
    settled = await settle(Case(left, right, False, 0.1, 1.0), [b"k"])
    ((key, why),) = settled.unknown
    assert key == b"k"
    assert "too much to read" in why.en


def test_lags_add_up_along_the_way() -> None:
    assert [lag_s(service(5.0), "x/files@a", f"x/files@{c}") for c in "abc"] == [0.0, 5.0, 10.0]


def test_after_a_switchover_the_way_back_has_the_same_lag() -> None:
    assert [lag_s(service(5.0), "x/files@c", f"x/files@{c}") for c in "abc"] == [10.0, 5.0, 0.0]
    assert lag_s(service(5.0), "x/files@b", "x/files@a") == 5.0


async def test_an_object_on_its_way_to_what_was_the_primary_is_no_difference() -> None:
    """Written at c just now, which leads since a switchover: a has the declared lag of the whole way."""
    stores = copies(entry(b"a"))
    for store in stores:
        store.primary = store.instance.endswith("c")
    stores[2].objects[b"new"] = [entry(b"new", modified_s=time.time())]
    found = await proof(stores, lag=30.0)
    assert content(found, "a").verdict is Verdict.UNKNOWN  # too young to be told, and no difference


def test_keys_are_shown_so_that_they_can_be_read() -> None:
    assert shown(b"../up\x01\n\xff") == "../up\\x01\\n\\xff"
    assert shown("归档/é".encode()) == "归档/é"
