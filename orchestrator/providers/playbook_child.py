"""A process of its own for one run of ansible-runner: `python playbook_child.py SPEC`. Imports nothing of ours.

Why a process and not a thread: its environment is chosen (a runner writes the whole of it to disk), nothing that it
does to signals or descriptors reaches the executor, no fork happens in a process with threads, and it can be killed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any


def main(spec_file: str) -> None:
    """Run the playbook of a spec; writes `result.json` beside it.

    `stats` is None where ansible printed none (it was stopped, or never began).
    """
    import ansible_runner

    path = Path(spec_file)
    spec: dict[str, Any] = json.loads(path.read_text())
    runner = ansible_runner.run(
        private_data_dir=spec["private"],
        project_dir=spec["project"],
        playbook=spec["playbook"],
        inventory=spec["inventory"],
        extravars=spec["variables"],
        envvars=spec["environment"],
        settings={"pexpect_timeout": 1, "suppress_ansible_output": True},
        timeout=spec["within_s"],
        ident="run",
        quiet=True,
    )
    result = {"status": runner.status, "rc": runner.rc, "stats": runner.stats}
    path.with_name("result.json").write_text(json.dumps(result))
    if os.getppid() != spec["parent"]:
        # The executor was killed meanwhile: nobody is left who would read this and clear it away.
        shutil.rmtree(path.parent, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
