"""Pages that copies send byte for byte alike: counted once, never cut, and believed no more than others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import pytest

from orchestrator.model.objects import Entry
from orchestrator.model.rows import RowsUnreadable
from orchestrator.providers.s3_listing import Counts, Listing, _Entries, parse
from orchestrator.verification.objects_merge import Feed, pass_equal, realign
from orchestrator.verification.objects_ranges import Range, find_cuts
from orchestrator.verification.objects_sweep import RETRY_PAGES, OwnTime, Sweep
from tests.unit.objects_store import Store, entry, listing, lost
from tests.unit.test_objects import swept


def page_of(name: str, entries: Iterable[Entry], more: bool = False, noise: str = "") -> Listing:
    return parse(name, listing(entries, more, False, noise), False, False)


def test_equal_pages_are_counted_once_and_never_cut() -> None:
    made = [entry(b"%04d" % n) for n in range(100)]
    feeds = [Feed(b""), Feed(b"")]
    pages = [page_of(name, made) for name in ("x@a", "x@b")]
    assert pages[1].join(pages[0])
    for feed, page in zip(feeds, pages, strict=True):
        feed.give(page, None)
    assert pass_equal(feeds) == 100
    assert pages[0]._entries is pages[1]._entries
    assert "blocks" not in vars(pages[0]._entries)


def test_pages_stand_at_one_place_or_are_not_passed_as_a_whole() -> None:
    feeds = [Feed(b""), Feed(b"")]
    pages = [page_of(name, [entry(b"a"), entry(b"b")]) for name in ("x@a", "x@b")]
    pages[1].join(pages[0])
    for feed, page in zip(feeds, pages, strict=True):
        feed.give(page, None)
    feeds[0].at = 1
    assert pass_equal(feeds) == 0


def test_a_pass_counts_equal_pages_of_three_copies_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int | None] = []
    real = _Entries._counted

    def spy(self: _Entries) -> int | None:
        counted.append(real(self))
        return counted[-1]

    monkeypatch.setattr(_Entries, "_counted", spy)
    copies = [Store(c, (entry(b"%02d" % n) for n in range(40))) for c in ("x@a", "x@b", "x@c")]
    asyncio.run(swept(copies, False, 1, 10))
    assert counted == [10] * 4


@pytest.mark.parametrize(("told", "whole_counts"), [(3, 0), (2, 1), (4, 1)])
def test_the_servers_own_count_is_believed_where_the_seams_say_the_same(
    told: int, whole_counts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = 0
    real = _Entries._counted

    def spy(self: _Entries) -> int | None:
        nonlocal counted
        counted += 1
        return real(self)

    monkeypatch.setattr(_Entries, "_counted", spy)
    body = listing([entry(b"a"), entry(b"b"), entry(b"c")], False, False)
    body = body.replace(b"</ListBucketResult>", b"<KeyCount>%d</KeyCount></ListBucketResult>" % told)
    page = parse("x@a", body, False, False)
    assert (page.count, counted) == (3, whole_counts)
    assert [page.key(n) for n in range(3)] == [b"a", b"b", b"c"]
    without = parse("x@a", body.replace(b"<Key>b</Key>", b""), False, False)
    with pytest.raises(RowsUnreadable, match=r"3 entries, (2 keys|where it says 2)"):
        assert without.blocks


def told_pages(told: Sequence[int], held: int = 3) -> list[Listing]:
    """Pages of one server, and how many entries it says that each has."""
    counts, body = Counts(), listing([entry(b"%d" % n) for n in range(held)], True, False)
    words = b"<KeyCount>%d</KeyCount></ListBucketResult>"
    return [parse("x@a", body.replace(b"</ListBucketResult>", words % n), False, False, counts) for n in told]


def test_a_server_that_counts_right_is_believed_but_for_a_page_in_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_over = 0
    real = _Entries._seams

    def spy(self: _Entries) -> int:
        nonlocal looked_over
        looked_over += 1
        return real(self)

    monkeypatch.setattr(_Entries, "_seams", spy)
    counted = []
    for page in told_pages([3] * 24):
        before = looked_over
        assert page.count == 3
        counted.append(looked_over > before)
    assert counted == [True] * 4 + [False] * 3 + [True] + [False] * 7 + [True] + [False] * 7 + [True]


@pytest.mark.parametrize("wrong", [0, 2, 7])
def test_a_server_that_once_counted_wrong_is_never_believed_again(wrong: int) -> None:
    assert [page.count for page in told_pages([wrong] * 30)] == [3] * 30
    late = told_pages([3] * 7 + [wrong] * 20)  # the eighth page is counted over again
    assert [page.count for page in late] == [3] * 27


def test_that_a_page_has_no_entries_is_never_believed() -> None:
    assert [page.count for page in told_pages([3] * 4 + [0] * 3)] == [3] * 7
    assert [page.count for page in told_pages([0] * 9, held=0)] == [0] * 9


def test_what_is_believed_and_is_not_so_ends_where_it_would_matter() -> None:
    *_, page = pages = told_pages([3] * 5 + [2])
    assert [p.count for p in pages] == [3] * 5 + [2]
    with pytest.raises(RowsUnreadable, match="3 entries, where it says 2"):
        assert page.blocks


def test_what_stands_around_equal_entries_is_of_each_page_alone() -> None:
    """Equal entries of which one side says that more come, and the other that there are none."""
    made = [entry(b"%d" % n) for n in range(4)]
    ours, theirs = page_of("x@a", made, more=True), page_of("x@b", made, more=False)
    assert theirs.join(ours)
    assert (ours.more, theirs.more) == (True, False)


def test_equal_text_that_means_something_else_is_not_joined() -> None:
    body = listing([entry(b"a+b")], False, False)
    encoded = parse("x@a", body, False, False)
    plain = parse("x@b", body.replace(b"<EncodingType>url</EncodingType>", b""), False, False)
    assert not plain.join(encoded)
    assert (encoded.key(0), plain.key(0)) == (b"a+b", b"a%2Bb")


def test_a_copy_that_says_that_it_is_over_with_equal_pages_has_nothing_of_the_rest() -> None:
    copies = [Store(c, (entry(b"%03d" % n) for n in range(40))) for c in ("x@a", "x@b")]
    for n in range(20, 40):
        del copies[1].objects[b"%03d" % n]
    found = asyncio.run(swept(copies, False, 1, 20)).found[0]
    assert sorted(found.suspects) == [b"%03d" % n for n in range(20, 40)]


@pytest.mark.parametrize("at", [0, 1, 50, 98, 99])
def test_a_difference_anywhere_in_pages_that_are_equal_around_it(at: int) -> None:
    made = [entry(b"%04d" % n) for n in range(100)]
    copies = [Store("x@a", made), Store("x@b", [*made[:at], entry(made[at].key, b"other"), *made[at + 1 :]])]
    sweep = asyncio.run(swept(copies, False, 1, 100))
    assert sweep.found[0].suspects == [made[at].key]
    assert (sweep.listed, sweep.found[0].listed) == (100, 100)


@pytest.mark.parametrize(("order", "page"), [("ba", 1), ("ba", 2), ("ba", 10), ("acb", 1), ("acb", 2), ("cabd", 2)])
def test_pages_out_of_order_are_refused_also_where_both_copies_send_the_same(order: str, page: int) -> None:
    """Of pages that nobody reads the first and the last key are held against each other and against other pages."""
    copies = [Store(c) for c in ("x@a", "x@b")]
    for copy in copies:
        copy.page = partial(in_order_of, copy, [entry(n.encode()) for n in order])  # type: ignore[method-assign]
    with pytest.raises(RowsUnreadable, match="listed after"):
        asyncio.run(swept(copies, False, 1, page))


async def in_order_of(
    store: Store,
    every: list[Entry],
    after: bytes,
    version: str,
    versions: bool,
    *,
    lean: bool = False,
    most: int = 1000,
) -> Listing:
    """A server that goes on behind the key that is named, in an order of its own."""
    begin = next((n + 1 for n, e in enumerate(every) if e.key == after), 0)
    return page_of(store.instance, every[begin : begin + most], begin + most < len(every))


def test_a_range_that_is_cut_in_the_middle_of_an_equal_page_ends_there() -> None:
    made = [entry(b"%04d" % n) for n in range(100)]
    feeds = [Feed(b""), Feed(b"")]
    pages = [page_of(name, made, more=True) for name in ("x@a", "x@b")]
    pages[1].join(pages[0])
    for feed, page in zip(feeds, pages, strict=True):
        feed.give(page, b"0041")
    assert pass_equal(feeds) == 42
    assert all(f.over and f.empty and f.listed == 42 for f in feeds)


def test_a_page_whose_keys_are_not_as_many_as_its_entries_is_refused_where_it_is_shared() -> None:
    body = listing([entry(b"a"), entry(b"b"), entry(b"c")], False, False).replace(b"<Key>b</Key>", b"")
    copies = [Store(c, [entry(b"a")]) for c in ("x@a", "x@b")]

    async def page(*_: object, **__: object) -> Listing:
        return parse("x@a", body, False, False)

    for copy in copies:
        copy.page = page  # type: ignore[method-assign]
    with pytest.raises(RowsUnreadable, match="3 entries, 2 keys"):
        asyncio.run(swept(copies, False))


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(("first", "last"), [(0, 50), (10, 30), (49, 50)])
def test_any_key_of_a_part_of_a_page_may_be_chosen_and_no_other(first: int, last: int, cut: bool) -> None:
    keys = [b"some %02d" % n for n in range(50)]
    page = page_of("x@a", [entry(k) for k in keys], more=True)
    assert not cut or len(page.blocks) == 50
    assert {page.some_key(first, last, n / 1000) for n in range(1000)} == set(keys[first:last])


def test_copies_that_list_a_key_less_go_on_with_pages_that_begin_alike() -> None:
    """Else one key less would shift every page after it, and no two pages would be equal again."""
    made = [entry(b"%04d" % n) for n in range(2000)]
    copies = [Store("x@a", made), Store("x@b", [*made[:130], *made[131:]])]
    joined = 0

    class Counted(Sweep):
        async def _fill(self, feeds: Sequence[Feed], range_: Range) -> bool:
            nonlocal joined
            due = await super()._fill(feeds, range_)
            joined += due and all(f.page is not None and f.page.join(feeds[0].page) for f in feeds if feeds[0].page)
            return due

    sweep = Counted(copies, False, workers=1, page=100)
    asyncio.run(sweep.run())
    assert sweep.found[0].suspects == [b"0130"]
    assert (sweep.listed, sweep.found[0].listed) == (2000, 1999)
    assert joined >= 18
    assert [c.requests for c in copies] == [20, 20]


def test_what_is_left_is_kept_where_it_is_much_or_where_another_has_nothing_more() -> None:
    made = [entry(b"%04d" % n) for n in range(100)]
    for left, over, kept in ((10, False, 0), (20, False, 20), (10, True, 10)):
        short, long_ = Feed(b""), Feed(b"")
        short.give(page_of("x@a", made[: 100 - left], more=not over), None)
        long_.give(page_of("x@b", made, more=True), None)
        assert pass_equal([short, long_]) == 100 - left
        realign([short, long_])
        assert long_.end - long_.at == kept
        assert long_.last_key == (made[-1].key if kept else short.last_key)


def test_nothing_is_let_go_that_does_not_follow_what_the_other_ended_with() -> None:
    made = [entry(b"%04d" % n) for n in range(100)]
    short, long_ = Feed(b""), Feed(b"")
    short.give(page_of("x@a", made[:95], more=True), None)
    long_.give(page_of("x@b", made, more=True), None)
    short.at, long_.at = 95, 93
    realign([short, long_])
    assert (long_.end, long_.last_key) == (100, made[-1].key)


@pytest.mark.parametrize(("reached", "asked", "barren"), [(b"logs/0005", 0, 10), (b"lo", 2, 9 + RETRY_PAGES)])
async def test_a_search_that_asked_for_nothing_may_begin_again_at_the_next_page(
    reached: bytes, asked: int, barren: int
) -> None:
    """The page that was read last reaches from one folder into the next: nothing is known of the next one yet."""
    store = Store("x@a", [entry(b"lo"), entry(b"m")])
    sweep = Sweep([store], False)
    range_ = Range(low=b"a", high=b"m", reached=reached, pages=9, page=(b"k/9" if not asked else reached, reached))
    await sweep._cut(range_)
    assert (sweep.cuts, store.requests, range_.barren) == (0, asked, barren)


async def test_a_copy_that_breaks_ends_what_is_asked_of_the_others() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    class Broken(Store):
        async def page(self, *_: object, **__: object) -> Listing:
            await begun.wait()
            raise lost(self.instance)

    class Slow(Store):
        async def page(self, *_: object, **__: object) -> Listing:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError

    async with asyncio.timeout(20.0):
        with pytest.raises(RowsUnreadable, match="connection reset"):
            await Sweep([Broken("x@a"), Slow("x@b")], False).run()
    assert ended.is_set()
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("full", [True, False])
async def test_a_busy_processor_cuts_only_what_is_read_alone(full: bool) -> None:
    beside: list[int] = []

    class Watched(Store):
        async def page(self, *asked: Any, most: int = 1000, **more: Any) -> Listing:
            if most == 1:
                beside.append(len(sweep._active))
            return await super().page(*asked, most=most, **more)

    names = [f"logs/app/{n:07}" if n % 20 else f"{chr(97 + n % 26)}/{n}" for n in range(3000)]
    sweep = Sweep([Watched(c, (entry(n.encode()) for n in names)) for c in ("x@a", "x@b")], False, page=50)
    sweep.full = lambda: full
    await sweep.run()
    assert (sweep.listed, sweep.found[0].listed) == (3000, 3000)
    assert beside
    assert sweep.cuts >= 3
    assert (set(beside) <= {1}) == full


def test_the_processor_is_full_by_what_the_last_window_took_of_it() -> None:
    now, used = 100.0, 5.0
    full = OwnTime(lambda: now, lambda: used)
    seen = []
    for later, took in ((0.009, 0.009), (0.002, 0.002), (0.009, 0.0), (0.1, 0.089), (0.1, 0.091)):
        now, used = now + later, used + took
        seen.append(full())
    assert seen == [False, True, True, False, True]


async def test_what_is_read_to_find_a_place_begins_the_part_there_and_is_not_read_again() -> None:
    class Logged(Store):
        def __init__(self, name: str, entries: Iterable[Entry]) -> None:
            super().__init__(name, entries)
            self.pages: list[bytes] = []

        async def page(self, after: bytes, *asked: Any, most: int = 1000, **more: Any) -> Listing:
            self.pages += [after] if most > 1 else []
            return await super().page(after, *asked, most=most, **more)

    names = sorted(f"data{n % 8}/{n:05}".encode() for n in range(3000))
    copies = [Logged(c, map(entry, names)) for c in ("x@a", "x@b")]
    sweep = await swept(copies, False, 8, 50)
    assert (sweep.listed, sweep.found[0].listed, sweep.cuts >= 7) == (3000, 3000, True)
    for copy in copies:
        assert len(copy.pages) == len(set(copy.pages))
    alone = [set(one.pages) - set(other.pages) for one, other in (copies, copies[::-1])]
    assert alone == [{b"data9"}, {b"data8"}]  # no part begins there


@pytest.mark.parametrize(("idle", "most"), [(1, 13), (2, 16), (7, 30)])
async def test_keys_that_share_far_less_than_a_page_does_are_found_in_few_requests(idle: int, most: int) -> None:
    keys = [b"p/" + b"q" * 60 + b"%04d" % n for n in range(300)] + [b"p/r%05d" % n for n in range(3000)]
    asked: list[bytes] = []

    async def probe(after: bytes, likely: bool) -> bytes | None:
        asked.append(after)
        return next((k for k in keys if k > after), None)

    range_ = Range(low=b"", high=None, reached=keys[150])
    range_.passed(keys[50], keys[150])
    cuts = await find_cuts(range_, probe, idle)
    assert any(keys[299] < at for at in cuts)
    assert len(asked) <= most
