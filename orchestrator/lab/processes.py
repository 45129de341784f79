"""The lab's processes: started as orphans of their own, found again by scanning /proc, signalled by pid.

A process is the lab's where it carries the lab's marker in its environment, or is a program of the lab's that
works in, or was given, a path below the lab's root. So what a playbook or an earlier boot of `drctl` started is
found too, and a person's shell that stands in the folder is not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from orchestrator.errors import PartialState, Refused
from orchestrator.model.topology import Frozen

MARKER = "DRCTL_LAB_ID"
_CEPH = {"ceph-mon", "ceph-osd", "radosgw"}
_POSTGRES = {"postgres", "initdb", "pg_ctl", "pg_basebackup", "pg_rewind", "pg_receivewal"}
_POLL_S = 0.01


class Process(Frozen):
    """One process of the lab."""

    pid: int
    program: str
    """`postgres`, `haproxy`, or the module of a Python process (`orchestrator.lab.webapp`)."""
    cwd: str
    arguments: tuple[str, ...]
    frozen: bool
    """Stopped by a signal (SIGSTOP)."""

    def below(self, folder: Path) -> bool:
        """Whether it works in, or was given, a path in `folder`."""
        return _inside(self.cwd, str(folder)) or any(_inside(a, str(folder)) for a in self.arguments)


class Account(Frozen):
    """The user that a process runs as."""

    uid: int
    gid: int


def scan(lab_id: str, roots: Iterable[Path], inside: Collection[int] = ()) -> tuple[Process, ...]:
    """Every living process of the lab, lowest pid first; zombies count as gone.

    `inside`: pids that are the lab's by their network, whatever their environment says (sshd writes over its own).
    """
    folders = [str(root) for root in roots]
    own = {os.getpid(), os.getppid()}
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in own)
    found = (_of_lab(pid, lab_id, folders, pid in inside) for pid in pids)
    return tuple(p for p in found if p is not None)


def _of_lab(pid: int, lab_id: str, folders: list[str], inside: bool) -> Process | None:
    try:
        command = _read(f"/proc/{pid}/cmdline")
        if not command:  # a zombie or a kernel thread
            return None
        words = tuple(w for w in command.decode(errors="replace").split("\0") if w)
        cwd = _link(f"/proc/{pid}/cwd")
        program = _program(pid, words) if _near(cwd, words, folders) else ""
        if not program and not inside and not _marked(pid, lab_id):
            return None
        state = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[0]
    except OSError:
        return None
    if state in (b"Z", b"X"):
        return None
    return Process(pid=pid, program=program or words[0], cwd=cwd, arguments=words, frozen=state in (b"T", b"t"))


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _link(path: str) -> str:
    """What a link of /proc points at; empty where it is not for us to know."""
    try:
        return os.readlink(path).removesuffix(" (deleted)")
    except OSError:
        return ""


def _near(cwd: str, words: tuple[str, ...], folders: list[str]) -> bool:
    return any(_inside(text, folder) for folder in folders for text in (cwd, *words))


def _inside(text: str, folder: str) -> bool:
    return text.startswith(folder) and text[len(folder) : len(folder) + 1] in ("", "/")


def _program(pid: int, words: tuple[str, ...]) -> str:
    """Name of the lab's own program that a process runs; empty for a foreign one."""
    module = next((w for w in words[:6] if w.startswith("orchestrator.lab.")), "")
    if module:
        return module
    exe = os.path.basename(_link(f"/proc/{pid}/exe"))
    return exe if exe in _POSTGRES | _CEPH or exe == "haproxy" else ""


def _marked(pid: int, lab_id: str) -> bool:
    try:
        return f"{MARKER}={lab_id}".encode() in _read(f"/proc/{pid}/environ").split(b"\0")
    except OSError:
        return False


def environment(lab_id: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process of the lab: ours, the marker, and no locale or PostgreSQL settings of the user's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_")) and k not in {"LANG", "LANGUAGE"}}
    return {**kept, "LC_ALL": "C", MARKER: lab_id, **(extra or {})}


def spawn(command: Sequence[str], *, lab_id: str, folder: Path, log: Path, account: Account | None = None) -> int:
    """Start a process that outlives us, as a child of init's, in a session of its own; its pid.

    A shell in between starts it in the background and ends, so that no zombie of ours remains of a killed one.

    Raises:
        Refused: it could not be started.
    """
    shell = ["/bin/sh", "-c", '"$@" >>"$LAB_LOG" 2>&1 </dev/null & echo $!', "sh", *command]
    done = run(shell, lab_id=lab_id, folder=folder, account=account, extra={"LAB_LOG": str(log)})
    return int(done.stdout)


def run(
    command: Sequence[str],
    *,
    lab_id: str,
    folder: Path,
    account: Account | None = None,
    stdin: str = "",
    extra: Mapping[str, str] | None = None,
    within_s: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run a command of the lab to its end, as `account` where we are root.

    Raises:
        Refused: it failed or did not end within `within_s` seconds; the message ends with its last words.
    """
    name = Path(command[0]).name
    other = account if os.getuid() == 0 else None
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, cwd=folder, check=False, timeout=within_s,
            env=environment(lab_id, extra), start_new_session=True,
            user=other.uid if other else None, group=other.gid if other else None, extra_groups=[] if other else None,
        )  # fmt: skip
    except subprocess.TimeoutExpired as e:
        raise Refused(f"{name} did not end within {within_s:g} s", hint="is the machine overloaded?") from e
    except OSError as e:
        raise Refused(
            f"{name} could not be started: {e}", hint="drctl lab down; check the folder's mount options"
        ) from e
    if done.returncode != 0:
        raise Refused(f"{name} failed: {_last_words(done.stderr or done.stdout)}", hint=_hint(done.stderr))
    return done


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "without a word"


def _hint(text: str) -> str:
    if "No space left" in text:
        return "the disk is full: free some room, or choose another folder with --lab"
    if "Address already in use" in text:
        return "another process took the port: drctl lab down, then up again"
    return "drctl lab down, then up again; the logs lie in the lab's folder"


def send(processes: Iterable[Process], sign: signal.Signals) -> None:
    """Send a signal to each; one that has just ended is passed over."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, sign)


def freeze(select: Callable[[], tuple[Process, ...]], within_s: float = 5.0) -> None:
    """Stop every process that `select` finds, children that were just born too."""
    _repeat(select, lambda p: not p.frozen, signal.SIGSTOP, within_s)


def thaw(select: Callable[[], tuple[Process, ...]], within_s: float = 5.0) -> None:
    """Let every process that `select` finds go on."""
    _repeat(select, lambda p: p.frozen, signal.SIGCONT, within_s)


def kill(select: Callable[[], tuple[Process, ...]], within_s: float = 10.0) -> int:
    """kill -9 every process that `select` finds; how many there were.

    All are stopped first, so that none sees another one's death and reacts to it, as when the power fails.
    """
    with contextlib.suppress(PartialState):
        freeze(select, within_s=2.0)
    count = len(select())
    _repeat(select, lambda _: True, signal.SIGKILL, within_s)
    return count


def _repeat(
    select: Callable[[], tuple[Process, ...]],
    applies: Callable[[Process], bool],
    sign: signal.Signals,
    within_s: float,
) -> None:
    end = time.monotonic() + within_s
    while todo := [p for p in select() if applies(p)]:
        send(todo, sign)
        if time.monotonic() > end:
            pids = ", ".join(str(p.pid) for p in todo)
            raise PartialState(f"{sign.name} did not reach process {pids} within {within_s:g} s", hint="see ps -l")
        time.sleep(_POLL_S)
