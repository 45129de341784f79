"""Compares two large buckets, beside the bare listing and rclone check: `python -m tests.benchmarks.objects`.

Two processes serve two buckets over real HTTP with pages made beforehand, so that the clients are what is measured;
they share the machine's cores with them. The bare listing knows where every page begins and reads none of them.
No store serves pages at the speed of memory: rows that say `paced` are an addition, for pages that come as a store's.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import hashlib
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlsplit

import msgspec
import uvloop

from orchestrator.model.topology import Frozen, Instance, Role
from orchestrator.providers.s3_objects import S3Objects
from orchestrator.providers.s3_wire import Query, Wire
from orchestrator.verification.objects_sweep import Sweep
from tests.benchmarks import peers
from tests.benchmarks.measure import ROOT, Row, table
from tests.benchmarks.spent import spent

PAGE = 1000
LISTERS = 8
DIFFERENCES = 10
ROUNDS = 3
STORE_PER_S = 29_000
"""Objects a second and side that a real store listed: the pace of the rows that say so."""
REQUEST_OBJECTS = 50
"""There a request takes as long as listing so many objects, beside those that it lists."""
ACCESS, SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
KEYS = {ACCESS: "bench", SECRET: "bench"}
_BLOCK = (
    b"<Contents><Key>%b</Key><LastModified>2026-11-23T07:51:03.562Z</LastModified><ETag>&quot;%b&quot;</ETag>"
    b"<Size>%d</Size><StorageClass>STANDARD</StorageClass><Type>Normal</Type></Contents>"
)


def names(count: int, kind: str) -> list[bytes]:
    """Keys in order: evenly spread over eight folders, or 95 % in one with a long name."""
    if kind == "even":
        return sorted(b"data%d/%07d" % (n % 8, n) for n in range(count))
    deep = b"logs/2026/application/instance/%09d"
    return sorted(deep % n if n % 20 else b"%c/%07d" % (97 + n % 26, n) for n in range(count))


def planted(keys: Sequence[bytes]) -> tuple[set[bytes], set[bytes]]:
    """Keys that the altered side lacks, and keys whose content is another there."""
    every = [keys[n * (len(keys) // DIFFERENCES) + 3] for n in range(DIFFERENCES)]
    return set(every[::2]), set(every[1::2])


class Bucket:
    """The pages of one bucket, in one piece of memory."""

    def __init__(self, count: int, kind: str, altered: bool) -> None:
        self.keys = names(count, kind)
        gone, other = planted(self.keys) if altered else (set(), set())
        self.keys = [k for k in self.keys if k not in gone]
        self.starts, parts, at = [0], [], 0
        for key in self.keys:
            md5 = hashlib.md5(key + (b"!" if key in other else b""), usedforsecurity=False).hexdigest().encode()
            parts.append(_BLOCK % (quote(key).encode(), md5, 100))
            at += len(parts[-1])
            self.starts.append(at)
        self.blob = b"".join(parts)

    def listing(self, query: dict[str, list[str]], raw: dict[str, bytes]) -> bytes:
        """A page: ListObjectsV2 or V1, with prefix and delimiter."""
        prefix, most = raw.get("prefix", b""), int(query.get("max-keys", ["1000"])[0])
        after = max(raw.get(n, b"") for n in ("start-after", "marker", "continuation-token"))
        first = max(bisect.bisect_right(self.keys, after), bisect.bisect_left(self.keys, prefix))
        if raw.get("delimiter") and self.nested(prefix, first):
            return self.folders(prefix, after)
        last = min(first + most, bisect.bisect_left(self.keys, prefix + b"\xff") if prefix else len(self.keys))
        more = last < len(self.keys) and self.keys[last].startswith(prefix)
        marker = quote(self.keys[last - 1]).encode() if more else b""
        tail = b"<NextContinuationToken>%b</NextContinuationToken><NextMarker>%b</NextMarker>" % (marker, marker)
        count = b"<KeyCount>%d</KeyCount>" % max(0, last - first)
        return self.page(self.blob[self.starts[first] : self.starts[max(first, last)]] + tail + count, more)

    def facts(self, key: bytes) -> bytes:
        """The answer to a HEAD."""
        at = bisect.bisect_left(self.keys, key)
        if at == len(self.keys) or self.keys[at] != key:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        block = self.blob[self.starts[at] : self.starts[at + 1]]
        etag = block.partition(b"&quot;")[2].partition(b"&quot;")[0]
        return b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\nETag: "%b"\r\n\r\n' % etag

    def nested(self, prefix: bytes, first: int) -> bool:
        """Whether there are folders below a prefix."""
        return not prefix or (first < len(self.keys) and b"/" in self.keys[first][len(prefix) :])

    def folders(self, prefix: bytes, after: bytes) -> bytes:
        """The folders below a prefix; keys beside folders do not occur here."""
        found, at = [], bisect.bisect_left(self.keys, prefix)
        while at < len(self.keys) and self.keys[at].startswith(prefix):
            name = prefix + self.keys[at][len(prefix) :].partition(b"/")[0] + b"/"
            found.append(b"<CommonPrefixes><Prefix>%b</Prefix></CommonPrefixes>" % name)
            at = bisect.bisect_left(self.keys, name + b"\xff")
        return self.page(b"".join(found) if not after else b"", False)

    def page(self, inner: bytes, more: bool) -> bytes:
        head = (
            b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        )
        told = (
            b"<EncodingType>url</EncodingType><Name>b</Name><IsTruncated>%b</IsTruncated>" % str(more).lower().encode()
        )
        return head + told + inner + b"</ListBucketResult>"


class Server(asyncio.Protocol):
    """Answers listings; signatures are not looked at."""

    def __init__(self, bucket: Bucket, pace: Pace) -> None:
        self.bucket, self.pace, self.buffer = bucket, pace, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            method, target = (word.decode() for word in head.split(b" ", 2)[:2])
            if method == "HEAD":
                self.transport.write(self.bucket.facts(unquote_to_bytes(urlsplit(target).path.split("/", 2)[2])))
                continue
            asked = urlsplit(target).query
            raw = {n: unquote_to_bytes(v.replace("+", " ")) for n, _, v in (p.partition("=") for p in asked.split("&"))}
            body = self.bucket.listing(parse_qs(asked, keep_blank_values=True), raw)
            words = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(body)
            self.pace.after(body, self.answer, words + body)

    def answer(self, reply: bytes) -> None:
        """Whoever asked may have called it off meanwhile."""
        if not self.transport.is_closing():
            self.transport.write(reply)


class Pace:
    """So many objects a second are listed by one side, whoever asks; 0: as fast as it goes."""

    def __init__(self, per_s: int) -> None:
        self.per_s, self.free_at = per_s, 0.0

    def after(self, body: bytes, call: Callable[[bytes], None], reply: bytes) -> None:
        if not self.per_s:
            return call(reply)
        loop = asyncio.get_running_loop()
        listed = body.count(b"<Contents>") + REQUEST_OBJECTS
        self.free_at = max(self.free_at, loop.time()) + listed / self.per_s
        loop.call_at(self.free_at, call, reply)
        return None


def serve(count: int, kind: str, altered: bool, per_s: int) -> None:
    """Serve a bucket until killed; says its port first."""
    bucket, pace = Bucket(count, kind, altered), Pace(per_s)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Server(bucket, pace), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    uvloop.run(run())


@contextmanager
def buckets(count: int, kind: str, per_s: int = 0) -> Iterator[list[str]]:
    """Two buckets with 10 differences; the endpoints host:port that serve them, by whatever name."""
    words = [sys.executable, "-m", "tests.benchmarks.objects", "serve", str(count), kind]
    started = [
        subprocess.Popen([*words, side, str(per_s)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for side in ("whole", "altered")
    ]
    try:
        yield [f"127.0.0.1:{p.stdout.readline().strip()}" for p in started if p.stdout]
    finally:
        for process in started:
            process.kill()
            process.wait()


def instance(address: str) -> Instance:
    """A bucket, by its address host:port/name."""
    return Instance(id=f"b@{address}", service="b", centre=address, role=Role.PRIMARY, address=address)


class Sides(Frozen, kw_only=True):
    """Two buckets that differ as planted."""

    places: tuple[str, ...]
    count: int
    kind: str
    keys: Mapping[str, str] = msgspec.field(default_factory=lambda: dict(KEYS))


async def compare(places: Sequence[str]) -> int:
    """Our comparison: the number of keys that differ."""
    sweep = Sweep([S3Objects(instance(p)) for p in places], False)
    await sweep.run()
    print(f"listed {sweep.listed}, cuts {sweep.cuts}", file=sys.stderr)
    return sum(len(f.suspects) + f.more for f in sweep.found)


async def bare(places: Sequence[str], keys: Sequence[bytes]) -> int:
    """Every page of both sides, by LISTERS a side that know beforehand where their parts begin; the number of keys.

    Nothing is read of a page but its last key: a store may list less than it was asked for (RGW does).
    """
    wires = {p: Wire(instance(p)) for p in places}
    bounds = [len(keys) * n // LISTERS for n in range(LISTERS + 1)]

    async def lister(wire: Wire, first: int, stop: int) -> None:
        at, key = first, keys[first - 1] if first else b""
        while at < stop:
            query: Query = [("encoding-type", "url"), ("max-keys", str(min(PAGE, stop - at))), ("list-type", "2")]
            reply = await wire.ask("GET", query=[*query, ("start-after", key)])
            begin = reply.body.rindex(b"<Key>") + len(b"<Key>")
            key = unquote_to_bytes(reply.body[begin : reply.body.index(b"<", begin)])
            at = bisect.bisect_right(keys, key)

    parts = itertools.pairwise(bounds)
    await asyncio.gather(*(lister(wire, *part) for part in parts for wire in wires.values()))
    return len(keys)


def child(what: str, places: Sequence[str], count: int, kind: str) -> None:
    """One measured run: wall, CPU and memory as JSON."""
    keys = names(count, kind) if what == "bare" else []
    begun, used = time.perf_counter(), time.process_time()
    found = uvloop.run(compare(places) if what == "ours" else bare(places, keys))
    took, cpu = time.perf_counter() - begun, time.process_time() - used
    print(json.dumps([took, cpu, peak_mb(), found]))


def peak_mb() -> float:
    """Our own memory at its highest; what `getrusage` tells begins with that of whoever started us (proc(5), VmHWM)."""
    told = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert told
    return int(told[1]) / 1024


def run_child(what: str, side: Sides) -> tuple[float, float, float, int]:
    words = [sys.executable, "-m", "tests.benchmarks.objects", what, str(side.count), side.kind, *side.places]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, **side.keys})
    took, cpu, memory, found = json.loads(done.stdout)
    return took, cpu, memory, found


def rclone(program: str, sides: Sides) -> tuple[float, float, float, int]:
    """`rclone check`: seconds, CPU seconds, MiB, differences.

    Raises:
        RuntimeError: it compared nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "rclone.conf"
        config.write_text(
            "".join(
                f"[{n}]\ntype = s3\nprovider = Ceph\nendpoint = http://{p.partition('/')[0]}\n"
                f"access_key_id = {sides.keys[ACCESS]}\nsecret_access_key = {sides.keys[SECRET]}\n"
                f"force_path_style = true\nlist_version = 2\n"
                for n, p in zip("ab", sides.places, strict=True)
            )
        )
        a, b = (f"{n}:{p.partition('/')[2]}" for n, p in zip("ab", sides.places, strict=True))
        words = [program, "check", a, b, "--config", str(config), "--checkers", "8"]
        # Its AWS library takes our settings for its own, and fails at AWS_CA_BUNDLE.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        with (Path(folder) / "said").open("w+b") as said:
            took = spent(words, out=subprocess.DEVNULL, err=said, env=clean)
            said.seek(0)
            text = said.read().decode(errors="replace")
    found = re.search(r"(\d+) differences found", text)
    if found is None:  # with differences it exits with 1, as where it failed
        raise RuntimeError(f"rclone check compared nothing (exit code {took.code}): {text[-500:]}")
    return took.wall_s, took.cpu_s, took.rss_kb / 1024, int(found[1])


def rows(count: int, kind: str, program: str | None, rounds: int = ROUNDS, per_s: int = 0) -> list[Row]:
    """One size and key space, from memory or at a store's pace."""
    paced = f", paced: {per_s:,} objects/s a side" if per_s else ""
    with buckets(count, kind, per_s) as places:
        return measured(Sides(places=tuple(f"{p}/b" for p in places), count=count, kind=kind), paced, program, rounds)


def measured(sides: Sides, added: str, program: str | None, rounds: int = ROUNDS) -> list[Row]:
    """Medians of the bare listing, ours and the peer's, in turn."""
    mine, floor, peer = [], [], []
    for _ in range(rounds):
        floor.append(run_child("bare", sides))
        mine.append(run_child("ours", sides))
        if program:
            peer.append(rclone(program, sides))
    assert {m[3] for m in mine} == {DIFFERENCES}, mine
    wall, cpu, memory = (statistics.median(m[n] for m in mine) for n in range(3))
    bare_s = statistics.median(f[0] for f in floor)
    what = f"{sides.count:,} objects a side, {sides.kind} keys{added}"
    ours = f"{wall:.2f} s, {cpu:.2f} s CPU, {memory:.0f} MB"
    found = [
        Row(what=what, ours=ours, against=f"bare listing {bare_s:.2f} s", ratio=f"{bare_s / wall:.2f}",
            target="≥ 0.8, ≤ 64 MB", met=bare_s >= 0.8 * wall and memory <= 64),
    ]  # fmt: skip
    if peer:
        wall_p, cpu_p = (statistics.median(p[n] for p in peer) for n in range(2))
        against = f"rclone check {wall_p:.2f} s, {cpu_p:.2f} s CPU, {peer[-1][2]:.0f} MB, found {peer[-1][3]}"
        ratio = f"{wall_p / wall:.1f}, CPU 1/{cpu_p / cpu:.1f}"
        met = wall_p >= 4 * wall and cpu_p >= 8 * cpu
        found.append(Row(what=what, ours=ours, against=against, ratio=ratio, target="≥ 4, CPU ≤ 1/8", met=met))
    return found


def object_rows(counts: Sequence[int], rclone: str | None) -> list[Row]:
    """The rows of the table, for even and skewed keys; `rclone` is the peer's program, where it is there."""
    kinds = ("even", "skewed")
    at_once = [r for n in counts for kind in kinds for r in rows(n, kind, rclone)]
    return at_once + [r for kind in kinds for r in rows(min(counts), kind, None, per_s=STORE_PER_S)]


def main() -> None:
    """Print the table, or take one of its parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", default="table")
    parser.add_argument("count", nargs="?", type=int, default=0)
    parser.add_argument("kind", nargs="?", default="even")
    parser.add_argument("more", nargs="*")
    asked = parser.parse_args()
    if asked.what == "serve":
        serve(asked.count, asked.kind, asked.more[0] == "altered", int(asked.more[1]))
    elif asked.what in ("ours", "bare"):
        child(asked.what, asked.more, asked.count, asked.kind)
    else:
        counts = [asked.count] if asked.count else [100_000, 1_000_000]
        print(table(object_rows(counts, peers.program("rclone"))))


if __name__ == "__main__":
    main()
