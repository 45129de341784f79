"""One statement over a database and a bucket: what rows name and the bucket lacks, and what no row names."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import pytest

from orchestrator.model.objects import NameColumn
from orchestrator.model.observation import Verdict
from orchestrator.model.proof import NamesProof, Part, ServiceProof
from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.verification import names, objects_settle
from orchestrator.verification.names import Found, Naming, merge, prove_names, stored
from orchestrator.verification.objects import verify_bucket
from orchestrator.verification.options import Options
from orchestrator.verification.result import OVERDUE
from tests.unit.objects_store import Store, entry, lost
from tests.unit.test_objects_proof import copies, service

COLUMN = NameColumn(schema="public", table="files", name="key")


class Rows:
    """The rows of one database copy as plain data; `hook` is called before every answer."""

    def __init__(self, named: Iterable[bytes], batch: int = 3, instance: str = "x/db@a") -> None:
        self.instance = instance
        self.named, self.batch, self.closed = set(named), batch, False
        self.hook: Callable[[], None] = lambda: None

    async def names(self, column: NameColumn) -> AsyncIterator[Sequence[bytes]]:
        every = sorted(self.named)
        for at in range(0, len(every), self.batch):
            self.hook()
            yield every[at : at + self.batch]

    async def still(self, column: NameColumn, asked: Sequence[bytes]) -> frozenset[bytes]:
        self.hook()
        return frozenset(asked) & frozenset(self.named)

    async def close(self) -> None:
        self.closed = True


def bucket(*keys: bytes) -> Store:
    return Store("x/files@a", [entry(key) for key in keys])


async def told(rows: Rows, store: Store, lag_s: float = 0.0, **options: object) -> NamesProof:
    naming = Naming(COLUMN, {"a": rows})
    (found,) = await prove_names(naming, {"a": store}, {"a": lag_s}, Options(**options))  # type: ignore[arg-type]
    return found


async def test_all_that_is_named_is_stored() -> None:
    found = await told(Rows([b"a", b"b"]), bucket(b"a", b"b", b"c", b".drctl/canary/1"))
    assert (found.verdict, found.named, found.stored) == (Verdict.PASS, 2, 3)
    assert (found.missing, found.unnamed, found.unnamed_count) == ((), ("c",), 1)
    assert found.column == "public.files.key"


async def test_what_is_missing_is_named() -> None:
    found = await told(Rows([b"a", b"b\n", "文".encode()]), bucket(b"a"))
    assert (found.verdict, found.missing, found.missing_count) == (Verdict.FAIL, ("b\\n", "文"), 2)


async def test_no_row_is_no_proof_and_an_empty_bucket_lacks_all() -> None:
    nobody = await told(Rows([]), bucket(b"a"))
    assert nobody.verdict is Verdict.UNKNOWN
    assert "no row" in nobody.reason.en
    assert (await told(Rows([b"a"]), bucket())).verdict is Verdict.FAIL
    assert (await told(Rows([]), bucket())).verdict is Verdict.UNKNOWN


async def test_an_object_that_comes_within_the_lag_is_not_missing_and_one_that_comes_later_is() -> None:
    store, begun = bucket(b"a"), time.monotonic()

    def arrive() -> None:
        if time.monotonic() - begun > 0.15:
            store.objects[b"late"] = [entry(b"late")]

    store.hook = arrive
    assert (await told(Rows([b"a", b"late"]), store, lag_s=5)).verdict is Verdict.PASS
    assert time.monotonic() - begun < 3  # not the whole lag
    assert (await told(Rows([b"a", b"never"]), store, lag_s=0.1)).missing == ("never",)


async def test_a_row_that_goes_meanwhile_names_nothing_and_one_that_comes_names() -> None:
    rows = Rows([b"a", b"gone"])
    store = bucket(b"a", b"new")

    def move() -> None:  # between the listing and the second look
        if store.requests >= 2:
            rows.named = {b"a", b"new"}

    rows.hook = store.hook = move
    found = await told(rows, store, lag_s=0.1)
    assert (found.verdict, found.missing_count, found.unnamed_count) == (Verdict.PASS, 0, 0)


async def test_what_cannot_be_read_is_unknown_and_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, store = Rows([b"a", b"b"]), bucket()

    def broken() -> None:
        raise lost("x/files@a")

    store.hook = broken
    found = await told(rows, store)
    assert (found.verdict, found.missing_count) == (Verdict.UNKNOWN, 0)
    assert "connection" in found.reason.en

    def gone() -> None:
        raise RowsUnreadable(Trouble.GONE, "x/db@a", "relation does not exist")

    rows.hook = gone
    assert (await told(rows, bucket())).reason == names.NO_COLUMN
    overdue = await told(Rows([b"a"]), bucket(), lag_s=60, timeout_s=0.1)
    assert (overdue.verdict, overdue.missing_count, overdue.reason) == (Verdict.UNKNOWN, 0, OVERDUE)


async def test_too_many_suspects_are_not_called_missing_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SUSPECTS", 2)
    store = bucket()

    def arrive() -> None:
        if store.requests >= 2:
            store.objects |= {key: [entry(key)] for key in (b"a", b"b")}

    store.hook = arrive
    found = await told(Rows([b"a", b"b", b"c"]), store, lag_s=0.2)
    assert (found.verdict, found.missing_count) == (Verdict.UNKNOWN, 0)
    assert found.reason.en.startswith("1 more")


@pytest.mark.parametrize("seed", range(60))
async def test_the_merge_finds_what_sets_find(seed: int) -> None:
    """Any two sides, cut into pages anywhere."""
    random_ = random.Random(seed)
    keys = [b"%03d" % n for n in range(random_.choice((0, 1, 5, 40)))]
    named = {k for k in keys if random_.random() < random_.choice((0.1, 0.9))}
    held = {k for k in keys if random_.random() < random_.choice((0.1, 0.9))}
    rows, store, found = Rows(named, random_.randint(1, 7)), bucket(*held), Found()
    await merge(rows.names(COLUMN), _cut(stored(store), random_), found)
    assert (found.named, found.stored) == (len(named), len(held))
    assert found.missing.names == sorted(named - held)
    assert found.unnamed.names == sorted(held - named)


async def _cut(pages: AsyncIterator[Sequence[bytes]], random_: random.Random) -> AsyncIterator[Sequence[bytes]]:
    async for page in pages:
        at = 0
        while at < len(page):
            count = random_.randint(0, 4)
            yield page[at : at + count]
            at += count


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules do not depend on how long the least lag is."""
    monkeypatch.setattr(objects_settle, "LEAST_LAG_S", 0.05)


async def proof(stores: list[Store], named: dict[str, Rows], *parts: Part, **options: object) -> ServiceProof:
    chosen = Options(parts=parts, within_s=0.3, **options)  # type: ignore[arg-type]
    return await verify_bucket(
        service(0.0), {s.instance: s for s in stores}, chosen, naming=Naming(COLUMN, dict(named))
    )


async def test_a_centre_is_given_the_lag_of_the_way_from_whoever_leads_and_that_of_its_database(quick: None) -> None:
    """The bucket leads in c since a switchover, and what it holds comes to a after a while."""
    for leads, lag_s, of_database_s, arrives in (("c", 2.0, 0.0, True), ("a", 0.0, 2.0, True), ("a", 0.0, 0.0, False)):
        stores, begun = copies(entry(b"a")), time.monotonic()
        for store in stores:
            store.primary = store.instance.endswith(leads)

        def arrive(store: Store = stores[0], begun: float = begun) -> None:
            if time.monotonic() - begun > 0.4:
                store.objects[b"late"] = [entry(b"late")]

        stores[0].hook = arrive
        naming = Naming(COLUMN, {"a": Rows([b"a", b"late"])}, {"a": of_database_s})
        sources = {s.instance: s for s in stores}
        found = await verify_bucket(service(lag_s), sources, Options(parts=(Part.NAMES,)), naming=naming)
        assert [told.missing_count == 0 for told in found.names or ()] == [arrives]


async def test_a_service_is_proven_only_with_its_names_in_every_centre(quick: None) -> None:
    stores, rows = copies(entry(b"a")), {c: Rows([b"a"]) for c in "ab"}
    found = await proof(stores, rows, Part.CONTENT, Part.NAMES)
    assert found.ok
    assert found.names is not None
    assert [told.bucket for told in found.names] == ["x/files@a", "x/files@b"]  # no copy of the database in c
    assert all(r.closed for r in rows.values())
    rows["b"].named.add(b"lacking")
    assert not (await proof(stores, rows, Part.CONTENT, Part.NAMES)).ok
    assert (await proof(stores, rows, Part.NAMES, centres=("a",))).ok
    assert not (await proof(stores, {}, Part.NAMES)).ok  # nobody holds both
