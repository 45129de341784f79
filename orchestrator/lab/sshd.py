"""A real sshd in each centre's namespace (`drctl lab up --net namespaces --ssh`), for Ansible to go through.

Keys are made for this lab alone and go with it; a host is known by its key, and nobody enters without the lab's own.
Needs openssh-server and openssh-client.
"""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

from orchestrator.errors import Refused
from orchestrator.lab import layout, namespaces, processes
from orchestrator.lab.state import LabState, write_file
from orchestrator.model.topology import EDGE

PORT = 22
INVENTORY = "hosts.yaml"
_READY_S = 15.0
_POLL_S = 0.05
_SEPARATION = Path("/run/sshd")
"""sshd's folder without rights; the package makes it only where it starts the service."""

_CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
"""
_INVENTORY = """\
# Written by `drctl lab up --ssh`: the lab's hosts, each in its centre's network, by their keys.
all:
  vars:
    ansible_connection: ssh
    ansible_user: root
    ansible_port: {port}
    ansible_ssh_private_key_file: {folder}/user_key
    ansible_ssh_common_args: -o UserKnownHostsFile={folder}/known_hosts -o StrictHostKeyChecking=yes -o LogLevel=ERROR
    ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"
  children:
{centres}
    edge:
      hosts:
        edge-1: {{ansible_connection: local}}
      vars: {{drctl_centre: edge}}
"""
_CENTRE = """\
    centre_{centre}:
      hosts:
        centre-{centre}: {{ansible_host: {address}}}
      vars: {{drctl_centre: {centre}}}"""


def refuse_where_impossible() -> None:
    """Say what is missing.

    Raises:
        Refused: a program is not there.
    """
    missing = [name for name in ("sshd", "ssh", "ssh-keygen") if _program(name) is None]
    if missing:
        raise Refused(
            f"{', '.join(missing)} not found", hint="install openssh-server and openssh-client, or leave --ssh"
        )


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def bring_up(lab_dir: Path, lab: LabState) -> None:
    """Keys, a daemon in each centre, and the inventory that leads there.

    Raises:
        Refused: a daemon does not come up.
    """
    folder = _folder(lab)
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    for key in ("host_key", "user_key"):
        processes.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"drctl-lab-{lab.id}", "-f", key],
            lab_id=lab.id,
            folder=folder,
        )
    host = (folder / "host_key.pub").read_text()
    known = "".join(f"{lab.host(c)} {host}" for c in layout.CENTRES)
    (folder / "known_hosts").write_text(known)
    ensure(lab)
    centres = "\n".join(_CENTRE.format(centre=c, address=lab.host(c)) for c in layout.CENTRES)
    write_file(lab_dir / INVENTORY, _INVENTORY.format(port=PORT, folder=folder, centres=centres).encode())


def ensure(lab: LabState) -> list[str]:
    """Start the daemons that are not there; a line for each.

    Raises:
        Refused: one does not come up.
    """
    _SEPARATION.mkdir(mode=0o755, exist_ok=True)
    begun = [c for c in layout.CENTRES if not _listens(lab.host(c))]
    for centre in begun:
        _start(lab, centre)
    end = time.monotonic() + _READY_S
    while waiting := [c for c in begun if not _listens(lab.host(c))]:
        if time.monotonic() > end:
            log = Path(lab.root) / waiting[0] / "sshd" / "sshd.log"
            words = log.read_text(errors="replace").strip().split("\n")[-1]
            raise Refused(f"sshd in centre {waiting[0]} does not come up: {words}", hint=f"its log is {log}")
        time.sleep(_POLL_S)
    return [f"started sshd in centre {c}" for c in begun]


def _start(lab: LabState, centre: str) -> None:
    folder = Path(lab.root) / centre / "sshd"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "sshd_config"
    config.write_text(_CONFIG.format(port=PORT, address=lab.host(centre), folder=_folder(lab)))
    command = [*namespaces.inside(lab.id, centre), _program("sshd") or "sshd", "-D", "-e", "-f", str(config)]
    processes.spawn(command, lab_id=lab.id, folder=folder, log=folder / "sshd.log")


def _folder(lab: LabState) -> Path:
    return Path(lab.root) / EDGE / "ssh"


def _listens(host: str) -> bool:
    with socket.socket() as call:
        call.settimeout(0.5)
        return call.connect_ex((host, PORT)) == 0
