"""Speaks S3 over HTTP/1.1: botocore's signature and configuration, connections that are kept, and nothing between.

Credentials come from boto3's chain (environment, credential file, the profile that the instance's `profile` names),
never from the topology file. Parameters: `tls` (true/false), `region`, `profile`; the address is host:port/bucket.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from orchestrator.crashpoint import outward
from orchestrator.model.observation import Reach
from orchestrator.providers.http_request import NoAnswer, met

if TYPE_CHECKING:
    from orchestrator.model.topology import Instance

WITHIN_S: Final = 60.0
"""Bound of one request."""
_LIMIT = 1 << 20
_HEAD_LINES = 200
_BODY_MAX = 64 << 20
_IDLE = 32
_KEPT_S = 60.0
QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
Query = Sequence[tuple[str, str | bytes]]


class Reply(msgspec.Struct, frozen=True):
    """One answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def date_s(self) -> float:
        """The server's clock, seconds since 1970; 0 where it does not tell."""
        return _seconds(self.headers.get("date", ""))

    @property
    def code(self) -> str:
        """The error code of its body (XML or JSON), or its status."""
        for before, after in ((b"<Code>", b"</Code>"), (b'"Code":"', b'"')):
            _, found, rest = self.body.partition(before)
            if found:
                return rest.partition(after)[0].decode(errors="replace")
        return str(self.status)


class Late(NoAnswer):
    """There is no answer yet, and nobody waits for it any longer."""

    def __init__(self) -> None:
        super().__init__(Reach.SILENT, f"no answer within {WITHIN_S:g} s")


class _Link:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.used = self.late = False

    def confirm(self) -> None:
        """Confirm to the server what came so far (tcp(7), TCP_QUICKACK), where the system can.

        RGW sends a reply's head and body apart and has Nagle's algorithm on by default: the body leaves once the head
        is confirmed, which the kernel puts off for 40 ms. A look at a bucket takes 6 ms instead of 52.
        """
        if QUICKACK is None:
            return
        with contextlib.suppress(OSError):  # the server may be gone already, with all of its reply sent
            self.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)

    def end(self) -> None:
        self.writer.transport.abort()

    def expire(self) -> None:
        """Its answer did not come in time: whoever waits for it is told at once."""
        self.late = True
        self.end()


class Wire:
    """Requests to one endpoint; at most as many connections as are asked at once, kept between requests."""

    def __init__(self, instance: Instance) -> None:
        endpoint, _, bucket = instance.address.partition("/")
        self._instance = instance
        self._endpoint, self.bucket = endpoint, bucket.strip("/")
        self._tls = instance.param("tls", "false") == "true"
        self._profile, self._region = instance.param("profile"), instance.param("region", "us-east-1")
        self._signer: Any = None
        self._idle: list[_Link] = []
        self._last: tuple[str, float, float] | None = None
        """The server's date, and our clock before and after; no reply, for a page of a listing is large."""

    @property
    def clock_offset_s(self) -> float | None:
        """Seconds that the server's clock is at least off ours (ahead: above 0), by its last answer; None: not told.

        `Date` has whole seconds (RFC 9110, 5.6.7): a clock that is less than a second ahead or behind may look right.
        """
        if self._last is None:
            return None
        date, sent, received = self._last
        if not (date_s := _seconds(date)):
            return None
        return max(0.0, date_s - received) + min(0.0, date_s + 1.0 - sent)

    async def ask(
        self, method: str, key: bytes | None = None, query: Query = (), headers: Mapping[str, str] | None = None,
        body: bytes = b"", *, path: str | None = None,
    ) -> Reply:  # fmt: skip
        """One signed request to the bucket (or to one key of it, or to `path`).

        Raises:
            NoAnswer: there is no HTTP answer, or there are no credentials.
            Late: connecting, or the answer, took more than WITHIN_S.
        """
        host, _, port = self._endpoint.rpartition(":")
        if not host or not port.isdigit() or not self.bucket:
            raise NoAnswer(Reach.UNKNOWN, f"no address host:port/bucket: {self._instance.address!r}")
        where = path or self._path(key)
        words = "&".join(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}" for n, v in query)
        request = self._signed(method, where + (f"?{words}" if words else ""), headers or {}, body)
        outward()
        while True:
            link = self._idle.pop() if self._idle else await self._connect()
            sent = time.time()
            late = asyncio.get_running_loop().call_later(WITHIN_S, link.expire)  # a third of what `timeout` costs
            try:
                reply, keep = await self._talk(link, method, request)
            except (OSError, EOFError, asyncio.LimitOverrunError, ValueError) as e:
                link.end()
                if link.late:
                    raise Late from e
                if link.used and isinstance(e, OSError | EOFError):
                    continue  # the server had closed a connection that waited; only fresh ones tell of the server
                raise _no_answer(e) from e
            except BaseException:
                link.end()
                raise
            finally:
                late.cancel()
            link.used = True
            self._last = reply.headers.get("date", ""), sent, time.time()
            if keep and len(self._idle) < _IDLE:
                self._idle.append(link)
            else:
                link.end()
            return reply

    def close(self) -> None:
        """End the connections that wait."""
        while self._idle:
            self._idle.pop().end()

    def _path(self, key: bytes | None) -> str:
        return f"/{quote(self.bucket)}" + ("" if key is None else "/" + quote(key, safe="/-_.~"))

    def _signed(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
        from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]

        scheme, usual = ("https", ":443") if self._tls else ("http", ":80")
        # What is signed is what is sent: left to itself botocore finds the name in the URL, many times over.
        named = {"Host": self._endpoint.removesuffix(usual), **headers}
        asked = AWSRequest(method=method, url=f"{scheme}://{self._endpoint}{target}", headers=named, data=body)
        self._sign().add_auth(asked)
        lines = [f"{method} {target} HTTP/1.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in asked.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _sign(self) -> Any:
        if self._signer is None:
            from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]

            settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
            found = _credentials(self._profile, settings, int(time.monotonic() / _KEPT_S))
            self._signer = S3SigV4Auth(found, "s3", self._region)
        return self._signer

    async def _connect(self) -> _Link:
        host, _, port = self._endpoint.rpartition(":")
        opening = asyncio.open_connection(host.strip("[]"), int(port), limit=_LIMIT, ssl=self._tls or None)
        try:
            async with asyncio.timeout(WITHIN_S) as bound:
                streams = await opening
        except OSError as e:
            raise Late if bound.expired() else met(e) from e
        return _Link(*streams)

    async def _talk(self, link: _Link, method: str, request: bytes) -> tuple[Reply, bool]:
        link.writer.write(request)
        await link.writer.drain()
        status, headers = await _head(link.reader)
        while status == 100:
            status, headers = await _head(link.reader)
        link.confirm()
        keep = headers.get("connection", "").lower() != "close"
        if method == "HEAD" or status in (204, 304):
            return Reply(status, headers, b""), keep
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return Reply(status, headers, await _chunks(link.reader)), keep
        if (length := headers.get("content-length")) is None:
            return Reply(status, headers, await link.reader.read(_BODY_MAX)), False
        if int(length) > _BODY_MAX:
            raise ValueError(f"a body of {length} bytes")
        return Reply(status, headers, await link.reader.readexactly(int(length))), keep


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit() or len(lines) > _HEAD_LINES:
        raise ValueError("no HTTP/1.1 answer")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return int(rest[:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body: list[bytes] = []
    left = _BODY_MAX
    while True:
        size = int((await reader.readline()).partition(b";")[0], 16)
        if size == 0:
            while await reader.readline() not in (b"\r\n", b""):
                pass
            return b"".join(body)
        left -= size
        if left < 0:
            raise ValueError("the body is too large")
        body.append(await reader.readexactly(size))
        await reader.readexactly(2)


@functools.lru_cache(maxsize=16)
def _credentials(profile: str, settings: tuple[tuple[str, str], ...], _: int) -> Any:
    """Credentials as boto3 finds them; kept, for that takes 15 ms, until the settings are others or a minute is over.

    Raises:
        NoAnswer: there are none.
    """
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
    from botocore.session import Session  # type: ignore[import-untyped]

    try:
        found = Session(profile=profile or None).get_credentials()
    except BotoCoreError as e:
        raise NoAnswer(Reach.UNKNOWN, str(e)) from e
    if found is None:
        raise NoAnswer(Reach.UNKNOWN, "no credentials: none in the environment, and no such profile")
    return found


def _no_answer(error: Exception) -> NoAnswer:
    if isinstance(error, OSError):
        return met(error)
    if isinstance(error, EOFError):
        return NoAnswer(Reach.SILENT, "the connection was closed without an answer")
    return NoAnswer(Reach.UNKNOWN, f"no HTTP answer: {error}")


def _seconds(date: str) -> float:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return 0.0
