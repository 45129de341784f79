"""Labs that tests share: `lab` for the whole session (leave it healthy), `fresh_lab` for one module (break it)."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import pytest

from tests.integration.labs import Lab, running

MEMORY = "/dev/shm"
ROOMY_BYTES = 4 << 30


def pytest_configure() -> None:
    """Put the labs' data in memory where there is room: a dozen labs come and go, and nothing here cuts the power.

    And heed Ctrl-C, for what is started here inherits it: a shell that runs us in its background has it ignored.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOMY_BYTES:
        os.environ.setdefault("DRCTL_LAB_DATA", MEMORY)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab for the session: only for tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("lab") / "lab") as found:
        yield found


@pytest.fixture(scope="module")
def fresh_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab for one module, to be broken."""
    with running(tmp_path_factory.mktemp("fresh") / "lab") as found:
        yield found
