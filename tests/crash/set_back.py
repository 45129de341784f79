"""drctl with the clock an hour behind, as far as its process can tell: `python -m tests.crash.set_back WORDS`.

The real clock is everybody's and is left alone. Everything in Python that tells the time of day is shifted before a
module of ours is imported; the monotonic clock is not, for a real clock that is set back leaves it alone too.
"""

from __future__ import annotations

import datetime
import sys
import time
from typing import Any

BACK_S = 3600

_time, _time_ns, _Real = time.time, time.time_ns, datetime.datetime


class SetBack(datetime.datetime):
    """datetime with the shifted now."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _Real.now(tz) - datetime.timedelta(seconds=BACK_S)

    @classmethod
    def utcnow(cls) -> Any:
        return _Real.now(datetime.UTC).replace(tzinfo=None) - datetime.timedelta(seconds=BACK_S)


def set_back() -> None:
    """Shift everything that tells the time of day."""
    import psutil

    begun = psutil.Process.create_time
    shifted: Any = psutil.Process
    shifted.create_time = lambda self: begun(self) - BACK_S  # a kernel derives it from the clock of now
    time.time = lambda: _time() - BACK_S
    time.time_ns = lambda: _time_ns() - BACK_S * 10**9
    vars(datetime)["datetime"] = SetBack


if __name__ == "__main__":
    set_back()
    from orchestrator.cli.main import main

    main(sys.argv[1:])
