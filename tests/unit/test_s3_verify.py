"""`drctl verify` of buckets, as a command, over real HTTP; and the wire below it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]

from orchestrator.app import ROOT
from orchestrator.model.observation import Reach
from orchestrator.model.rows import RowsUnreadable, Trouble
from orchestrator.model.topology import Instance, Role, Setting
from orchestrator.providers import s3_objects, s3_wire
from orchestrator.providers.http_request import NoAnswer
from orchestrator.providers.s3_listing import Counts, _Entries
from orchestrator.providers.s3_objects import S3Objects
from orchestrator.providers.s3_wire import Wire
from tests.benchmarks.objects import DIFFERENCES, buckets
from tests.ceph.world import INSTANCE, TOPOLOGY
from tests.unit.objects_store import entry, listing
from tests.unit.s3_server import reply, server

NOBODY = "127.0.0.1:1"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def verify(folder: Path, endpoints: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command on an estate whose bucket stands at these endpoints."""
    instances = "".join(
        INSTANCE.format(centre=c, address=endpoint, sync="127.0.0.1:9", bucket=f"b-{c}", commands="")
        for c, endpoint in endpoints.items()
    )
    (folder / "topology.yaml").write_text(TOPOLOGY.format(instances=instances, lag="1s", region="cq"))
    command = [sys.executable, "-m", "orchestrator.cli.main", "--home", str(folder / "home"), "--estate", str(folder)]
    return subprocess.run(
        [*command, "verify", "--only", "content", "--within", "2", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


def test_the_command_says_equal_and_names_what_differs(tmp_path: Path) -> None:
    with buckets(3000, "skewed") as (whole, altered):
        same = verify(tmp_path, {"a": whole, "b": whole, "c": whole})
        assert (same.returncode, same.stderr) == (0, "")
        assert "2 equal" in same.stdout
        told = verify(tmp_path, {"a": whole, "b": altered, "c": whole}, "--output", "json")
        assert told.returncode == 3
        (proof,) = json.loads(told.stdout)
        tables = {r["instance"][-1]: r["content"]["tables"][1] for r in proof["replicas"]}
        kinds = [d["kind"] for d in tables["b"]["differences"]]
        assert (kinds.count("missing"), kinds.count("changed")) == (DIFFERENCES // 2, DIFFERENCES // 2)
        assert tables["c"]["sameness"] == "equal"
        shown = verify(tmp_path, {"a": whole, "b": altered, "c": whole})
        assert "missing at the replica: key = " in shown.stdout
        dark = verify(tmp_path, {"a": whole, "b": NOBODY, "c": whole})
        assert dark.returncode == 3
        assert "the connection was lost" in dark.stdout
        assert verify(tmp_path, {"a": NOBODY, "b": NOBODY, "c": NOBODY}).returncode == 6


async def test_a_connection_that_the_server_closed_while_it_waited_is_no_failure() -> None:
    async with server(lambda _, n: None if n == 2 else reply(b"ok")) as instance:
        wire = Wire(instance)
        assert (await wire.ask("GET")).body == b"ok"
        assert (await wire.ask("GET")).body == b"ok"
        wire.close()


async def test_a_fresh_connection_that_breaks_is_silence() -> None:
    async with server(lambda _, __: None) as instance:
        with pytest.raises(NoAnswer) as caught:
            await Wire(instance).ask("GET")
        assert caught.value.reach is Reach.SILENT


@pytest.mark.parametrize(
    ("address", "tls", "host"),
    [
        ("s:80/b", "false", "s"),
        ("s:443/b", "true", "s"),
        ("s:443/b", "false", "s:443"),
        ("[::1]:81/b", "false", "[::1]:81"),
    ],
)
def test_the_host_that_is_sent_is_the_one_that_is_signed(address: str, tls: str, host: str) -> None:
    """The port goes unsaid where it is the scheme's own: so botocore signs, so servers and proxies read it."""
    params = (Setting(name="tls", value=tls),)
    wire = Wire(Instance(id="x@a", service="x", centre="a", role=Role.PRIMARY, address=address, params=params))
    head = wire._signed("GET", "/b", {}, b"").decode()
    said = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    asked = AWSRequest(method="GET", url=f"{'https' if tls == 'true' else 'http'}://{address.partition('/')[0]}/b")
    asked.context["timestamp"] = said["X-Amz-Date"]
    for name in ("X-Amz-Date", "X-Amz-Content-SHA256"):
        asked.headers[name] = said[name]
    signer = wire._sign()
    assert said["Host"] == host
    to_sign = signer.string_to_sign(asked, signer.canonical_request(asked))
    assert said["Authorization"].endswith(f"Signature={signer.signature(to_sign, asked)}")


async def test_chunks_are_put_together_and_keys_are_sent_as_they_are() -> None:
    heads: list[bytes] = []

    def answer(head: bytes, _: int) -> bytes:
        heads.append(head)
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"

    async with server(answer) as instance:
        wire = Wire(instance)
        assert (await wire.ask("GET", "../a b+c%/é".encode(), [("versionId", "v=1&2")])).body == b"abcde"
        wire.close()
    assert heads[0].startswith(b"GET /b/../a%20b%2Bc%25/%C3%A9?versionId=v%3D1%262 HTTP/1.1\r\n")
    assert heads[0].count(b"\r\nHost: 127.0.0.1:") == heads[0].lower().count(b"\r\nhost:") == 1
    assert b"SignedHeaders=host;" in heads[0]
    assert b"Credential=key/" in heads[0] and b"/cq/s3/aws4_request" in heads[0]
    assert b"secret" not in heads[0]


@pytest.mark.parametrize(
    ("status", "code", "trouble"),
    [("403 Forbidden", "AccessDenied", Trouble.DENIED), ("404 Not Found", "NoSuchBucket", Trouble.GONE)],
)
async def test_refusals_are_told_apart(status: str, code: str, trouble: Trouble) -> None:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    async with server(lambda _, __: reply(body, status)) as instance:
        with pytest.raises(RowsUnreadable, match=code) as caught:
            await S3Objects(instance).page(b"", "", False)
        assert caught.value.trouble is trouble


async def test_a_busy_server_is_asked_again_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_objects, "PAUSE_S", 0.001)
    page = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    async with server(lambda _, n: reply(page) if n > 2 else reply(status="503 Slow Down")) as instance:
        assert (await S3Objects(instance).page(b"", "", False)).blocks == []
    async with server(lambda _, __: reply(status="503 Slow Down")) as instance:
        with pytest.raises(RowsUnreadable, match="503"):
            await S3Objects(instance).page(b"", "", False)


async def test_a_busy_server_is_not_asked_again_for_longer_than_one_request_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_objects, "WITHIN_S", 0.05)  # less than the first pause
    async with server(lambda _, __: reply(status="503 Slow Down")) as instance:
        with pytest.raises(RowsUnreadable) as caught:
            await S3Objects(instance).page(b"", "", False)
    assert caught.value.trouble is Trouble.LATE


@pytest.mark.parametrize("quick", [0, 1])
async def test_a_server_that_says_nothing_is_late(quick: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a connection that was of use before: it is not asked again on another."""
    async with server(lambda _, number: reply() if number <= quick else b"") as instance:
        objects = S3Objects(instance)
        for _ in range(quick):
            await objects.get(b"k")
        monkeypatch.setattr(s3_wire, "WITHIN_S", 0.1)
        with pytest.raises(RowsUnreadable, match=r"no answer within 0\.1 s") as caught:
            await objects.page(b"", "", False)
    assert caught.value.trouble is Trouble.LATE


async def test_the_bound_of_one_request_does_not_end_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_wire, "WITHIN_S", 0.05)
    async with server(lambda _, __: reply()) as instance:
        wire = Wire(instance)
        await wire.ask("GET")
        (kept,) = wire._idle
        await asyncio.sleep(0.1)
        assert not kept.late
        wire.close()


async def test_a_server_that_counts_right_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_over: list[int] = []
    real = _Entries._seams

    def spy(self: _Entries) -> int:
        looked_over.append(real(self))
        return looked_over[-1]

    monkeypatch.setattr(_Entries, "_seams", spy)
    told = b"<KeyCount>1</KeyCount></ListBucketResult>"
    body = listing([entry(b"a")], True, False).replace(b"</ListBucketResult>", told)
    async with server(lambda _, __: reply(body)) as instance:
        objects = S3Objects(instance)
        assert {(await objects.page(b"", "", False)).count for _ in range(7)} == {1}
        await objects.close()
    assert len(looked_over) == Counts.FIRST


async def test_a_server_that_does_not_even_take_the_call_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_wire, "WITHIN_S", 0.1)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host, port = full.getsockname()
        with socket.create_connection((host, port)):  # takes the one place that there is
            there = Instance(id="x@a", service="x", centre="a", role=Role.PRIMARY, address=f"{host}:{port}/b")
            with pytest.raises(NoAnswer, match=r"no answer within 0\.1 s") as caught:
                await Wire(there).ask("GET")
    assert caught.value.reach is Reach.SILENT


@pytest.mark.parametrize("noise", [b"\x00\xffnoise\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_noise_is_no_answer(noise: bytes) -> None:
    async with server(lambda _, __: noise) as instance:
        with pytest.raises(NoAnswer) as caught:
            await Wire(instance).ask("GET")
    assert caught.value.reach is Reach.UNKNOWN


async def test_no_credentials_is_said_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    heads: list[bytes] = []
    async with server(lambda head, _: heads.append(head)) as instance:
        with pytest.raises(NoAnswer, match="no credentials"):
            await Wire(instance).ask("GET")
    assert heads == []


async def test_a_clock_is_known_to_the_second_and_never_called_wrong_for_less() -> None:
    def dated(shift_s: float) -> Callable[[bytes, int], bytes]:
        def answer(_: bytes, __: int) -> bytes:
            date = formatdate(time.time() + shift_s, usegmt=True)
            return f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode()

        return answer

    for shift_s, least, most in ((0.0, 0.0, 0.0), (10.0, 8.5, 10.0), (-10.0, -10.0, -8.5)):
        async with server(dated(shift_s)) as instance:
            wire = Wire(instance)
            await wire.ask("GET")
            assert wire.clock_offset_s is not None
            assert least <= wire.clock_offset_s <= most
            wire.close()
    async with server(lambda _, __: reply(b"")) as instance:
        wire = Wire(instance)
        await wire.ask("GET")
        assert wire.clock_offset_s is None
        wire.close()
