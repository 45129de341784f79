"""Reads S3 listings quickly and without trust: pages are cut at their tags, and single entries are read where needed.

A listing's XML holds no `<` but its tags, so cutting bytes is reading XML; whatever looks otherwise (CDATA, comments,
namespace prefixes, counts that do not fit) goes through a parser. Markers of a page are not used to go on: some
servers write control characters into them that no XML has; the last key, decoded, does the same.
"""

from __future__ import annotations

import html
import re
from calendar import timegm
from urllib.parse import unquote_to_bytes
from xml.parsers import expat

from orchestrator.model.objects import Entry
from orchestrator.model.rows import RowsUnreadable, Trouble

_NOISE = re.compile(
    rb"<(?:LastModified|StorageClass|RgwxTag|RgwxMtime|VersionedEpoch|Type)>[^<]*</\w+>"
    rb"|<Owner>.*?</Owner>|<ChecksumAlgorithm>[^<]*</ChecksumAlgorithm>|<ChecksumType>[^<]*</ChecksumType>",
    re.DOTALL,
)
_FIELD = re.compile(rb"<(Key|VersionId|IsLatest|ETag|Size|LastModified|DeleteMarker)/?>([^<]*)")
_KEY = re.compile(rb"<Key>([^<]*)</Key>")
_REFERENCE = re.compile(rb"&#(x[0-9a-fA-F]+|[0-9]+);")
_TIME = re.compile(rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?Z")


def unlisted(owner: str, words: str) -> RowsUnreadable:
    """What came is no whole listing."""
    return RowsUnreadable(Trouble.OTHER, owner, f"no listing: {words}")


class Listing:
    """One page."""

    def __init__(self, owner: str, blocks: list[bytes], more: bool, encoded: bool) -> None:
        self._owner, self.blocks, self.more, self._encoded = owner, blocks, more, encoded

    def key(self, number: int) -> bytes:
        """The key of a block.

        Raises:
            RowsUnreadable: the block has none.
        """
        found = _KEY.search(self.blocks[number])
        if found is None:
            raise unlisted(self._owner, "an entry without a key")
        return self._decoded(found[1])

    def entry(self, number: int) -> Entry:
        """A block, read.

        Raises:
            RowsUnreadable: a field is missing or is not what it should be.
        """
        block = self.blocks[number]
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

    def entries(self) -> list[Entry]:
        """All blocks, read."""
        return [self.entry(n) for n in range(len(self.blocks))]

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


def parse(owner: str, body: bytes, versions: bool, lean: bool) -> Listing:
    """A page of a listing (ListObjectsV2, or ListObjectVersions with `versions`) of the copy `owner`.

    Raises:
        RowsUnreadable: it is none, or not whole.
    """
    root = b"ListVersionsResult" if versions else b"ListBucketResult"
    if not body.rstrip().endswith(b"</" + root + b">"):
        raise unlisted(owner, f"no whole {root.decode()}: {body[:200]!r}")
    if b"<!" in body:
        body = _plain(owner, body)
    try:
        return _cut(owner, body, versions, lean)
    except RowsUnreadable:
        return _cut(owner, _plain(owner, body), versions, lean)


def _cut(owner: str, body: bytes, versions: bool, lean: bool) -> Listing:
    """A page whose tags are plain, cut at them.

    Raises:
        RowsUnreadable: they are not, or something is missing.
    """
    if versions:
        body = body.replace(b"<DeleteMarker>", b"<Version><DeleteMarker/>").replace(b"</DeleteMarker>", b"</Version>")
    tag = b"Version" if versions else b"Contents"
    begin, end = b"<" + tag + b">", b"</" + tag + b">"
    head, *blocks = (_NOISE.sub(b"", body) if lean else body).split(begin)
    tail = head
    if blocks:
        blocks[-1], _, after = blocks[-1].partition(end)
        blocks[-1] += end
        tail += after
    if body.count(end) != len(blocks) or body.count(b"<Key>") != len(blocks) or b":Key>" in tail:
        raise unlisted(owner, f"{len(blocks)} entries, {body.count(b'<Key>')} keys")
    truncated = re.search(rb"<IsTruncated>\s*(\w+)\s*</IsTruncated>", tail)
    if truncated is None or truncated[1] not in (b"true", b"false"):
        raise unlisted(owner, "it does not say whether it is truncated")
    return Listing(owner, blocks, truncated[1] == b"true", b"<EncodingType>url</EncodingType>" in tail)


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
