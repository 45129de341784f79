"""Runs playbooks on an instance's host through ansible-runner: bounded, killable, leaving nothing outside its folder.

The inventory's name of the host is the instance's parameter `inventory_host`, or else the only host in the inventory's
group `centre_<centre>` (for the edge: `edge`). A playbook gets
`drctl_host`, the order (`drctl_run`, `drctl_step`, `drctl_epoch`, `drctl_instance`, `drctl_service`, `drctl_centre`,
`drctl_within_s`), each parameter of service and instance as `drctl_<name>`, and what the verb adds, also `drctl_`.
What it says on lines `drctl-fact: name=value` goes into the Outcome, on `drctl-error: words` into the error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.crashpoint import outward
from orchestrator.model.topology import EDGE, Setting
from orchestrator.providers import playbook_child
from orchestrator.providers.base import ActionFailed, Order, Outcome, PlaybookRunner

_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "SSH_AUTH_SOCK", "KRB5CCNAME")
"""All that a playbook inherits. The rest may hold secrets, and ansible-runner writes its environment to disk."""
_ANSIBLE_S = 2.0
"""Of a playbook's bound, what ansible's own beginning and end take: the script on the host gets the rest."""
FACT = "drctl-fact:"
ERROR = "drctl-error:"


class Playbooks:
    """A `PlaybookRunner` over a folder of playbooks and an inventory."""

    def __init__(self, folder: Path, inventory: Path) -> None:
        self._folder = folder.resolve()
        self._inventory = inventory.resolve()

    async def __call__(self, name: str, order: Order, extra: tuple[Setting, ...]) -> Outcome:
        """Run playbooks/<name> against the order's instance.

        Raises:
            ActionFailed: there is no such playbook or host, the host was not reached, a task failed, or time ran out.
        """
        playbook = self._find(name)
        if not self._inventory.is_file():
            raise ActionFailed(f"no inventory {self._inventory}", hint="write the hosts of this estate into hosts.yaml")
        host = order.instance.param("inventory_host") or only_host(self._inventory, order.instance.centre)
        order.artifacts.mkdir(parents=True, exist_ok=True)
        with _private_folder(order.artifacts) as private:
            spec = self._spec(playbook, order, (*extra, Setting(name="host", value=host)), private)
            (private / "runner").mkdir()
            (private / "spec.json").write_text(json.dumps(spec))
            ended = await _run(private, spec["environment"], order.within_s)
            if ended.status not in ("successful", "crashed"):
                ended = msgspec.structs.replace(ended, words=_tail(private))
            events = _events(private)
            _keep(private, events, order.artifacts / f"{playbook.stem}")
            return _outcome(f"{playbook.name} on host {host}", host, order, ended, events)

    def _find(self, name: str) -> Path:
        path = (self._folder / name).resolve()
        if path.suffix not in (".yml", ".yaml") or not path.is_relative_to(self._folder) or not path.is_file():
            known = ", ".join(sorted(p.name for p in self._folder.glob("*.y*ml"))) or "none"
            raise ActionFailed(f"no playbook {name!r} in {self._folder}", hint=f"there are: {known}")
        return path

    def _spec(self, playbook: Path, order: Order, extra: tuple[Setting, ...], private: Path) -> dict[str, Any]:
        return {
            "parent": os.getpid(),
            "private": str(private / "runner"),
            "project": str(self._folder),
            "playbook": str(playbook),
            "inventory": str(self._inventory),
            "variables": variables(order, extra),
            "environment": _environment(private, self._inventory),
            "within_s": max(1, round(order.within_s) + 1),
        }


async def run_named(playbooks: PlaybookRunner, order: Order) -> Outcome:
    """Carry out RUN_PLAYBOOK: the order's `playbook`, with its other parameters as variables.

    Raises:
        ActionFailed: the order names no playbook, or the playbook failed.
    """
    name = order.param("playbook")
    if not name:
        raise ActionFailed(f"step {order.step} names no playbook", hint="give it a parameter `playbook`")
    return await playbooks(name, order, ())


def only_host(inventory: Path, centre: str) -> str:
    """The one host of a centre's group in a YAML inventory.

    Raises:
        ActionFailed: there is no such group, or it holds several hosts, and which one is meant cannot be told.
    """
    group = centre if centre == EDGE else f"centre_{centre}"
    hosts = sorted(_hosts_of(group, _inventory(inventory)))
    if len(hosts) == 1:
        return hosts[0]
    what = f"several hosts ({', '.join(hosts)})" if hosts else "no host"
    raise ActionFailed(
        f"{inventory}: {what} in group {group!r}", hint="name the instance's host by its parameter inventory_host"
    )


def _inventory(path: Path) -> Any:
    """An inventory's content; what Ansible's own tags (!vault) hide is not looked at.

    Raises:
        ActionFailed: it is no YAML.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    try:
        return yaml.load(path.read_bytes(), Loader)
    except yaml.YAMLError as e:
        raise ActionFailed(f"{path}: {e}", hint="an Ansible inventory in YAML is expected") from e


def _hosts_of(group: str, node: Any) -> Iterator[str]:
    if not isinstance(node, dict):
        return
    for name, below in node.items():
        if name == group and isinstance(below, dict):
            yield from map(str, below.get("hosts") or {})
        yield from _hosts_of(group, below)


def variables(order: Order, extra: tuple[Setting, ...]) -> dict[str, str]:
    """The variables of a playbook; the order's own parameters keep their names."""
    instance = order.instance
    told = {
        "run": order.run,
        "step": order.step,
        "epoch": str(order.epoch),
        "instance": instance.id,
        "service": order.service.id,
        "centre": instance.centre,
        "within_s": str(max(1, round(order.within_s - _ANSIBLE_S))),
    }
    params = {s.name: s.value for s in (*order.service.params, *instance.params) if s.name not in told}
    added = {s.name: s.value for s in extra}
    own = {s.name: s.value for s in order.params if s.name != "playbook" and not s.name.startswith("drctl_")}
    return own | {
        f"drctl_{name}": value for name, value in (params | {"address": instance.address} | told | added).items()
    }


def _environment(private: Path, inventory: Path) -> dict[str, str]:
    """What ansible needs and no more; every file that it writes goes into `private`."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    home = os.environ.get("HOME", "")
    config = inventory.parent / "ansible.cfg"
    # A connection that is kept open for later tasks must not outlive the run (ansible's own default: 60 s).
    ssh = {} if config.is_file() else {"ANSIBLE_SSH_ARGS": "-C -o ControlMaster=auto -o ControlPersist=2s"}
    return {
        **kept,
        **ssh,
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(private / "cp"),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", os.defpath))),
        **({"ANSIBLE_CONFIG": str(config)} if config.is_file() else {}),
        "HOME": home if home and Path(home).is_dir() else str(private),
        "ANSIBLE_HOME": str(private / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(private / "ansible" / "tmp"),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANSIBLE_SSH_RETRIES": "1",
        "ANSIBLE_TIMEOUT": "5",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@contextlib.contextmanager
def _private_folder(artifacts: Path) -> Iterator[Path]:
    """A fresh folder for one run, gone afterwards: a runner's folder used twice leaks settings from run to run."""
    # A short path: ansible puts sockets below it, and a socket's path has 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="drctl-playbook-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Ended(msgspec.Struct, frozen=True):
    """How a run ended; `status` as ansible-runner says it, or `killed`, or `crashed`."""

    status: str
    rc: int | None = None
    stats: Mapping[str, Mapping[str, int]] | None = None
    words: str = ""


async def _run(private: Path, environment: Mapping[str, str], within_s: float) -> _Ended:
    """Run the child; at the end of its time, and on cancellation, it and all that it started are killed."""
    outward()
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(playbook_child.__file__)),
        str(private / "spec.json"),
        env=environment,
        cwd=private,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        outward()
        async with asyncio.timeout(within_s):
            _, said = await child.communicate()
        outward()
    except TimeoutError:
        return _Ended("killed")
    finally:
        if child.returncode is None:
            await asyncio.shield(asyncio.to_thread(kill_tree, child.pid))
            await child.wait()
    result = private / "result.json"
    if child.returncode != 0 or not result.is_file():
        return _Ended("crashed", child.returncode, None, said.decode(errors="replace").strip()[-500:])
    return msgspec.json.decode(result.read_bytes(), type=_Ended)


def kill_tree(pid: int) -> None:
    """Kill a process and everything below it.

    Ansible's workers are sessions of their own, so that a process group does not hold them. Each process is stopped
    before its children are listed: none can start another one unseen. A server that was started meanwhile is no
    longer below, and stays.
    """
    import psutil

    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        found.append(psutil.Process(pid))
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
            found.extend(process.children())
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _tail(private: Path) -> str:
    """Why it failed before any task did: ansible's first error, or else its last line."""
    said = private / "runner" / "artifacts" / "run" / "stdout"
    lines = [line.strip() for line in said.read_text(errors="replace").splitlines()] if said.is_file() else []
    telling = [line for line in lines if "ERROR" in line] or [line for line in reversed(lines) if line]
    return telling[0][:500] if telling else ""


class _Event(msgspec.Struct, frozen=True):
    """What is kept of an ansible event."""

    counter: int
    event: str
    created: str
    task: str
    host: str
    changed: bool
    rc: int | None
    duration_s: float | None
    stdout: str
    stderr: str
    message: str


def _events(private: Path) -> list[_Event]:
    """The results of tasks, in order; a half-written file of a killed run is passed over."""
    found = []
    for path in (private / "runner" / "artifacts" / "run" / "job_events").glob("*.json"):
        with contextlib.suppress(ValueError, OSError, KeyError, TypeError):
            raw = json.loads(path.read_text())
            if raw["event"].startswith("runner_on_") and "res" in raw["event_data"]:
                found.append(_event(raw))
    return sorted(found, key=lambda e: e.counter)


def _event(raw: dict[str, Any]) -> _Event:
    data = raw["event_data"]
    result = data["res"]
    return _Event(
        counter=raw["counter"],
        event=raw["event"],
        created=str(raw.get("created", "")),
        task=str(data.get("task", "")),
        host=str(data.get("host", "")),
        changed=bool(result.get("changed", False)),
        rc=result.get("rc") if isinstance(result.get("rc"), int) else None,
        duration_s=data.get("duration"),
        stdout=str(result.get("stdout", "")),
        stderr=str(result.get("stderr", "")),
        message=str(result.get("msg", "")),
    )


def _keep(private: Path, events: list[_Event], stem: Path) -> None:
    """Put what people read into the artifacts, under names that an earlier run of the step does not hold."""
    number = next(n for n in range(1, 10_000) if not stem.with_name(f"{stem.name}.{n}.events.jsonl").exists())
    lines = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
    stem.with_name(f"{stem.name}.{number}.events.jsonl").write_bytes(lines)
    said = private / "runner" / "artifacts" / "run" / "stdout"
    if said.is_file():
        shutil.copyfile(said, stem.with_name(f"{stem.name}.{number}.stdout.txt"))


def _outcome(where: str, host: str, order: Order, ended: _Ended, events: list[_Event]) -> Outcome:
    """The Outcome of a run that reached its end on its host.

    Raises:
        ActionFailed: it did not.
    """
    failed = [e for e in events if e.event in ("runner_on_failed", "runner_on_unreachable")]
    if ended.status in ("killed", "timeout"):
        raise ActionFailed(f"{where}: not done within {order.within_s:g} s; it was killed", hint=_see(order))
    if any(e.event == "runner_on_unreachable" for e in failed):
        raise ActionFailed(f"{where}: not reached: {_last(failed)}", hint="is the host up, and does SSH let drctl in?")
    if ended.status != "successful":
        raise ActionFailed(f"{where}: {_last(failed) or ended.words or ended.status}", hint=_see(order))
    if not ended.stats or host not in ended.stats.get("ok", {}):
        raise ActionFailed(
            f"{where}: the inventory has no such host", hint="name it in hosts.yaml, or by inventory_host"
        )
    changed = bool(ended.stats.get("changed"))
    return Outcome(
        detail=f"{where}: {'changed' if changed else 'nothing to change'}", changed=changed, facts=_facts(events)
    )


def _see(order: Order) -> str:
    return f"see {order.artifacts}"


def _last(failed: list[_Event]) -> str:
    """Why the last failed task failed: the playbook's own words, or ansible's."""
    if not failed:
        return ""
    event = failed[-1]
    said = [line.removeprefix(ERROR).strip() for line in event.stderr.splitlines() if line.startswith(ERROR)]
    if event.rc in (124, 137) and not said:
        return f"task {event.task!r} did not end in time on the host"
    return said[-1] if said else (event.stderr.strip()[-500:] or event.message)


def _facts(events: list[_Event]) -> tuple[Setting, ...]:
    lines = (line for e in events for line in e.stdout.splitlines() if line.startswith(FACT))
    pairs = (line.removeprefix(FACT).strip().partition("=") for line in lines)
    return tuple(Setting(name=name, value=value) for name, _, value in pairs)
