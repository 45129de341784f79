"""With what a run was done: program, libraries, databases, host and clock."""

from __future__ import annotations

import ctypes
import platform
import sys
from importlib import metadata
from pathlib import Path

from orchestrator.model.evidence import Clock, InstanceVersion, Versions
from orchestrator.model.observation import Snapshot
from orchestrator.model.topology import Setting

LIBRARIES = (
    "aiohttp",
    "ansible-core",
    "ansible-runner",
    "click",
    "cryptography",
    "dbos",
    "msgspec",
    "psycopg",
    "uvloop",
)
"""Those whose behaviour a run's result depends on."""
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_STA_UNSYNC = 0x40
_STA_NANO = 0x2000
_TIME_ERROR = 5


def collect_versions(*snapshots: Snapshot) -> Versions:
    """Versions of this process and host, and of the instances as the snapshots saw them (the first that tells wins)."""
    return Versions(
        drctl=_version("drctl"),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        host=platform.node(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        libraries=tuple(Setting(name=name, value=_version(name)) for name in LIBRARIES),
        instances=_instances(snapshots),
        clock=read_clock(),
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _instances(snapshots: tuple[Snapshot, ...]) -> tuple[InstanceVersion, ...]:
    known: dict[str, InstanceVersion] = {}
    for reading in (r for s in snapshots for r in s.readings):
        version = reading.setting("version") or ""
        if version or reading.clock_offset_s is not None:
            seen = InstanceVersion(instance=reading.instance, version=version, clock_offset_s=reading.clock_offset_s)
            known.setdefault(reading.instance, seen)
    return tuple(known.values())


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), as far as it is read here; the rest is room for the kernel."""

    _fields_ = (
        *(("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long)),
        *(("esterror", ctypes.c_long), ("status", ctypes.c_int), ("room", ctypes.c_char * 256)),
    )


def read_clock() -> Clock:
    """The kernel's own word on its clock, by adjtimex(2) with nothing to set; unknown where there is no such call."""
    source = _CLOCK_SOURCE.read_text().strip() if _CLOCK_SOURCE.is_file() else ""
    unknown = Clock(source=source, synchronised=None, offset_s=None, error_max_s=None)
    if not sys.platform.startswith("linux"):
        return unknown
    timex = _Timex()
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return unknown
    if state < 0:
        return unknown
    unit = 1e-9 if timex.status & _STA_NANO else 1e-6
    return Clock(
        source=source,
        synchronised=state != _TIME_ERROR and not timex.status & _STA_UNSYNC,
        offset_s=timex.offset * unit,
        error_max_s=timex.maxerror * 1e-6,
    )
