"""Where the durable-execution library's own words go."""

from __future__ import annotations

import logging
from pathlib import Path


def log_to(path: Path) -> logging.Logger:
    """What the store has to say goes into the run's folder; DBOS adds a console handler only where it finds none."""
    told = logging.getLogger("dbos")
    told.propagate = False
    for handler in list(told.handlers):
        told.removeHandler(handler)
        handler.close()
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    told.addHandler(handler)
    return told
