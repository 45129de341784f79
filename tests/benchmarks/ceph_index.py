"""Writes a bucket's index straight into a zone's pool, for a listing reads nothing else: a million entries in seconds.

    /usr/bin/python3 tests/benchmarks/ceph_index.py CONF POOL BUCKET_ID < entries

Each line of the entries is a key, a tab and an MD5. An entry is a copy of a real one, whose object has a name as long:
`~` over and over, put through S3 before. Python's librados comes with Debian's Ceph, for Debian's Python; so this file
uses nothing else, and is run by it.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict

import rados  # type: ignore[import-not-found]

BATCH = 2000
LARGEST_PRIME = 7877
"""RGW's MAX_BUCKET_INDEX_SHARDS_PRIME."""
ETAG = re.compile(rb"[0-9a-f]{32}")


def string_hash(key: bytes) -> int:
    """The hash of Linux's directory cache, as Ceph has it."""
    found = 0
    for byte in key:
        found = (found + (byte << 4) + (byte >> 4)) * 11 & 0xFFFFFFFF
    return found


def shard_of(key: bytes, shards: int) -> int:
    """Where RGW keeps a key's entry."""
    found = string_hash(key)
    return (found ^ (found & 0xFF) << 24 & 0xFFFFFFFF) % LARGEST_PRIME % shards


def entries(pool: rados.Ioctx, shard: str) -> dict[bytes, bytes]:
    """Entries of one shard that are to be copied."""
    with rados.ReadOpCtx() as operation:
        found, _ = pool.get_omap_vals(operation, "", "~", 1000)
        pool.operate_read_op(operation, shard)
        return {key.encode(): value for key, value in found}


def write(pool: rados.Ioctx, shard: str, rows: list[tuple[bytes, bytes]]) -> None:
    """Add entries to one shard."""
    for at in range(0, len(rows), BATCH):
        batch = rows[at : at + BATCH]
        with rados.WriteOpCtx() as operation:
            pool.set_omap(operation, tuple(key.decode() for key, _ in batch), tuple(value for _, value in batch))
            pool.operate_write_op(operation, shard)


def main() -> None:
    """Write what stdin says."""
    conf, name, bucket = sys.argv[1:]
    with rados.Rados(conffile=conf, name="client.admin") as cluster, cluster.open_ioctx(name) as pool:
        held = sorted(o.key for o in pool.list_objects() if o.key.startswith(f".dir.{bucket}."))
        found = {n: entries(pool, f".dir.{bucket}.{n}") for n in range(len(held))}
        patterns = {len(key): (key, value) for kept in found.values() for key, value in kept.items()}
        for n, kept in found.items():
            assert all(shard_of(key, len(held)) == n for key in kept), "RGW keeps entries elsewhere"
        rows = defaultdict(list)
        for line in sys.stdin.buffer:
            key, md5 = line.rstrip(b"\n").split(b"\t")
            pattern, value = patterns[len(key)]
            rows[shard_of(key, len(held))].append((key, ETAG.sub(md5, value.replace(pattern, key))))
        for n, batch in rows.items():
            write(pool, f".dir.{bucket}.{n}", batch)
            with rados.WriteOpCtx() as operation:
                pool.remove_omap_keys(operation, tuple(key.decode() for key in found[n]))
                pool.operate_write_op(operation, f".dir.{bucket}.{n}")


if __name__ == "__main__":
    main()
