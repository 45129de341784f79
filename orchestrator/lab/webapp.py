"""The lab's app: a small HTTP service on its system's database.

`python -m orchestrator.lab.webapp FILE` with a list of `AppConfig` as JSON: a process for each app. Several are forked
after the libraries are loaded once, which costs a ninth of loading them in each. Where the app has a bucket, a record's
object is stored before the row that names it, and read after the row; the object is what is served. What each answers:

GET  /health          200 with what it is set to and whether it is ready
GET  /ready           200 where it serves, its database takes writes and its bucket answers, else 503
PUT  /records/{id}    201 acknowledged; 503 refused, nothing written; 504 in doubt
GET  /records/{id}    200, 404 or 503
GET  /lookup/{id}     a row of the system's own, with what the systems it depends on say, asked through their entries
POST /control/upstream  200; 409 where the epoch is older than one seen; centre "" stops serving
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvloop
from aiohttp import ClientError, ClientSession, ClientTimeout, web

from orchestrator.lab.answers import AppConfig, Files, Health, Record, Target
from orchestrator.lab.line import InDoubtError, RefusedError
from orchestrator.lab.schema import LOOKUPS
from orchestrator.lab.upstream import Upstream

if TYPE_CHECKING:
    from orchestrator.lab.filestore import FileStore

WRITE_S = 2.0
"""A write without an answer after this is in doubt."""
READ_S = 1.0
READY_S = 0.4
_WRITE = (
    "INSERT INTO drctl_canary (id, value, entry, centre) VALUES ($1, $2, $3, $4) ON CONFLICT (id) "
    "DO UPDATE SET value = excluded.value, entry = excluded.entry, centre = excluded.centre"
)
_STATEMENTS = {
    "write": _WRITE,
    "read": "SELECT value FROM drctl_canary WHERE id = $1",
    "read_only": "SELECT current_setting('transaction_read_only')",
}
_NAMING = {"write": f"WITH n AS (INSERT INTO attachment (key) VALUES ($5) ON CONFLICT DO NOTHING) {_WRITE}"}
"""Where there is a bucket: the record's row, and the one that names its object."""


class App:
    """One app process."""

    def __init__(self, config: AppConfig) -> None:
        self.config = config
        self.target = Target(centre="", address="", epoch=0)
        self.upstream: Upstream | None = None
        self.files: FileStore | None = None
        self._session: ClientSession | None = None
        named = _NAMING if config.files is not None else {}
        self.statements = {**_STATEMENTS, **named, "lookup": LOOKUPS[config.system]}

    @property
    def file(self) -> Path:
        return Path(self.config.folder) / "upstream.json"

    def resume(self) -> None:
        """Call the database that it was last told to."""
        if self.file.exists():
            self.aim(msgspec.json.decode(self.file.read_bytes(), type=Target))

    def aim(self, target: Target) -> None:
        """Drop every connection to the old database and call the new one."""
        same = self.upstream is not None and self.target.address == target.address and target.centre
        self.target = target
        if same:
            return
        old, self.upstream = self.upstream, None
        self.files = None
        if target.centre:
            self.upstream = Upstream(target.centre, target.address, self.statements)
            if self.config.files is not None:
                self.files = _file_store(self.config.files, target.centre, self.http())
        if old is not None:
            old.close()

    def http(self) -> ClientSession:
        """What it calls others with: made where there is a loop, and kept."""
        if self._session is None:
            self._session = ClientSession()
        return self._session

    def save(self, target: Target) -> None:
        """Write the target down before it counts."""
        part = self.file.with_suffix(".part")
        with part.open("wb") as file:
            file.write(msgspec.json.encode(target))
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.file)

    async def writable(self) -> bool:
        """Whether the database takes writes now, and the bucket can be read; asked, not remembered."""
        if self.upstream is None or (self.files is not None and not await self.files.there(READY_S)):
            return False
        with contextlib.suppress(RefusedError, InDoubtError):
            return (await self.upstream.ask("read_only", (), READY_S)).value == "off"
        return False

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Find the answer to a request."""
        _, _, rest = request.path.partition("/")
        head, _, name = rest.partition("/")
        answer = ROUTES.get((request.method, head))
        if answer is None:
            return reply(404, {"error": f"nothing at {request.path}"})
        return await answer(self, request, name)


def _file_store(files: Files, centre: str, session: ClientSession) -> FileStore:
    from orchestrator.lab.filestore import FileStore  # its signer takes longer to load than all else here

    return FileStore(files, centre, session)


def reply(status: int, body: object) -> web.Response:
    """An answer as JSON."""
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")


async def health(app: App, request: web.BaseRequest, name: str) -> web.Response:
    """What it is set to, and whether its database takes writes."""
    return reply(
        200,
        Health(
            system=app.config.system, centre=app.config.centre, upstream=app.target.centre, epoch=app.target.epoch,
            writable=await app.writable(), serving=app.upstream is not None,
        ),
    )  # fmt: skip


async def ready(app: App, request: web.BaseRequest, name: str) -> web.Response:
    """Whether users may be sent here."""
    fit = await app.writable()
    return reply(200 if fit else 503, {"ready": fit})


async def put_record(app: App, request: web.BaseRequest, name: str) -> web.Response:
    """Write a record; acknowledged only where the commit was, without a warning."""
    try:
        record = msgspec.json.decode(await request.read(), type=Record)
    except msgspec.MsgspecError as e:
        return reply(400, {"error": str(e)})
    if app.upstream is None:
        return reply(503, {"error": "not serving"})
    try:
        await _write(app, app.upstream, name, record)
    except RefusedError as e:
        return reply(503, {"error": str(e)})
    except InDoubtError as e:
        return reply(504, {"error": str(e)})
    return reply(201, {"id": name})


async def _write(app: App, upstream: Upstream, name: str, record: Record) -> None:
    row = (name, record.value, record.entry, app.config.centre)
    if app.files is None:
        await upstream.ask("write", row, WRITE_S)
        return
    key = f"records/{name}"
    await app.files.put(key, record.value.encode(), WRITE_S)
    await upstream.ask("write", (*row, key), WRITE_S)


async def get_record(app: App, request: web.BaseRequest, name: str) -> web.Response:
    """Read a record; where its content is an object, that content."""
    files, answer = app.files, await _read(app, "read", name)
    if files is None or answer.status != 200:
        return answer
    try:
        content = await files.get(f"records/{name}", READ_S)
    except RefusedError as e:
        return reply(503, {"error": str(e)})
    if content is None:
        return reply(404, {"error": f"no object of {name}"})
    return reply(200, {"id": name, "value": content.decode(errors="replace")})


async def _read(app: App, statement: str, name: str) -> web.Response:
    if app.upstream is None:
        return reply(503, {"error": "not serving"})
    try:
        answer = await app.upstream.ask(statement, (name,), READ_S)
    except (RefusedError, InDoubtError) as e:
        return reply(503, {"error": str(e)})
    if not answer.found:
        return reply(404, {"error": f"no {name}"})
    return reply(200, {"id": name, "value": answer.value})


async def lookup(app: App, request: web.BaseRequest, name: str) -> web.Response:
    """A row of one's own, and of each system that this one depends on, through its entry."""
    if not name.isdigit():
        return reply(400, {"error": "an id is a number"})
    for system, url in app.config.dependencies.items():
        status = await _ask_dependency(app, f"{url}/lookup/{name}")
        if status != 200:
            return reply(status, {"error": f"{system} answers {status}"})
    return await _read(app, "lookup", name)


async def _ask_dependency(app: App, url: str) -> int:
    try:
        async with app.http().get(url, timeout=ClientTimeout(total=READ_S)) as answer:
            await answer.read()
            return answer.status if answer.status in (200, 404) else 503
    except (ClientError, OSError, TimeoutError):
        return 503


async def control_upstream(app: App, request: web.BaseRequest, name: str) -> web.Response:
    """Call another database from now on."""
    try:
        target = msgspec.json.decode(await request.read(), type=Target)
    except msgspec.MsgspecError as e:
        return reply(400, {"error": str(e)})
    if name != "upstream" or (target.centre and ":" not in target.address):
        return reply(400, {"error": "a target has centre, address host:port and epoch"})
    if target.epoch < app.target.epoch:
        return reply(409, {"error": f"epoch {app.target.epoch} was seen", "epoch": app.target.epoch})
    app.save(target)
    app.aim(target)
    return reply(200, target)


Answer = Callable[[App, web.BaseRequest, str], Awaitable[web.Response]]
ROUTES: dict[tuple[str, str], Answer] = {
    ("GET", "health"): health,
    ("GET", "ready"): ready,
    ("PUT", "records"): put_record,
    ("GET", "records"): get_record,
    ("GET", "lookup"): lookup,
    ("POST", "control"): control_upstream,
}


async def serve(config: AppConfig) -> None:
    """Listen, and never end."""
    app = App(config)
    app.resume()
    server = web.Server(app.handle, access_log=None, keepalive_timeout=60)
    listener = await asyncio.get_running_loop().create_server(
        server, config.host, config.port, reuse_address=True, backlog=256
    )
    await listener.serve_forever()


def become(config: AppConfig) -> None:
    """Be the app of a configuration until killed; it works and logs in its own folder, which tells its centre."""
    os.chdir(config.folder)
    with open("app.log", "ab", buffering=0) as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    Path("/proc/self/comm").write_text(f"{config.system[:12]}@{config.centre}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config))


def main(path: str) -> None:
    """Be the app of one configuration; of several, start a process for each and end."""
    configs = msgspec.json.decode(Path(path).read_bytes(), type=list[AppConfig])
    if len(configs) == 1:
        become(configs[0])
        return
    for config in configs:
        if os.fork() == 0:
            os.setsid()
            become(config)
            return


if __name__ == "__main__":
    main(sys.argv[1])
