"""Composition root: the only file that names concrete providers and stores."""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orchestrator.errors import Usage, guess
from orchestrator.model.topology import Kind, Topology
from orchestrator.providers.kinds import KINDS

if TYPE_CHECKING:
    from orchestrator.context import Context
    from orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
"""Where inventories/, playbooks/ and runbooks/ stand."""
HOSTS = "hosts.yaml"
"""An estate's hosts, for Ansible."""


def kinds() -> Mapping[str, Kind]:
    """Every kind of service that a topology may name."""
    return {kind.name: kind for kind in KINDS}


def estate_path(settings: Settings) -> Path:
    """The folder of the chosen estate: a name under inventories/, or a folder.

    Raises:
        Usage: there is no such estate.
    """
    return _named(settings.estate, ROOT / "inventories", "topology.yaml", "estate")


def runbook_path(name: str) -> Path:
    """The file of a scenario: a name under runbooks/, or a path.

    Raises:
        Usage: there is no such runbook.
    """
    if name.endswith((".yaml", ".yml")) and os.path.isfile(name):
        return Path(name)
    known = sorted(path.stem for path in (ROOT / "runbooks").glob("*.yaml"))
    if name in known:
        return ROOT / "runbooks" / f"{name}.yaml"
    raise Usage(f"no scenario {name!r} in {ROOT / 'runbooks'}", hint=guess(name, known))


def _named(name: str, folder: Path, marker: str, what: str) -> Path:
    # os.path, not pathlib: it answers False for an over-long name or a closed folder, where pathlib raises
    if os.path.isfile(os.path.join(name, marker)) or (os.path.isfile(name) and name.endswith((".yaml", ".yml"))):
        return Path(name)
    known = sorted(path.parent.name for path in folder.glob(f"*/{marker}"))
    if name in known:
        return folder / name
    raise Usage(f"no {what} {name!r}: neither a folder with a {marker} nor one in {folder}", hint=guess(name, known))


def load(settings: Settings) -> Topology:
    """The chosen estate's topology, with the addresses of the lab where it is a lab that is up."""
    from orchestrator.loader import load_topology

    overlay = settings.lab_dir / "endpoints.json"
    return load_topology(estate_path(settings), kinds(), overlay if overlay.is_file() else None)


def open_context(settings: Settings) -> Context:
    """The estate with the providers that drive it.

    Raises:
        Usage: no such estate.
        BadFile: its topology is wrong.
    """
    from orchestrator.context import Context
    from orchestrator.providers.haproxy import HAProxy
    from orchestrator.providers.http_app import HttpApp
    from orchestrator.providers.playbook import Playbooks
    from orchestrator.providers.postgresql import PostgreSQL
    from orchestrator.providers.postgresql_canary import canary_rows
    from orchestrator.providers.postgresql_names import PostgresNames
    from orchestrator.providers.postgresql_rows import PostgresRows
    from orchestrator.providers.recording import Recording
    from orchestrator.providers.s3 import S3Bucket
    from orchestrator.providers.s3_objects import S3Objects
    from orchestrator.verification.readers import Readers

    topology = load(settings)
    folder = estate_path(settings)
    of_lab = settings.lab_dir / HOSTS  # a lab whose centres have sshd brings its own
    own = (folder if folder.is_dir() else folder.parent) / HOSTS
    playbooks = Playbooks(ROOT / "playbooks", of_lab if topology.lab and of_lab.is_file() else own)
    providers = {p.kind.name: p for p in (PostgreSQL(playbooks), HttpApp(playbooks), HAProxy(), S3Bucket(playbooks))}
    return Context(
        topology=topology,
        topology_sha256=hashlib.sha256(msgspec.json.encode(topology, order="deterministic")).hexdigest(),
        estate=folder,
        runbooks=ROOT / "runbooks",
        playbooks=ROOT / "playbooks",
        home=settings.home,
        lab_dir=settings.lab_dir,
        state=settings.state,
        lang=settings.lang,
        centre=settings.centre,
        witness=settings.witness,
        probers=providers,
        actors=providers,
        recorders={name: Recording(provider.kind) for name, provider in providers.items()},
        readers=Readers(
            rows={PostgreSQL.kind.name: lambda i: PostgresRows(topology.service_by_id[i.service], i)},
            objects={S3Bucket.kind.name: S3Objects},
            names={PostgreSQL.kind.name: PostgresNames},
        ),
        canary_rows=canary_rows,
        injector=LabInjector(settings.lab_dir) if topology.lab else None,
    )


class LabInjector:
    """Faults of the lab."""

    def __init__(self, lab_dir: Path) -> None:
        self._lab_dir = lab_dir

    def inject(self, fault: str) -> None:
        """Put a fault in force."""
        from orchestrator.lab import faults

        faults.inject(self._lab_dir, fault)

    def heal(self) -> None:
        """Take every fault away."""
        from orchestrator.lab import faults

        faults.heal(self._lab_dir)
