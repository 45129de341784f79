"""Starting and stopping single services of the lab; also a command for the instances' `start_command`.

`python -m orchestrator.lab.services LABDIR start|stop INSTANCE`
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from orchestrator.errors import DrctlError, Refused, Usage
from orchestrator.lab import buckets, layout, namespaces, postgres, processes, state
from orchestrator.lab.answers import AppConfig, Target
from orchestrator.lab.layout import Place
from orchestrator.lab.listening import listens
from orchestrator.lab.processes import Process
from orchestrator.lab.relayctl import RelayConfig, Route
from orchestrator.lab.router import RouterConfig
from orchestrator.lab.state import LabState, Net

APP_CONFIG = "app.json"
_SAVED = "servers.state"
_POLL_S = 0.02
_NETWORK_S = 15.0


def command_line(lab_dir: Path, verb: str, place: Place) -> str:
    """The shell command that starts or stops an instance."""
    return shlex.join([sys.executable, "-m", "orchestrator.lab.services", str(lab_dir.resolve()), verb, place.id])


def scan(lab_dir: Path) -> tuple[Process, ...]:
    """Every living process of the lab in this folder, its record needed or not."""
    lab_id = state.identity(lab_dir)
    inside = frozenset[int]().union(*(namespaces.members(lab_id, c) for c in layout.CENTRES))
    return processes.scan(lab_id, state.roots(lab_dir), inside)


def of_place(found: Sequence[Process], lab: LabState, place: Place) -> tuple[Process, ...]:
    """The processes of one instance."""
    return tuple(p for p in found if p.below(lab.folder(place)))


def of_centre(found: Sequence[Process], lab: LabState, centre: str) -> tuple[Process, ...]:
    """The processes of one centre: those of its folder, and those in its network where it has one."""
    inside = namespaces.members(lab.id, centre) if lab.net is Net.NAMESPACES else frozenset()
    return tuple(p for p in found if p.pid in inside or p.below(Path(lab.root) / centre))


def start_network(lab: LabState) -> None:
    """Start what carries everything between the centres, and wait until it can be asked.

    Raises:
        Refused: it does not come up; the message ends with its log's last words.
    """
    folder = lab.socket.parent
    folder.mkdir(parents=True)
    module, config = ("relay", _relay(lab)) if lab.net is Net.RELAYS else ("router", _router(lab))
    path, log = folder / f"{module}.json", folder / f"{module}.log"
    path.write_bytes(msgspec.json.encode(config))
    command = [sys.executable, "-m", f"orchestrator.lab.{module}", str(path)]
    processes.spawn(command, lab_id=lab.id, folder=folder, log=log)
    end = time.monotonic() + _NETWORK_S
    while not lab.socket.exists():
        if time.monotonic() > end:
            words = log.read_text(errors="replace").strip().split("\n")[-1] or "without a word"
            raise Refused(f"the lab's {module} does not come up: {words}", hint="drctl lab down, then up again")
        time.sleep(_POLL_S)


def _router(lab: LabState) -> RouterConfig:
    databases = (*layout.databases(), *layout.state_store())
    return RouterConfig(
        lab=lab.id,
        socket=str(lab.socket),
        links=layout.LINKS,
        hosts=lab.hosts,
        instances={p.id: lab.address(p.id) for p in databases},
    )


def _relay(lab: LabState) -> RelayConfig:
    routes = tuple(
        Route(viewer=viewer, instance=p.id, centre=p.centre, listen=lab.ports[layout.route(viewer, p.id)],
              host=layout.HOST, port=lab.ports[p.id])
        for p in (*layout.databases(), *layout.state_store()) for viewer in layout.CENTRES if viewer != p.centre
    )  # fmt: skip
    return RelayConfig(host=layout.HOST, socket=str(lab.socket), links=layout.LINKS, routes=routes)


def make_shells(lab: LabState) -> None:
    """A shell for each centre that has a network of its own; see `namespaces.write_shell`."""
    for centre in layout.CENTRES:
        namespaces.write_shell(shell(lab, centre), lab.id, centre)


def shell(lab: LabState, centre: str) -> Path:
    """A centre's shell, where centres have networks of their own."""
    return Path(lab.root) / f"shell-{centre}"


def make_app(lab: LabState, place: Place) -> None:
    """Folder, configuration and first target of an app."""
    folder = lab.folder(place)
    folder.mkdir(parents=True)
    (folder / APP_CONFIG).write_bytes(msgspec.json.encode([_app_config(lab, place)]))
    system = layout.system(place.system)
    if place.centre in system.serving:
        target = Target(centre=system.primary, address=seen(lab, place, system.primary), epoch=0)
        (folder / "upstream.json").write_bytes(msgspec.json.encode(target))


def _app_config(lab: LabState, place: Place) -> AppConfig:
    needed = layout.system(place.system).depends_on
    entries = {e.system: f"http://{lab.address(e.id)}" for e in layout.entries() if e.system in needed}
    return AppConfig(
        system=place.system, centre=place.centre, host=lab.host(place.centre), port=lab.ports[place.id],
        folder=str(lab.folder(place)), dependencies=entries,
        files=buckets.files(lab) if lab.buckets and place.system == layout.FILES_OF else None,
    )  # fmt: skip


def seen(lab: LabState, place: Place, centre: str) -> str:
    """host:port of a system's database in `centre` as an app sees it."""
    database = Place(system=place.system, service="db", centre=centre).id
    return lab.address(database if centre == place.centre else layout.route(place.centre, database))


def start_app(lab: LabState, place: Place) -> int:
    """Start one app; the process's pid."""
    return _start_webapp(lab, lab.folder(place) / APP_CONFIG, place.centre)


def start_apps(lab: LabState) -> None:
    """Start every app through a starter for each network, which loads the libraries once and then ends."""
    networks = [(c,) for c in layout.CENTRES] if lab.net is Net.NAMESPACES else [layout.CENTRES]
    for centres in networks:
        path = Path(lab.root) / f"apps-{'-'.join(centres)}.json"
        path.write_bytes(msgspec.json.encode([_app_config(lab, p) for p in layout.apps() if p.centre in centres]))
        _start_webapp(lab, path, centres[0])


def _start_webapp(lab: LabState, path: Path, centre: str) -> int:
    command = [*namespaces.entering(lab, centre), sys.executable, "-m", "orchestrator.lab.webapp", str(path)]
    return processes.spawn(command, lab_id=lab.id, folder=path.parent, log=path.with_name("app.log"))


_HAPROXY = """\
global
  maxconn 2000
  nbthread 1
  stats socket {socket} mode 600 level admin
  stats timeout 10s
  server-state-file {saved}
defaults
  mode http
  load-server-state-from-file global
  option http-keep-alive
  option redispatch 1
  retries 2
  retry-on conn-failure
  timeout connect 300ms
  timeout client 30s
  timeout server 2500ms
  timeout queue 1s
  timeout check 300ms
  timeout http-request 5s
  timeout http-keep-alive 30s
frontend entry
  bind {listen}
  default_backend app
backend app
  balance roundrobin
  option httpchk GET /ready
  http-check expect status 200
  default-server inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions init-addr none
{servers}
"""


def make_entry(lab: LabState, place: Place) -> None:
    """Folder and configuration of an entry: a server for each centre's app, named by the centre."""
    folder = lab.folder(place)
    folder.mkdir(parents=True)
    serving = layout.system(place.system).serving
    servers = "\n".join(
        f"  server {c} {lab.address(Place(system=place.system, service='app', centre=c).id)} check"
        + ("" if c in serving else " disabled")
        for c in layout.CENTRES
    )
    text = _HAPROXY.format(
        socket=admin_socket(lab, place), saved=folder / _SAVED, listen=lab.address(place.id), servers=servers
    )
    (folder / "haproxy.cfg").write_text(text)
    (folder / _SAVED).write_text("1\n")


def admin_socket(lab: LabState, place: Place) -> Path:
    """An entry's admin socket."""
    return lab.folder(place) / "admin.sock"


def start_entry(lab: LabState, place: Place) -> int:
    """Start an entry; the process's pid."""
    folder = lab.folder(place)
    command = [lab.haproxy, "-db", "-f", str(folder / "haproxy.cfg")]
    return processes.spawn(command, lab_id=lab.id, folder=folder, log=folder / "haproxy.log")


def _save_servers(lab: LabState, place: Place) -> None:
    """Keep what the entry was told, so that it comes back with the same routes."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as call:
        call.settimeout(2)
        call.connect(str(admin_socket(lab, place)))
        call.sendall(b"show servers state app\n")
        with call.makefile("rb") as answer:
            (lab.folder(place) / _SAVED).write_bytes(answer.read())


def start(lab_dir: Path, place: Place, within_s: float = 20.0) -> None:
    """Start one instance unless it runs, and wait until it listens.

    Raises:
        Refused: it is fenced, or does not listen within `within_s` seconds.
    """
    lab = state.require(lab_dir)
    if not of_place(scan(lab_dir), lab, place):
        if place.service == "db":
            postgres.start(lab, place)
        elif place.service == "app":
            start_app(lab, place)
        else:
            start_entry(lab, place)
    wait_listening(lab, place, within_s)


def wait_listening(lab: LabState, place: Place, within_s: float) -> None:
    """Wait until the instance takes connections; a database, until it answers or denies (not: is starting up).

    Raises:
        Refused: it does not within `within_s` seconds; the message ends with its log's last words.
    """
    end = time.monotonic() + within_s
    ready = partial(postgres.answers, lab, place) if place.service == "db" else partial(listens, lab.address(place.id))
    while not ready():
        if time.monotonic() > end:
            raise Refused(
                f"{place.id} does not listen after {within_s:g} s: {last_words(lab, place)}",
                hint=f"its logs lie in {lab.folder(place)}",
            )
        time.sleep(_POLL_S)


def last_words(lab: LabState, place: Place) -> str:
    """The end of an instance's log."""
    if place.service == "db":
        return postgres.log_tail(lab, place)
    name = "app.log" if place.service == "app" else "haproxy.log"
    with contextlib.suppress(OSError):
        lines = (lab.folder(place) / name).read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "no log")
    return "no log"


def stop(lab_dir: Path, place: Place) -> None:
    """Stop one instance as an administrator would, and see to it that nothing of it remains."""
    lab = state.require(lab_dir)
    if place.service == "db":
        postgres.stop(lab, place)
    elif place.service == "entry":
        _save_servers(lab, place)
    processes.send(of_place(scan(lab_dir), lab, place), signal.SIGTERM)
    end = time.monotonic() + 3.0
    while of_place(scan(lab_dir), lab, place) and time.monotonic() < end:
        time.sleep(_POLL_S)
    processes.kill(lambda: of_place(scan(lab_dir), lab, place))


def command(words: list[str]) -> None:
    """The command's work.

    Raises:
        Usage: the words are not LABDIR start|stop INSTANCE.
        Refused: no lab is up there, or the instance cannot be started.
    """
    place = layout.place(words[2]) if len(words) == 3 else None
    if place is None or words[1] not in ("start", "stop"):
        raise Usage("services takes LABDIR start|stop INSTANCE", hint="services .drctl/lab start sharing/app@a")
    (start if words[1] == "start" else stop)(Path(words[0]), place)


if __name__ == "__main__":
    try:
        command(sys.argv[1:])
    except DrctlError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        sys.exit(error.exit_code)
