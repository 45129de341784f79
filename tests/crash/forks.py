"""drctl processes that are forked from one that has everything imported: a life in a second less.

A life that is killed is one of thousands, and half of it would be imports. What is forked is a process of its own (its
own session, lock, id, threads), and dies as one. The last life of every case is a drctl that was called as users do.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import threading
from typing import NoReturn

import orchestrator
from tests.integration.drills import ROOT


class Forks:
    """Asks the process that forks."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.forks"],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def call(self, words: list[str], environment: dict[str, str], err: str, within_s: float) -> int | None:
        """Run `drctl WORDS` with more in its environment, its messages in the file `err`.

        Returns:
            How it ended, as `subprocess` says it; None where it did not within the time and was killed for it.
        """
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps([words, environment, err, within_s]) + "\n")
        self._server.stdin.flush()
        found: int | None = json.loads(self._server.stdout.readline())
        return found

    def close(self) -> None:
        """End the process that forks."""
        self._server.communicate()


def import_everything() -> None:
    """What a drctl process may import, before it forks: whatever is not installed is not imported then either."""
    for module in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
    for name in ("psycopg", "dbos", "dbos._sys_db_sqlite", "sqlalchemy.dialects.sqlite"):
        importlib.import_module(name)
    assert threading.active_count() == 1, "a process with threads must not fork"
    gc.collect()
    gc.freeze()


def serve() -> list[str]:
    """Fork for each line that is read; in the child: the words that it is to call drctl with."""
    for line in sys.stdin:
        words, environment, err, within_s = json.loads(line)
        child = os.fork()
        if not child:
            become(environment, err)
            return list(words)
        watch = threading.Timer(within_s, os.kill, (child, 9))
        watch.start()
        _, status = os.waitpid(child, 0)
        late = not watch.is_alive()
        watch.cancel()
        watch.join()
        print(json.dumps(None if late else os.waitstatus_to_exitcode(status)), flush=True)
    return []


def become(environment: dict[str, str], err: str) -> None:
    """A session of its own, no input, messages into a file."""
    os.setsid()
    os.environ.update(environment)
    nothing = os.open(os.devnull, os.O_RDWR)
    told = os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for number, target in enumerate((nothing, nothing, told)):
        os.dup2(target, number)


def main() -> NoReturn:
    """Serve; in a child: be drctl."""
    import_everything()
    words = serve()
    if not words:
        sys.exit(0)
    from orchestrator.cli.main import run

    sys.exit(run(words))


if __name__ == "__main__":
    main()
