"""`python -m orchestrator.lab.asuser UID GID COMMAND…`: setpriv for machines that have none."""

from __future__ import annotations

import os
import sys


def main(words: list[str]) -> None:
    """Become UID:GID without any other group, then the command."""
    uid, gid, *command = words
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
