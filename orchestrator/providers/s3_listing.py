"""Reads S3 listings quickly and without trust: pages are cut at their tags, and single entries are read where needed.

A listing's XML holds no `<` but its tags, so cutting bytes is reading XML; whatever looks otherwise (CDATA, comments,
namespace prefixes, counts that do not fit) goes through a parser. Copies mostly send the same entries byte for byte:
such pages are counted, cut and read once for all of them. Markers of a page are not used to go on: some
servers write control characters into them that no XML has; the last key, decoded, does the same.
"""

from __future__ import annotations

import html
import re
from calendar import timegm
from functools import cached_property
from urllib.parse import unquote_to_bytes
from xml.parsers import expat

from orchestrator.model.objects import Ends, Entry, Page
from orchestrator.model.rows import RowsUnreadable, Trouble

_NOISE = re.compile(
    rb"<(?:LastModified|StorageClass|RgwxTag|RgwxMtime|VersionedEpoch|Type)>[^<]*</\w+>"
    rb"|<Owner>.*?</Owner>|<ChecksumAlgorithm>[^<]*</ChecksumAlgorithm>|<ChecksumType>[^<]*</ChecksumType>",
    re.DOTALL,
)
_FIELD = re.compile(rb"<(Key|VersionId|IsLatest|ETag|Size|LastModified|DeleteMarker)/?>([^<]*)")
_KEY = re.compile(rb"<Key>([^<]*)</Key>")
_VERSION = re.compile(rb"<VersionId>([^<]*)")
_TOLD = re.compile(rb"<KeyCount>([0-9]{1,9})</KeyCount>")
_REFERENCE = re.compile(rb"&#(x[0-9a-fA-F]+|[0-9]+);")
_TIME = re.compile(rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?Z")


def unlisted(owner: str, words: str) -> RowsUnreadable:
    """What came is no whole listing."""
    return RowsUnreadable(Trouble.OTHER, owner, f"no listing: {words}")


class Listing:
    """One page, as it came. It is looked into once something is asked of it, and then raises if it is no whole one."""

    def __init__(self, document: _Document) -> None:
        self._document = document

    @property
    def more(self) -> bool:
        """There is more behind the last entry.

        Raises:
            RowsUnreadable: it is no whole listing.
        """
        return self._document.more

    @property
    def count(self) -> int:
        """Number of entries.

        Raises:
            RowsUnreadable: it is no whole listing, or tags and keys are not as many as entries.
        """
        return self._entries.count

    @property
    def blocks(self) -> list[bytes]:
        """See `Page.blocks`."""
        return self._entries.blocks

    @property
    def _entries(self) -> _Entries:
        return self._document.entries

    def join(self, other: Page) -> bool:
        """See `Page.join`; what is the same to the last byte is not even looked into."""
        if not isinstance(other, Listing):
            return False
        if self._document.same(other._document):
            self._document = other._document
            return True
        if not self._entries.same(other._entries):
            return False
        self._document.entries = other._entries
        return True

    def some_key(self, first: int, last: int, chance: float) -> bytes:
        """See `Page.some_key`."""
        return self._entries.some_key(first, last, chance)

    @property
    def ends(self) -> Ends:
        """See `Page.ends`.

        Raises:
            RowsUnreadable: a block has no key.
        """
        return self._entries.ends

    def key(self, number: int) -> bytes:
        """The key of a block.

        Raises:
            RowsUnreadable: the block has none.
        """
        return self._entries.key(number)

    def entry(self, number: int) -> Entry:
        """A block, read.

        Raises:
            RowsUnreadable: a field is missing or is not what it should be.
        """
        return self._entries.entry(number)

    def entries(self) -> list[Entry]:
        """All blocks, read."""
        return [self.entry(n) for n in range(self.count)]


class Counts:
    """Whether a server counts its entries right (`KeyCount`): counted over again on its first pages, and then on one in
    EVERY; once it was wrong, nothing it says is believed. No comparison rests on it: what is compared is bytes.
    """

    FIRST, EVERY = 4, 8

    def __init__(self) -> None:
        self._pages = 0
        self._wrong = False

    def believed(self) -> bool:
        """Whether the next page is taken at its word."""
        self._pages += 1
        return not self._wrong and self._pages > self.FIRST and self._pages % self.EVERY != 0

    def judge(self, told: int, found: int) -> None:
        """A page was counted over again."""
        self._wrong = self._wrong or told != found


class _Entries:
    """The entries of a page: a part of its text, from the first one's tag to the last one's, that is not copied."""

    def __init__(
        self, owner: str, text: bytes, part: slice, tag: bytes, *, encoded: bool, told: int | None, counts: Counts
    ) -> None:
        self._owner, self._text, self._encoded = owner, text, encoded
        self._from, self._to = part.start, part.stop
        self._told, self._counts = told, counts
        """How many there are by the server's own word, and what that is worth."""
        self._begin, self._end = b"<%b>" % tag, b"</%b>" % tag

    def same(self, other: _Entries) -> bool:
        """Whether both were written alike, and mean the same by it."""
        if self is other:
            return True
        alike = (self._begin, self._encoded) == (other._begin, other._encoded)
        return alike and self._text[self._from : self._to] == other._text[other._from : other._to]

    @cached_property
    def count(self) -> int:
        if self._told is None:
            return self._counted_over()
        # No entries at all is never believed: nobody would look at what there is.
        if not (self._told and self._counts.believed()) and self._told != self._seams():
            self._counts.judge(self._told, found := self._counted_over())
            return found
        return self._told

    def _counted_over(self) -> int:
        if (count := self._counted()) is None:
            self._text = _plain(self._owner, b"<r>%b</r>" % self._text[self._from : self._to])[3:-4]
            self._from, self._to = 0, len(self._text)
            count = self._counted()
        if count is None:
            raise unlisted(self._owner, f"{self._number(self._begin)} entries, {self._number(b'<Key>')} keys")
        return count

    def _seams(self) -> int:
        """Number of entries that begin with a key, right after the one before: a sixth of the time of a full count."""
        first = self._begin + b"<Key>"
        return self._number(self._end + first) + self._text.startswith(first, self._from, self._to)

    def _counted(self) -> int | None:
        """Number of entries; None where not each of them begins, ends and has a key."""
        count = self._number(self._begin)
        return count if count == self._number(self._end) == self._number(b"<Key>") else None

    def _number(self, words: bytes) -> int:
        return self._text.count(words, self._from, self._to)

    @cached_property
    def blocks(self) -> list[bytes]:
        found = self._text[self._from : self._to].split(self._begin)[1:]
        if len(found) != self.count:
            raise unlisted(self._owner, f"{len(found)} entries, where it says {self.count}")
        return found

    @cached_property
    def ends(self) -> Ends:
        last = self._block(self.count - 1)
        version = _VERSION.search(last)
        return Ends(self._key(self._block(0), 0), self._key(last, 0), version[1].decode() if version else "")

    def key(self, number: int) -> bytes:
        return self.ends.last if number == self.count - 1 else self._key(self._block(number), 0)

    def some_key(self, first: int, last: int, chance: float) -> bytes:
        if (first, last) != (0, self.count):
            return self.key(first + int(chance * (last - first)))
        at = self._text.find(b"<Key>", self._from + int(chance * (self._to - self._from)), self._to)
        return self._key(self._text, at) if at >= 0 else self.key(0)

    def _key(self, text: bytes, at: int) -> bytes:
        found = _KEY.search(text, at)
        if found is None:
            raise unlisted(self._owner, "an entry without a key")
        return self._decoded(found[1])

    def entry(self, number: int) -> Entry:
        block = self._block(number)
        found = dict(_FIELD.findall(block))
        try:
            return Entry(
                key=self._decoded(found[b"Key"]),
                version=found.get(b"VersionId", b"").decode(),
                latest=found.get(b"IsLatest", b"true") == b"true",
                marker=b"DeleteMarker" in found,
                etag=html.unescape(found.get(b"ETag", b"").decode()).strip('"'),
                size=int(found.get(b"Size", b"0")),
                modified_s=seconds(found.get(b"LastModified", b"")),
            )
        except (KeyError, ValueError) as e:
            raise unlisted(self._owner, f"an entry that cannot be read: {block[:200]!r}") from e

    def _block(self, number: int) -> bytes:
        """One block; the first and the last are found without cutting the page."""
        if number == 0 and self.count:
            return self._text[self._from : self._text.index(self._end, self._from)]
        if number == self.count - 1:
            return self._text[self._text.rindex(self._begin, self._from, self._to) : self._to]
        return self.blocks[number]

    def _decoded(self, raw: bytes) -> bytes:
        if self._encoded:
            return unquote_to_bytes(raw.replace(b"+", b" ")) if b"%" in raw or b"+" in raw else raw
        return html.unescape(raw.decode()).encode() if b"&" in raw else raw


def seconds(text: bytes) -> float:
    """Seconds since 1970 of an RFC 3339 time in UTC; 0 for any other text."""
    found = _TIME.fullmatch(text)
    if found is None:
        return 0.0
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    return timegm((year, month, day, hour, minute, second)) + float(found[7] or 0)


def parse(owner: str, body: bytes, versions: bool, lean: bool, counts: Counts | None = None) -> Listing:
    """A page of a listing (ListObjectsV2, or ListObjectVersions with `versions`) of the copy `owner`.

    `counts` goes along with all pages of one copy; without it no count of the server is believed.
    """
    return Listing(_Document(owner, body, versions, lean, counts or Counts()))


class _Document:
    """An answer of a server, read once something is asked."""

    def __init__(self, owner: str, body: bytes, versions: bool, lean: bool, counts: Counts) -> None:
        self._owner, self._body, self._versions, self._lean, self._counts = owner, body, versions, lean, counts

    def same(self, other: _Document) -> bool:
        """Whether the same answer is to be read alike."""
        return (self._body, self._versions, self._lean) == (other._body, other._versions, other._lean)

    @property
    def more(self) -> bool:
        return self._read[1]

    @cached_property
    def entries(self) -> _Entries:
        return self._read[0]

    @cached_property
    def _read(self) -> tuple[_Entries, bool]:
        """Its entries, and whether there are more.

        Raises:
            RowsUnreadable: it is no listing, or not whole.
        """
        owner, body = self._owner, self._body
        root = b"ListVersionsResult" if self._versions else b"ListBucketResult"
        if not body.rstrip().endswith(b"</" + root + b">"):
            raise unlisted(owner, f"no whole {root.decode()}: {body[:200]!r}")
        # Not every page has a `!`, and one byte is found a hundred times as fast as two.
        if b"!" in body and b"<!" in body:
            body = _plain(owner, body)
        try:
            return self._cut(body)
        except RowsUnreadable:
            return self._cut(_plain(owner, body))

    def _cut(self, body: bytes) -> tuple[_Entries, bool]:
        """A page whose tags are plain: its entries, and whether there are more.

        Raises:
            RowsUnreadable: they are not, or something is missing.
        """
        if self._versions:
            body = body.replace(b"<DeleteMarker>", b"<Version><DeleteMarker/>").replace(
                b"</DeleteMarker>", b"</Version>"
            )
        if self._lean:
            body = _NOISE.sub(b"", body)
        tag = b"Version" if self._versions else b"Contents"
        begin, end = b"<%b>" % tag, b"</%b>" % tag
        first, last = body.find(begin), body.rfind(end)
        stop = last + len(end)
        part, around = (slice(first, stop), body[:first] + body[stop:]) if 0 <= first < last else (slice(0, 0), body)
        if any(word in around for word in (begin, end, b"<Key>", b":Key>")):
            raise unlisted(self._owner, "a key or a part of an entry stands beside the entries")
        truncated = re.search(rb"<IsTruncated>\s*(\w+)\s*</IsTruncated>", around)
        if truncated is None or truncated[1] not in (b"true", b"false"):
            raise unlisted(self._owner, "it does not say whether it is truncated")
        encoded = b"<EncodingType>url</EncodingType>" in around
        told = int(found[1]) if (found := _TOLD.search(around)) else None
        entries = _Entries(self._owner, body, part, tag, encoded=encoded, told=told, counts=self._counts)
        return entries, truncated[1] == b"true"


def _plain(owner: str, body: bytes) -> bytes:
    """The same document by a parser: no CDATA, comments, attributes or prefixes.

    Raises:
        RowsUnreadable: it is no XML.
    """
    out: list[str] = []
    reader = expat.ParserCreate()
    reader.buffer_text = True
    reader.StartElementHandler = lambda name, _: out.append(f"<{name.rpartition(':')[2]}>")
    reader.EndElementHandler = lambda name: out.append(f"</{name.rpartition(':')[2]}>")
    reader.CharacterDataHandler = lambda text: out.append(html.escape(text))
    try:
        reader.Parse(_REFERENCE.sub(_legal, body), True)
    except expat.ExpatError as e:
        raise unlisted(owner, f"no XML: {e}") from e
    return "".join(out).encode()


def _legal(found: re.Match[bytes]) -> bytes:
    """A character reference as it stands; a question mark for one that XML 1.0 does not know."""
    digits = found[1].decode()
    code = int(digits[1:], 16) if digits.startswith("x") else int(digits)
    return found[0] if code >= 0x20 or code in (9, 10, 13) else b"?"
