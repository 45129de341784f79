"""A bucket's tags: the one place in which the S3 API keeps a word about a bucket, in all zones of a realm."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping

from orchestrator.model.observation import Reach
from orchestrator.providers.http_request import NoAnswer
from orchestrator.providers.s3_wire import Wire

_TAG = re.compile(rb"<Tag>\s*<Key>([^<]*)</Key>\s*<Value>([^<]*)</Value>\s*</Tag>")


class NoBucket(Exception):
    """The tags could not be read or written: no such bucket, or no right to."""


async def read_tags(wire: Wire) -> Mapping[str, str]:
    """The bucket's tags; empty where it has none.

    Raises:
        NoBucket: there is no such bucket, or no right to look.
        NoAnswer: it does not answer.
    """
    reply = await wire.ask("GET", query=[("tagging", "")])
    if reply.status == 404 and reply.code in ("NoSuchTagSet", "NoSuchTagSetError"):
        return {}
    if reply.status != 200:
        raise NoBucket(f"its tags cannot be read: {reply.status} {reply.code}")
    return {html.unescape(k.decode()): html.unescape(v.decode()) for k, v in _TAG.findall(reply.body)}


async def write_tag(wire: Wire, tags: Mapping[str, str], name: str, value: str) -> None:
    """Set one tag and keep the others.

    Raises:
        NoBucket: the endpoint refused.
        NoAnswer: it did not answer.
    """
    pairs = "".join(
        f"<Tag><Key>{html.escape(k)}</Key><Value>{html.escape(v)}</Value></Tag>"
        for k, v in {**tags, name: value}.items()
    )
    body = f"<Tagging><TagSet>{pairs}</TagSet></Tagging>".encode()
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    reply = await wire.ask("PUT", query=[("tagging", "")], headers={"content-md5": md5}, body=body)
    if reply.status in (500, 503):
        raise NoAnswer(Reach.SILENT, f"busy: {reply.status} {reply.code}")
    if reply.status not in (200, 204):
        raise NoBucket(f"its tags cannot be written: {reply.status} {reply.code}")
