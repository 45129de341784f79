"""The realm as drctl sees it: an estate with a bucket in three centres; and looks past drctl, by boto3."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from orchestrator.app import ROOT, kinds
from orchestrator.lab import services
from orchestrator.lab.buckets import client
from orchestrator.lab.ceph import ZONEGROUP, comes_true
from orchestrator.lab.layout import CENTRES
from orchestrator.lab.realm import USER, Realm, commands, script
from orchestrator.lab.state import LabState, Net
from orchestrator.loader import load_topology
from orchestrator.model.observation import Reading
from orchestrator.model.plan import Verb
from orchestrator.model.proof import Part, ServiceProof
from orchestrator.model.topology import Instance, Service, Topology
from orchestrator.providers.base import Order, Outcome
from orchestrator.providers.playbook import Playbooks
from orchestrator.providers.s3 import S3Bucket
from orchestrator.providers.s3_objects import S3Objects
from orchestrator.verification.objects import verify_bucket
from orchestrator.verification.options import Options

INVENTORY = ROOT / "inventories" / "lab" / "hosts.yaml"
EPOCHS = itertools.count(1)
CATCH_UP_S = 150.0
"""Until a zone has caught up at the latest: the lease of a reader that died (120 s) and a pass of its own."""
DEFAULT = "contract"
"""Bucket where none is named; not the one that the lab's app uses."""

TOPOLOGY = """
estate: ceph
name: {{en: Ceph, zh: Ceph}}
sites: {{chongqing: {{en: Chongqing, zh: 重庆}}, remote: {{en: Remote, zh: 异地}}}}
centres:
  a: {{site: chongqing, role: production, name: {{en: A, zh: A}}}}
  b: {{site: chongqing, role: metro, name: {{en: B, zh: B}}}}
  c: {{site: remote, role: remote, name: {{en: C, zh: C}}}}
systems:
  archive:
    name: {{en: Archive, zh: 档案}}
    owner: {{en: Bureau, zh: 局}}
    tier: 1
    filing: PLACEHOLDER-ARCHIVE
    centre_loss: {{rto: 5m, rpo: 60s}}
    site_loss: {{rto: 5m, rpo: 60s}}
    services:
      files:
        kind: s3-bucket
        roles: {{a: primary, b: standby, c: standby}}
        replications:
          - {{from: a, to: b, mode: async, lag_max: {lag}}}
          - {{from: a, to: c, mode: async, lag_max: {lag}}}
        params: {{region: {region}}}
        instances:
{instances}
"""
INSTANCE = """          {centre}:
            address: {address}/{bucket}
            params:
              sync_address: {sync}
{commands}"""


class World:
    """A bucket of the realm, its provider, and what is true of it."""

    def __init__(self, lab: LabState, folder: Path) -> None:
        self.lab, self.realm, self.folder = lab, Realm(lab), folder
        self.provider = S3Bucket(Playbooks(ROOT / "playbooks", INVENTORY))

    def topology(self, bucket: str = DEFAULT, lag: str = "3s") -> Topology:
        """The estate whose bucket is this one."""
        text = "".join(
            INSTANCE.format(
                centre=c, address=z.address, sync=z.sync_address, bucket=bucket,
                commands="".join(f"              {verb}_command: bash {script(z, verb)}\n" for verb in commands(z))
                + ("" if self.lab.net is Net.RELAYS else f"              shell: {services.shell(self.lab, c)}\n"),
            )
            for c, z in self.realm.zones.items()
        )  # fmt: skip
        (self.folder / "topology.yaml").write_text(TOPOLOGY.format(instances=text, lag=lag, region=ZONEGROUP))
        return load_topology(self.folder, kinds())

    def service(self, bucket: str = DEFAULT, lag: str = "3s") -> Service:
        return self.topology(bucket, lag).service_by_id["archive/files"]

    def instance(self, centre: str, bucket: str = DEFAULT) -> Instance:
        found = self.service(bucket).at(centre)
        assert found is not None
        return found

    def client(self, centre: str, keys: tuple[str, str] = USER) -> Any:
        """A client of one zone, past drctl."""
        return client(self.realm.zones[centre].address, keys)

    def make(self, bucket: str, master: str = "a", *, versioned: bool = True, **options: Any) -> None:
        """A bucket in all zones."""
        there = self.client(master)
        there.create_bucket(Bucket=bucket, **options)
        if versioned:
            there.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for centre in CENTRES:
            assert comes_true(lambda c=centre: self.has_bucket(c, bucket, versioned), 60, 0.2), centre  # type: ignore[misc]

    def part(self) -> None:
        """From now on no zone receives anything."""
        for zone in self.realm.zones.values():
            zone.end("sync", number=signal.SIGTERM)

    def join(self) -> None:
        """Zones receive again."""
        for zone in self.realm.zones.values():
            zone.start("sync")

    def has_bucket(self, centre: str, bucket: str, versioned: bool = False) -> bool:
        try:
            told = self.client(centre).get_bucket_versioning(Bucket=bucket)
        except (ClientError, BotoCoreError):
            return False
        return not versioned or told.get("Status") == "Enabled"

    def listed(self, centre: str, bucket: str) -> set[tuple[str, str, str]]:
        """Every version and marker: key, version, ETag; by boto3."""
        pages = self.client(centre).get_paginator("list_object_versions").paginate(Bucket=bucket)
        found: set[tuple[str, str, str]] = set()
        for page in pages:
            found |= {(v["Key"], v["VersionId"], v["ETag"]) for v in page.get("Versions", [])}
            found |= {(v["Key"], v["VersionId"], "") for v in page.get("DeleteMarkers", [])}
        return found

    def settles(self, bucket: str, centres: str = "bc", within_s: float = 90.0) -> None:
        """Wait until some zones list what zone a lists."""
        for centre in centres:
            assert comes_true(
                lambda c=centre: self.listed(c, bucket) == self.listed("a", bucket), within_s, 0.5  # type: ignore[misc]
            ), centre  # fmt: skip

    async def verify(
        self, bucket: str, *, parts: tuple[Part, ...] = (Part.CONTENT,), lag: str = "3s", **options: Any
    ) -> ServiceProof:
        service = self.service(bucket, lag)
        sources = {i.id: S3Objects(i) for i in service.instances}
        return await verify_bucket(service, sources, Options(parts=parts, **options))

    async def read(self, centre: str, bucket: str = DEFAULT) -> Reading:
        return await self.provider.read(self.service(bucket), self.instance(centre, bucket), 5.0)

    def order(self, centre: str, *towards: str, epoch: int, within_s: float = 240.0, bucket: str = DEFAULT) -> Order:
        return Order(
            run=f"run-{epoch}", step="step", epoch=epoch, service=self.service(bucket), within_s=within_s,
            instance=self.instance(centre, bucket), towards=tuple(self.instance(t, bucket) for t in towards),
            artifacts=self.folder / f"step-{epoch}-{next(EPOCHS)}",
        )  # fmt: skip

    async def act(self, verb: Verb, centre: str, *towards: str, epoch: int, **more: Any) -> Outcome:
        return await self.provider.act(verb, self.order(centre, *towards, epoch=epoch, **more))


def refused(call: Callable[[], object]) -> str:
    """The error code with which a call was refused; empty where it was not."""
    try:
        call()
    except ClientError as e:
        return str(e.response["Error"]["Code"])
    return ""


def tables(proof: ServiceProof) -> dict[str, dict[str, str]]:
    """Per centre: the result word of each part of the bucket."""
    found = {r.instance.rpartition("@")[2]: r.content for r in proof.replicas}
    return {c: {t.table: t.sameness.value for t in content.tables} if content else {} for c, content in found.items()}


def differences(proof: ServiceProof, centre: str) -> dict[str, str]:
    """Keys that differ at a centre, and how."""
    (content,) = [r.content for r in proof.replicas if r.instance.endswith(f"@{centre}")]
    assert content is not None
    return {
        d.key: f"{d.kind.value} {','.join(c.name for c in d.columns)}".strip()
        for t in content.tables
        for d in t.differences
    }
