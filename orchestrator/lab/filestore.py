"""The bucket as the lab's app uses it: a few signed requests to one zone's gateway, over connections that are kept."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import ClientError, ClientSession, ClientTimeout
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from orchestrator.lab.answers import Files
from orchestrator.lab.ceph import ZONEGROUP
from orchestrator.lab.line import RefusedError


class FileStore:
    """One bucket in one zone."""

    def __init__(self, files: Files, centre: str, session: ClientSession) -> None:
        self._base = f"http://{files.zones[centre]}/{files.bucket}"
        self._signer = S3SigV4Auth(Credentials(*files.keys), "s3", ZONEGROUP)
        self._session = session

    async def put(self, key: str, body: bytes, within_s: float) -> None:
        """Store an object.

        Raises:
            RefusedError: it was not told that it is kept.
        """
        status, _ = await self._ask("PUT", key, body, within_s)
        if status != 200:
            raise RefusedError(f"the bucket answers {status}")

    async def get(self, key: str, within_s: float) -> bytes | None:
        """An object's content; None where there is none.

        Raises:
            RefusedError: the bucket cannot be read.
        """
        status, body = await self._ask("GET", key, b"", within_s)
        if status not in (200, 404):
            raise RefusedError(f"the bucket answers {status}")
        return body if status == 200 else None

    async def there(self, within_s: float) -> bool:
        """Whether the bucket can be read."""
        try:
            return (await self._ask("HEAD", "", b"", within_s))[0] == 200
        except RefusedError:
            return False

    async def _ask(self, method: str, key: str, body: bytes, within_s: float) -> tuple[int, bytes]:
        asked = AWSRequest(method=method, url=f"{self._base}/{quote(key)}" if key else self._base, data=body)
        self._signer.add_auth(asked)
        try:
            async with self._session.request(
                method, asked.url, data=body or None, headers=dict(asked.headers),
                timeout=ClientTimeout(total=within_s),
            ) as answer:  # fmt: skip
                return answer.status, await answer.read()
        except (ClientError, OSError, TimeoutError) as e:
            raise RefusedError(f"the bucket does not answer: {e}") from e
