"""Bucket comparison: what one pass finds on any key space, and what reading a listing refuses."""

from __future__ import annotations

import asyncio
import bisect
import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.model.objects import Ends, Entry, Page
from orchestrator.model.rows import RowsUnreadable
from orchestrator.providers.s3_listing import Listing, parse, seconds
from orchestrator.verification.objects_merge import Feed, pass_equal, same_listing
from orchestrator.verification.objects_ranges import Range, find_cuts
from orchestrator.verification.objects_sweep import MOST_SUSPECTS, Sweep
from tests.unit.objects_store import Store, entry, listing

AWKWARD = ["../up", "ctl\x01\x02", "a b+c%", "\uffee", "\U0001d11e", "dir/", "dir", "%2F", "<Key>&amp;", "é", "e\u0301"]
TEXTS = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4),
    st.sampled_from(AWKWARD),
    st.integers(0, 40).map(lambda n: f"logs/2026/long/prefix/{n:05}"),
)
KEYS = TEXTS.map(str.encode)


@st.composite
def buckets(draw: st.DrawFn) -> list[Store]:
    """Three copies that agree on most keys; versions and delete markers among them."""
    versions = draw(st.booleans())
    copies = [Store(name) for name in ("x@a", "x@b", "x@c")]
    for key in draw(st.lists(KEYS, unique=True, max_size=60)):
        count = draw(st.integers(1, 3)) if versions else 1
        made = [
            entry(key, b"%d" % n, f"v{n}" if versions else "", latest=n == 0, marker=versions and draw(st.booleans()))
            for n in range(count)
        ]
        for copy in copies:
            change = draw(st.sampled_from(["", "", "", "", "gone", "other", "short"]))
            if change != "gone":
                copy.objects[key] = [made[0]._replace(size=99), *made[1:]] if change == "other" else list(made)
            if change == "short" and count > 1:
                copy.objects[key] = made[:-1]
    if draw(st.booleans()):
        copies[1].noise = "b"
    return copies


def apart(ours: Store, theirs: Store, versions: bool) -> list[bytes]:
    """By brute force: keys that two copies do not list alike."""

    def of(store: Store) -> dict[bytes, set[tuple[object, ...]]]:
        found: dict[bytes, set[tuple[object, ...]]] = {}
        for e in store.listed(versions):
            found.setdefault(e.key, set()).add((e.version, e.latest, e.marker, "" if e.marker else e.etag, e.size))
        return found

    left, right = of(ours), of(theirs)
    return sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))


async def swept(copies: Sequence[Store], versions: bool, workers: int = 1, page: int = 1000) -> Sweep:
    sweep = Sweep(copies, versions, workers=workers, page=page, full=lambda: False)
    await sweep.run()
    return sweep


@given(buckets(), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_one_pass_finds_exactly_what_differs(copies: list[Store], workers: int, page: int) -> None:
    versions = any(e.version for store in copies for es in store.objects.values() for e in es)
    for store in copies:
        for key, made in store.objects.items():
            store.objects[key] = [e._replace(size=0, etag="") if e.marker else e for e in made]
    sweep = asyncio.run(swept(copies, versions, workers, page))
    for copy, found in zip(copies[1:], sweep.found, strict=True):
        assert sorted(found.suspects) == apart(copies[0], copy, versions)
        assert found.listed == len(copy.listed(versions))
    assert sweep.listed == len(copies[0].listed(versions))


@pytest.mark.parametrize("kind", ["flat", "skewed", "one prefix", "digits", "long tails"])
def test_any_key_space_is_cut_and_read_once(kind: str) -> None:
    names = {
        "flat": [f"{n * 2654435761 % (1 << 48):012x}" for n in range(3000)],
        "skewed": [f"logs/app/very/long/{n:07}" if n % 20 else f"{chr(97 + n % 26)}/{n}" for n in range(3000)],
        "one prefix": ["p" * 200 + f"{n:06}" for n in range(3000)],
        "digits": [str(n) for n in range(3000)],
        "long tails": [f"{n:04}" + hashlib.sha512(b"%d" % n).hexdigest() for n in range(3000)],
    }[kind]
    copies = [Store(c, (entry(n.encode()) for n in names)) for c in ("x@a", "x@b", "x@c")]
    del copies[2].objects[names[1234].encode()]
    sweep = asyncio.run(swept(copies, False, 8, 50))
    assert sweep.cuts >= 3
    assert (sweep.listed, [f.listed for f in sweep.found]) == (3000, [3000, 2999])
    assert [f.suspects for f in sweep.found] == [[], [names[1234].encode()]]
    asked = [c.requests for c in copies]
    assert max(asked) <= 3000 / 50 * (1.5 if kind == "one prefix" else 1.4)
    assert max(asked) - min(asked) <= 2  # what is asked to find places to cut is shared


@given(st.lists(KEYS, unique=True, min_size=1, max_size=40), st.data())
@settings(deadline=None)
def test_a_cut_lies_in_what_is_left_and_loses_nothing(keys: list[bytes], data: st.DataObject) -> None:
    keys = sorted(keys)
    reached = data.draw(st.sampled_from([b"", *keys]))
    high = data.draw(st.sampled_from([None, *keys]))
    whole, idle = Range(low=b"", high=high, reached=reached), data.draw(st.integers(1, 8))
    if page := data.draw(st.booleans()):
        whole.passed(data.draw(st.sampled_from([k for k in keys if k <= reached] or [reached])), reached)
    for _ in range(2):  # what the first search learned of where nothing lies must not mislead the second

        async def probe(after: bytes, likely: bool) -> bytes | None:
            return next((k for k in keys if k > after), None)

        cuts = asyncio.run(find_cuts(whole, probe, idle))
        left = [k for k in keys if k > reached and (whole.high is None or k < whole.high)]
        assert bool(cuts) == bool(left) or (page and not cuts)
        assert len(cuts) <= 3 * idle + 1
        assert cuts == sorted(set(cuts))
        assert all(at > reached and (whole.high is None or at < whole.high) for at in cuts)
        for at, until in zip(cuts, [*cuts[1:], None], strict=False):
            assert at in left or any(at < key and (until is None or key <= until) for key in left)
        end = whole.high
        parts = [whole, *reversed(whole.split(cuts))]
        assert [p.low for p in parts[1:]] == [p.reached for p in parts[1:]] == cuts
        assert [p.high for p in parts] == [*cuts, end]


@pytest.mark.parametrize(("reached", "high", "most"), [(2000, 9000, 4), (2000, 2900, 4), (2000, None, 12)])
def test_a_cut_between_two_keys_asks_little(reached: int, high: int | None, most: int) -> None:
    keys = [b"logs/2026/application/%07d" % n for n in range(10_000)]
    asked: list[bytes] = []

    async def probe(after: bytes, likely: bool) -> bytes | None:
        asked.append(after)
        return next((k for k in keys if k > after), None)

    range_ = Range(low=b"", high=None if high is None else keys[high], reached=keys[reached])
    cuts = asyncio.run(find_cuts(range_, probe))
    end = len(keys) if high is None else high
    edges = [reached, *(bisect.bisect(keys, at) for at in cuts), end]
    assert max(b - a for a, b in itertools.pairwise(edges)) / (end - reached) < 0.75
    assert len(asked) <= most


def test_many_who_have_nothing_to_do_ask_at_once_and_cut_in_many_parts() -> None:
    keys = [b"data%d/%05d" % (n % 8, n) for n in range(10_000)]
    keys.sort()
    at_once = most_at_once = asked = 0

    async def probe(after: bytes, likely: bool) -> bytes | None:
        nonlocal at_once, most_at_once, asked
        at_once, asked = at_once + 1, asked + 1
        most_at_once = max(most_at_once, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return next((k for k in keys if k > after), None)

    range_ = Range(low=b"", high=None, reached=keys[500])
    cuts = asyncio.run(find_cuts(range_, probe, 7))
    edges = [500, *(bisect.bisect(keys, at) for at in cuts), len(keys)]
    assert max(b - a for a, b in itertools.pairwise(edges)) == len(keys) / 8  # a folder each
    assert 7 <= most_at_once <= 15
    assert asked <= 18
    asked = 0
    rest = range_.cut(cuts[-1])
    assert rest is not None
    assert asyncio.run(find_cuts(rest, probe))
    assert asked <= 6  # for the first search has seen where nothing lies


@pytest.mark.parametrize(("end", "parts"), [(3000, 8), (2200, 0)])
def test_what_is_left_within_what_a_page_spans_is_cut_at_once_or_not_at_all(end: int, parts: int) -> None:
    """Keys of which a page has 100: those before 3000 lie in nine of its spans, and those before 2200 in one."""
    keys = [b"logs/%07d" % n for n in range(10_000)]
    rounds = asked = 0

    async def probe(after: bytes, likely: bool) -> bytes | None:
        nonlocal rounds, asked
        asked += 1
        mine = rounds
        await asyncio.sleep(0)
        rounds = mine + 1
        return next((k for k in keys if k > after), None)

    range_ = Range(low=b"", high=keys[end][: -3 if end == 3000 else -2], reached=keys[2150])
    range_.passed(keys[2050], keys[2150])
    cuts = asyncio.run(find_cuts(range_, probe, 7))
    assert [bisect.bisect(keys, at) for at in cuts] == [2000 + 100 * n for n in range(10 - parts, 10)]
    assert (rounds, asked) == ((1, 9) if parts else (0, 0))


def test_a_search_for_a_cut_is_called_off_when_its_range_was_read() -> None:
    copies = [Store(c, (entry(b"%04d" % n) for n in range(600))) for c in ("x@a", "x@b")]
    never, hung = asyncio.Event(), 0
    real = copies[0].page

    async def page(*words: Any, most: int = 1000, **more: Any) -> Listing:
        nonlocal hung
        if most == 1:
            hung += 1
            await never.wait()
        return await real(*words, most=most, **more)

    copies[0].page = page  # type: ignore[method-assign]

    async def run() -> Sweep:
        return await asyncio.wait_for(swept(copies, False, 4, 50), 20)

    assert (asyncio.run(run()).listed, hung > 0) == (600, True)


def test_a_cut_that_comes_too_late_is_none() -> None:
    range_ = Range(low=b"", high=b"m", reached=b"f")
    assert range_.cut(b"f") is None
    assert range_.cut(b"m") is None
    assert range_.high == b"m"


def test_what_only_servers_word_otherwise_is_no_difference_and_is_left_out_of_later_pages() -> None:
    copies = [Store(c, (entry(b"%06d" % n) for n in range(1000))) for c in ("x@a", "x@b")]
    copies[1].noise = "tag-of-b"
    sweep = asyncio.run(swept(copies, False, 1, 100))
    assert sweep.found[0].suspects == []
    assert sweep.lean
    assert sweep.alike < 1000


def test_suspects_are_counted_beyond_those_kept() -> None:
    copies = [Store("x@a", (entry(b"%06d" % n) for n in range(MOST_SUSPECTS + 5))), Store("x@b")]
    found = asyncio.run(swept(copies, False)).found[0]
    assert (len(found.suspects), found.more) == (MOST_SUSPECTS, 5)
    assert found.oldest_s > 0


def test_a_server_that_lists_out_of_order_proves_nothing() -> None:
    ours, theirs = Store("x@a", [entry(b"a"), entry(b"b")]), Store("x@b", [entry(b"a"), entry(b"b")])
    theirs.listed = lambda versions: [entry(b"b"), entry(b"a")]  # type: ignore[method-assign]
    with pytest.raises(RowsUnreadable, match="listed after"):
        asyncio.run(swept([ours, theirs], False))


def test_a_server_that_lists_the_same_page_for_ever_is_found_out() -> None:
    ours, theirs = (Store(c, [entry(b"a"), entry(b"b"), entry(b"c")]) for c in ("x@a", "x@b"))
    stuck = parse("x@b", listing([entry(b"a")], True, False), False, False)

    async def page(*_: object, **__: object) -> object:
        return stuck

    theirs.page = page  # type: ignore[method-assign,assignment]
    with pytest.raises(RowsUnreadable, match="listed after"):
        asyncio.run(swept([ours, theirs], False, 1, 1))


def test_more_versions_of_a_key_than_a_page_holds() -> None:
    made = [entry(b"k", b"%d" % n, f"v{n}", latest=n == 0) for n in range(50)]
    copies = [
        Store("x@a", [*made, entry(b"l", version="1")]),
        Store("x@b", [*made[:30], *made[31:], entry(b"l", version="1")]),
    ]
    sweep = asyncio.run(swept(copies, True, 2, 7))
    assert sweep.found[0].suspects == [b"k"]
    assert (sweep.listed, sweep.found[0].listed) == (51, 50)


@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.integers(0, 3), max_size=30))
def test_equal_runs_are_as_long_as_they_are(left: list[int], right: list[int]) -> None:
    feeds = [Feed(b""), Feed(b"")]
    for feed, numbers in zip(feeds, (left, right), strict=True):
        feed.page = Blocks([b"%d" % n for n in numbers])
        feed.end = len(numbers)
    wanted = next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    assert pass_equal(feeds) == wanted
    assert [f.at for f in feeds] == [wanted, wanted]


class Blocks:
    """A page of which only the blocks are looked at."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks, self.count, self.more = blocks, len(blocks), False

    def join(self, other: Page) -> bool:
        return False

    @property
    def ends(self) -> Ends:
        raise AssertionError

    def key(self, number: int) -> bytes:
        raise AssertionError

    def some_key(self, first: int, last: int, chance: float) -> bytes:
        raise AssertionError

    def entry(self, number: int) -> Entry:
        raise AssertionError


@given(st.lists(KEYS, unique=True, max_size=20), st.booleans(), st.booleans())
@settings(deadline=None)
def test_a_page_is_read_as_it_was_written(keys: list[bytes], versions: bool, lean: bool) -> None:
    made = [entry(k, version="v" if versions else "") for k in keys]
    page = parse("x@a", listing(made, True, versions, "noise"), versions, lean)
    found = [page.entry(n) for n in range(len(page.blocks))]
    assert [e[:6] for e in found] == [e[:6] for e in made]
    assert [page.key(n) for n in range(len(keys))] == keys
    assert not made or page.ends == (keys[0], keys[-1], made[-1].version)
    assert page.more
    assert all(lean or e.modified_s > 1e9 for e in found)


WHOLE = listing([entry(b"a"), entry(b"b")], False, False)


@pytest.mark.parametrize(
    "body",
    [
        WHOLE[:-1],
        WHOLE[: len(WHOLE) // 2],
        WHOLE.replace(b"<IsTruncated>false</IsTruncated>", b""),
        WHOLE.replace(b"<Key>a</Key>", b""),
        WHOLE.replace(b"</Contents>", b"", 1),
        WHOLE.replace(b"<Contents>", b"", 1),
        WHOLE.replace(b"<Key>", b"<Key>a</Key><Key>", 1),
        WHOLE.replace(b"<IsTruncated>", b"<Key>c</Key><IsTruncated>"),
        WHOLE.replace(b"<IsTruncated>", b"</Contents><IsTruncated>"),
        listing([entry(b"a", version="1")], False, True),
        b"",
        b"<Error><Code>SlowDown</Code></Error>",
    ],
)
def test_what_is_no_whole_page_is_refused(body: bytes) -> None:
    with pytest.raises(RowsUnreadable, match="no listing"):
        assert parse("x@a", body, False, False).count
    with pytest.raises(RowsUnreadable, match="no listing"):
        assert parse("x@a", body, False, False).key(0)


def test_a_page_in_other_clothes_is_read_all_the_same() -> None:
    """CDATA, comments, prefixes, attributes, no url encoding, and a marker that no XML may hold."""
    body = (
        b'<s:ListBucketResult xmlns:s="s3"><!-- <Contents> --><s:NextMarker>&#x1;</s:NextMarker>'
        b"<s:Contents><s:Key><![CDATA[a<b&c]]></s:Key><s:ETag>&quot;e&quot;</s:ETag><s:Size>3</s:Size></s:Contents>"
        b"<s:IsTruncated>false</s:IsTruncated></s:ListBucketResult>"
    )
    page = parse(
        "x@a",
        body.replace(b"</s:ListBucketResult>", b"</ListBucketResult>").replace(
            b"<s:ListBucketResult", b"<ListBucketResult"
        ),
        False,
        False,
    )
    assert page.entry(0)[:6] == (b"a<b&c", "", True, False, "e", 3)


def test_a_key_with_an_attribute_in_a_page_that_is_plain_else_is_read() -> None:
    page = parse("x@a", WHOLE.replace(b"<Key>b", b'<Key kind="x">b'), False, False)
    assert [page.key(n) for n in range(page.count)] == [b"a", b"b"]
    assert [e.key for e in page.entries()] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (b"<!-- <Contents><Key>z</Key></Contents> -->", [b"a", b"b"]),
        (b"<Contents><Key><![CDATA[aa]]></Key><Size>1</Size></Contents>", [b"aa", b"a", b"b"]),
        (b"<s:Contents><s:Key>aa</s:Key></s:Contents>", [b"aa", b"a", b"b"]),
    ],
)
def test_what_no_bytes_can_be_cut_of_goes_through_the_parser(words: bytes, keys: list[bytes]) -> None:
    page = parse("x@a", WHOLE.replace(b"<Contents>", words + b"<Contents>", 1), False, False)
    assert [page.key(n) for n in range(page.count)] == keys


def test_an_exclamation_mark_alone_is_no_comment() -> None:
    assert parse("x@a", WHOLE.replace(b"<Key>b", b"<Key>b!"), False, False).key(1) == b"b!"


def test_times_are_read_to_the_fraction() -> None:
    assert seconds(b"2026-11-23T07:51:03.562Z") == pytest.approx(1795420263.562)
    assert seconds(b"yesterday") == 0.0


def test_versions_are_compared_whatever_their_order() -> None:
    one, two = entry(b"k", b"1", "v1"), entry(b"k", b"2", "v2", latest=False)
    assert same_listing([one, two], [two, one])
    assert not same_listing([one, two], [one])
    assert not same_listing([one], [one._replace(latest=False)])
    assert same_listing([one], [one._replace(modified_s=1.0)])
    assert msgspec.json.encode(one.key)
