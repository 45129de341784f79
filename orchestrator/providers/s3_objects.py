"""One copy of a bucket for verification: listings, single objects, and the canary's writes, over the S3 API."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.model.objects import BucketStanding, Entry, Facts, Versioning, parts_of
from orchestrator.model.observation import Reach
from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.model.topology import Instance, Setting
from orchestrator.providers.http_request import NoAnswer
from orchestrator.providers.s3_listing import Counts, Listing, parse
from orchestrator.providers.s3_rgw import Zone, zone_of
from orchestrator.providers.s3_wire import WITHIN_S, Late, Query, Reply, Wire

BUSY = (500, 503)
TRIES = 4
PAUSE_S = 0.2
"""Before a busy server (500, 503) is asked again; doubles each time."""
PIECE = 8 << 20
"""Content is read in pieces of so many bytes."""
_TROUBLES = {Reach.REFUSED: Trouble.LOST, Reach.SILENT: Trouble.LOST, Reach.DENIED: Trouble.DENIED}
_HEADERS = ("content-type", "content-encoding", "content-disposition", "content-language", "cache-control", "expires")
_TAG = re.compile(rb"<Tag>\s*<Key>([^<]*)</Key>\s*<Value>([^<]*)</Value>\s*</Tag>")


class S3Objects:
    """Reads and (for canaries) writes one bucket at one endpoint."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._wire = Wire(instance)
        self._counts = Counts()

    @property
    def instance(self) -> str:
        """Id of the instance."""
        return self._instance.id

    async def standing(self, within_s: float) -> BucketStanding:
        """Role (where the endpoint tells of its zone), versioning and Object Lock."""
        try:
            async with asyncio.timeout(within_s):
                zone = await zone_of(self._wire, self._instance.centre)
                versioning = await self.versioning()
                lock, retained = await self.lock()
        except TimeoutError as e:
            raise RowsUnreadable(Trouble.LATE, self.instance, f"no answer within {within_s:g} s") from e
        except NoAnswer as e:
            raise self._unanswered(e) from e
        return BucketStanding(
            instance=self.instance, primary=_primary(zone), versioning=versioning, lock=lock, retained=retained,
            lineage=zone.agreement if zone else "",
        )  # fmt: skip

    async def versioning(self) -> Versioning:
        """Whether the bucket keeps old versions."""
        body = (await self._ask("GET", query=[("versioning", "")])).body
        found = re.search(rb"<Status>\s*(\w+)\s*</Status>", body)
        return Versioning(found[1].decode().lower()) if found else Versioning.OFF

    async def lock(self) -> tuple[bool, bool]:
        """Whether Object Lock is on, and whether new objects are held by default."""
        reply = await self._ask("GET", query=[("object-lock", "")], fine=(200, 404, 400, 501))
        on = reply.status == 200 and b"<ObjectLockEnabled>Enabled<" in reply.body
        return on, on and b"<DefaultRetention>" in reply.body

    async def page(
        self, after: bytes, version: str, versions: bool, *, lean: bool = False, most: int = 1000
    ) -> Listing:
        """See `ObjectSource.page`."""
        query: list[tuple[str, str | bytes]] = [("encoding-type", "url"), ("max-keys", str(most))]
        if versions:
            query += [("versions", ""), ("key-marker", after)]
            query += [("version-id-marker", version)] if version else []
        else:
            query += [("list-type", "2"), ("start-after", after)]
        return await self._list(query, versions, lean)

    async def look(self, key: bytes, versions: bool) -> tuple[Entry, ...]:
        """See `ObjectSource.look`: the key comes first among those that begin with it."""
        query: list[tuple[str, str | bytes]] = [("encoding-type", "url"), ("prefix", key)]
        if not versions:
            page = await self._list([*query, ("list-type", "2"), ("max-keys", "1")], False, False)
            return tuple(e for e in page.entries() if e.key == key)
        found: list[Entry] = []
        marker: list[tuple[str, str | bytes]] = []
        while True:
            page = await self._list([*query, ("versions", ""), *marker], True, False)
            entries = page.entries()
            found += [e for e in entries if e.key == key]
            if not page.more or not entries or entries[-1].key != key:
                return tuple(found)
            marker = [("key-marker", key), ("version-id-marker", entries[-1].version)]

    async def facts(self, key: bytes, version: str) -> Facts | None:
        """See `ObjectSource.facts`."""
        reply = await self._ask("HEAD", key, _version(version), {"x-amz-checksum-mode": "ENABLED"}, fine=(200, 404))
        return _facts(reply.headers) if reply.status == 200 else None

    async def tags(self, key: bytes, version: str) -> tuple[tuple[str, str], ...]:
        """The object's tags, sorted."""
        reply = await self._ask("GET", key, [("tagging", ""), *_version(version)], fine=(200, 404))
        return tuple(sorted((k.decode(), v.decode()) for k, v in _TAG.findall(reply.body)))

    async def digest(self, key: bytes, version: str) -> str:
        """SHA-256 of the content, read in pieces of PIECE bytes."""
        sha, start, total = hashlib.sha256(), 0, 1
        etag = ""
        while start < total:
            headers = {"range": f"bytes={start}-{start + PIECE - 1}", **({"if-match": etag} if etag else {})}
            reply = await self._ask("GET", key, _version(version), headers, fine=(200, 206, 416))
            if reply.status == 416:
                break
            etag = reply.headers.get("etag", "")
            sha.update(reply.body)
            start += len(reply.body)
            total = int(reply.headers.get("content-range", f"/{start}").rpartition("/")[2])
        return sha.hexdigest()

    async def now_s(self) -> float:
        """The server's clock; 0 where it does not tell."""
        return (await self._ask("GET", query=[("versioning", "")])).date_s

    async def put(self, key: bytes, body: bytes) -> str:
        """Write an object; its version (empty where none are kept)."""
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        reply = await self._ask("PUT", key, headers={"content-md5": md5}, body=body)
        return reply.headers.get("x-amz-version-id", "")

    async def get(self, key: bytes) -> bytes | None:
        """The content of a small object; None where there is none."""
        reply = await self._ask("GET", key, fine=(200, 404))
        return reply.body if reply.status == 200 else None

    async def delete(self, key: bytes, version: str) -> None:
        """Delete an object, or one version of it for good."""
        await self._ask("DELETE", key, _version(version), fine=(200, 204, 404))

    async def close(self) -> None:
        """End the connections."""
        self._wire.close()

    async def _list(self, query: Query, versions: bool, lean: bool) -> Listing:
        reply = await self._ask("GET", query=query)
        return parse(self.instance, reply.body, versions, lean, self._counts)

    async def _ask(
        self, method: str, key: bytes | None = None, query: Query = (), headers: Mapping[str, str] | None = None,
        body: bytes = b"", *, fine: tuple[int, ...] = (200,),
    ) -> Reply:  # fmt: skip
        try:
            reply = await self._wire.ask(method, key, query, headers, body)
            if reply.status in BUSY:
                reply = await self._again(method, key, query, headers, body)
        except NoAnswer as e:
            raise self._unanswered(e) from e
        if reply.status not in fine:
            trouble = Trouble.DENIED if reply.status in (401, 403) else Trouble.OTHER
            trouble = Trouble.GONE if reply.code == "NoSuchBucket" else trouble
            raise RowsUnreadable(trouble, self.instance, f"{method} answered {reply.status} {reply.code}")
        return reply

    async def _again(self, *request: Any) -> Reply:
        """Ask a busy server again, some times; WITHIN_S for all of them together."""
        from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt, wait_exponential

        retrying = AsyncRetrying(
            retry=retry_if_result(lambda r: r.status in BUSY),
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(PAUSE_S),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        try:
            async with asyncio.timeout(WITHIN_S):
                await asyncio.sleep(PAUSE_S)
                reply: Reply = await retrying(self._wire.ask, *request)
        except TimeoutError as e:
            raise Late from e
        return reply

    def _unanswered(self, error: NoAnswer) -> RowsUnreadable:
        trouble = Trouble.LATE if isinstance(error, Late) else _TROUBLES.get(error.reach, Trouble.OTHER)
        return RowsUnreadable(trouble, self.instance, error.error)


def _primary(zone: Zone | None) -> bool | None:
    return None if zone is None or zone.read_only is None else not zone.read_only


def _version(version: str) -> list[tuple[str, str | bytes]]:
    return [("versionId", version)] if version else []


def _facts(headers: Mapping[str, str]) -> Facts:
    etag = headers.get("etag", "").strip('"')
    customer = "customer" if "x-amz-server-side-encryption-customer-algorithm" in headers else ""
    mine = {n: v for n, v in headers.items() if n.startswith("x-amz-meta-") or n in _HEADERS}
    sums = {n.removeprefix("x-amz-checksum-"): v for n, v in headers.items() if n.startswith("x-amz-checksum-")}
    sums.pop("type", None)
    held = [headers.get(f"x-amz-object-lock-{n}", "") for n in ("mode", "retain-until-date", "legal-hold")]
    return Facts(
        size=int(headers.get("content-length", "0")),
        etag=etag,
        parts=int(headers["x-amz-mp-parts-count"]) if "x-amz-mp-parts-count" in headers else parts_of(etag),
        encrypted=headers.get("x-amz-server-side-encryption", "") or customer,
        checksums=_settings(sums),
        metadata=_settings(mine),
        lock=" ".join(word for word in held if word and word != "OFF"),
        tags=int(headers.get("x-amz-tagging-count", "0")),
        replication=headers.get("x-amz-replication-status", ""),
    )


def _settings(pairs: Mapping[str, str]) -> tuple[Setting, ...]:
    return tuple(Setting(name=n, value=v) for n, v in sorted(pairs.items()))
