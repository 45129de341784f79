"""Three real copies of a bucket: equal ones are called equal, and every sort of planted difference is found."""

from __future__ import annotations

import threading
from typing import Any

from orchestrator.lab.realm import SYSTEM
from orchestrator.model.observation import Verdict
from orchestrator.model.proof import Part
from tests.ceph.world import World, differences, tables

KEYS = [
    "../up",
    "../../etc/passwd",
    "a b+c%",
    "%2F",
    "ctl\x01\x02\n",
    "\uffee",
    "\U0001d11e",
    "dir/",
    "dir",
    "é",
    "e\u0301",
]
PART = 5 << 20


def multipart(client: Any, bucket: str, key: str, body: bytes, size: int) -> None:
    """Upload in parts of `size` bytes."""
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    named = {"Bucket": bucket, "Key": key, "UploadId": upload}
    parts = []
    for number, start in enumerate(range(0, len(body), size), 1):
        made = client.upload_part(PartNumber=number, Body=body[start : start + size], **named)
        parts.append({"PartNumber": number, "ETag": made["ETag"]})
    client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **named)


async def test_awkward_keys_versions_and_markers_are_equal(world: World) -> None:
    world.make("awkward")
    client = world.client("a")
    for key in KEYS:
        client.put_object(Bucket="awkward", Key=key, Body=key.encode(), Metadata={"who": "me"})
        client.put_object(Bucket="awkward", Key=key, Body=b"2")
    client.delete_object(Bucket="awkward", Key="dir")
    multipart(client, "awkward", "parts", b"x" * (PART + 7), PART)
    world.settles("awkward")
    proof = await world.verify("awkward", parts=(Part.CANARY, Part.CONTENT), samples=5, within_s=30.0)
    assert tables(proof) == {c: {"settings": "equal", "files": "equal"} for c in "bc"}
    assert proof.ok, proof
    counts = {t.rows_left for r in proof.replicas if r.content for t in r.content.tables if t.table == "files"}
    assert counts == {len(world.listed("a", "awkward"))} == {2 * len(KEYS) + 2}
    for replica in proof.replicas:
        assert replica.canary is not None
        assert 0 < (replica.canary.lag_max_s or 0) < 30
    assert not [key for key, _, _ in world.listed("a", "awkward") if key.startswith(".drctl")]


async def test_planted_differences_of_every_sort_are_found(parted: World) -> None:
    world = parted
    world.make("apart")
    client = world.client("a")
    names = ["same", "changed", "size", "gone-at-b", "deleted-at-b", "new-version", "metadata", "parts"]
    for name in names:
        client.put_object(Bucket="apart", Key=name, Body=b"content", Metadata={"who": "me"})
    world.settles("apart")
    world.part()
    other = world.client("b", SYSTEM)
    other.put_object(Bucket="apart", Key="changed", Body=b"CONTENT")
    other.put_object(Bucket="apart", Key="size", Body=b"longer content")
    other.delete_object(Bucket="apart", Key="gone-at-b", VersionId=version(world, "b", "gone-at-b"))
    other.delete_object(Bucket="apart", Key="deleted-at-b")
    other.put_object(Bucket="apart", Key="new-at-b", Body=b"1")
    client.put_object(Bucket="apart", Key="new-at-a", Body=b"1")
    proof = await world.verify("apart", within_s=15.0)
    assert differences(proof, "b") == {
        "changed": "changed versions", "size": "changed versions", "deleted-at-b": "changed versions",
        "gone-at-b": "missing", "new-at-a": "missing", "new-at-b": "extra",
    }  # fmt: skip
    assert differences(proof, "c") == {"new-at-a": "missing"}
    assert not proof.ok


def version(world: World, centre: str, key: str) -> str:
    (found,) = [v for k, v, _ in world.listed(centre, "apart") if k == key]
    return found


async def test_an_unversioned_bucket_and_multipart_etags(parted: World) -> None:
    """The same content uploaded in other parts has another ETag, and is the same; another content is not."""
    world = parted
    world.make("plain", versioned=False)
    client = world.client("a")
    client.put_object(Bucket="plain", Key="changed", Body=b"content")
    client.put_object(Bucket="plain", Key="metadata", Body=b"m", Metadata={"who": "a"})
    client.put_object(Bucket="plain", Key="gone", Body=b"content")
    assert_there(world, "plain", 3)
    world.part()
    other = world.client("b", SYSTEM)
    body = bytes(range(256)) * (2 * PART // 256) + b"end"
    multipart(client, "plain", "one-content", body, PART)
    multipart(other, "plain", "one-content", body, PART + (1 << 20))
    multipart(client, "plain", "two-contents", body, PART)
    multipart(other, "plain", "two-contents", body[:-1] + b"!", PART + (1 << 20))
    other.put_object(Bucket="plain", Key="changed", Body=b"CONTENT")
    other.put_object(Bucket="plain", Key="metadata", Body=b"m", Metadata={"who": "b"})
    other.delete_object(Bucket="plain", Key="gone")
    etags = [c.head_object(Bucket="plain", Key="one-content")["ETag"] for c in (client, other)]
    assert etags[0] != etags[1]
    proof = await world.verify("plain", within_s=15.0)
    assert differences(proof, "b") == {
        "two-contents": "changed content", "changed": "changed etag", "gone": "missing", "metadata": "changed metadata",
    }  # fmt: skip


def assert_there(world: World, bucket: str, count: int) -> None:
    from orchestrator.lab.ceph import comes_true

    for centre in "bc":
        client = world.client(centre)
        assert comes_true(lambda c=client: c.list_objects_v2(Bucket=bucket)["KeyCount"] == count, 60, 0.5)  # type: ignore[misc]


async def test_live_writes_are_no_differences(world: World) -> None:
    """Writes, overwrites and deletes go on at a during the comparison: no false difference."""
    world.make("live")
    client = world.client("a")
    for n in range(40):
        client.put_object(Bucket="live", Key=f"k{n:03}", Body=b"0")
    world.settles("live")
    over = threading.Event()
    written: list[int] = []
    thread = threading.Thread(target=keep_writing, args=(world.client("a"), over, written))
    thread.start()
    try:
        proofs = [await world.verify("live", within_s=30.0, lag="20s") for _ in range(4)]
    finally:
        over.set()
        thread.join()
    assert len(written) > 5
    for proof in proofs:
        assert (differences(proof, "b"), differences(proof, "c")) == ({}, {})
        assert Verdict.FAIL not in [r.content.verdict for r in proof.replicas if r.content]


def keep_writing(client: Any, over: threading.Event, written: list[int]) -> None:
    n = 0
    while not over.is_set():
        n += 1
        client.put_object(Bucket="live", Key=f"k{n % 40:03}", Body=b"%d" % n)
        client.put_object(Bucket="live", Key=f"new{n:05}", Body=b"1")
        if n % 3 == 0:
            client.delete_object(Bucket="live", Key=f"k{n % 7:03}")
        written.append(n)
        over.wait(0.1)
