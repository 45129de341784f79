"""A bucket as plain data behind the real protocol: its pages are S3 documents that the real reader takes apart."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote
from xml.sax.saxutils import escape

from orchestrator.model.objects import BucketStanding, Entry, Facts, Versioning
from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.providers.s3_listing import Listing, parse

OLD_S = 1_700_000_000.0


def entry(key: bytes, body: bytes = b"x", version: str = "", **other: object) -> Entry:
    """A plain object, written long ago."""
    etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
    fields = {"latest": True, "marker": False, "etag": etag, "size": len(body), "modified_s": OLD_S} | other
    return Entry(key=key, version=version, **fields)  # type: ignore[arg-type]


def listing(entries: Iterable[Entry], more: bool, versions: bool, noise: str = "") -> bytes:
    """The page that a gateway would send."""
    root, tag = ("ListVersionsResult", "Version") if versions else ("ListBucketResult", "Contents")
    body = "".join(_block(e, "DeleteMarker" if e.marker else tag, versions, noise) for e in entries)
    head = f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
    return (
        f'<?xml version="1.0"?><{root} xmlns="s3">{head}<NextKeyMarker>&#x01;</NextKeyMarker>{body}</{root}>'.encode()
    )


def _block(e: Entry, tag: str, versions: bool, noise: str) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(e.modified_s))
    named = f"<VersionId>{e.version}</VersionId><IsLatest>{str(e.latest).lower()}</IsLatest>" if versions else ""
    told = "" if e.marker else f"<ETag>{escape(f'{chr(34)}{e.etag}{chr(34)}')}</ETag><Size>{e.size}</Size>"
    noisy = f"<RgwxTag>{noise}</RgwxTag>" if noise else ""
    return f"<{tag}>{named}<Key>{quote(e.key)}</Key><LastModified>{stamp}</LastModified>{told}{noisy}</{tag}>"


class Store:
    """One copy; `hook` is called before every request and may change data or raise."""

    def __init__(self, instance: str, entries: Iterable[Entry] = (), *, primary: bool | None = None) -> None:
        self.instance = instance
        self.primary = primary
        self.objects: dict[bytes, list[Entry]] = {}
        self.heads: Mapping[bytes, Facts] = {}
        self.bodies: dict[bytes, bytes] = {}
        self.noise = ""
        self.lineage = "one"
        self.versioning = Versioning.OFF
        self.retained = False
        self.requests = 0
        self.most_asked = 0
        self.hook: Callable[[], None] = lambda: None
        for one in entries:
            self.objects.setdefault(one.key, []).append(one)

    def _asked(self) -> None:
        self.requests += 1
        self.hook()

    async def standing(self, within_s: float) -> BucketStanding:
        self._asked()
        return BucketStanding(
            instance=self.instance, primary=self.primary, versioning=self.versioning, lock=False,
            retained=self.retained, lineage=self.lineage,
        )  # fmt: skip

    def listed(self, versions: bool) -> list[Entry]:
        """Everything, in the order of a listing."""
        every = [e for key in sorted(self.objects) for e in self.objects[key]]
        return every if versions else [e for e in every if e.latest and not e.marker]

    async def page(
        self, after: bytes, version: str, versions: bool, *, lean: bool = False, most: int = 1000
    ) -> Listing:
        self._asked()
        await asyncio.sleep(0)
        self.most_asked = max(self.most_asked, most)
        every = self.listed(versions)
        begin = next((n for n, e in enumerate(every) if e.key > after), len(every))
        if version:
            begin = next(n + 1 for n, e in enumerate(every) if (e.key, e.version) == (after, version))
        part = every[begin : begin + most]
        return parse(self.instance, listing(part, begin + most < len(every), versions, self.noise), versions, lean)

    async def look(self, key: bytes, versions: bool) -> tuple[Entry, ...]:
        self._asked()
        return tuple(e for e in self.objects.get(key, ()) if versions or (e.latest and not e.marker))

    async def facts(self, key: bytes, version: str) -> Facts | None:
        self._asked()
        held = [e for e in self.objects.get(key, ()) if e.version == version or not version]
        return self.heads.get(key) or (Facts(size=held[0].size, etag=held[0].etag) if held else None)

    async def digest(self, key: bytes, version: str) -> str:
        self._asked()
        return hashlib.sha256(self.bodies[key]).hexdigest()

    async def tags(self, key: bytes, version: str) -> tuple[tuple[str, str], ...]:
        return ()

    async def now_s(self) -> float:
        return time.time()

    async def put(self, key: bytes, body: bytes) -> str:
        self._asked()
        self.objects[key] = [entry(key, body)]
        self.bodies[key] = body
        return ""

    async def get(self, key: bytes) -> bytes | None:
        self._asked()
        return self.bodies.get(key)

    async def delete(self, key: bytes, version: str) -> None:
        self.objects.pop(key, None)
        self.bodies.pop(key, None)

    async def close(self) -> None:
        pass


def lost(instance: str) -> RowsUnreadable:
    """A connection that broke."""
    return RowsUnreadable(Trouble.LOST, instance, "connection reset")
