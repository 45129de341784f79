"""Object storage in each centre (`drctl lab up --buckets`): three zones of a real Ceph, and one bucket in all of them.

On relays zones reach each other past them, and a cut link does not cut them off from each other; in namespaces it does.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orchestrator.errors import Refused
from orchestrator.lab import layout
from orchestrator.lab.answers import Files
from orchestrator.lab.ceph import GATEWAYS, PACKAGES, STORAGE, ZONEGROUP, Cluster, comes_true, missing_programs
from orchestrator.lab.realm import FENCED, USER, Realm, commands, script
from orchestrator.lab.state import LabState, write_file

THERE_S = 90.0
CREDENTIALS = "aws-credentials"
"""File in the lab's folder, in the format of boto3's: AWS_SHARED_CREDENTIALS_FILE names it."""
PROFILE = "drctl-lab"


def refuse_where_impossible() -> None:
    """Say what is missing.

    Raises:
        Refused: a program of Ceph's is not there.
    """
    if missing := missing_programs():
        raise Refused(
            f"{', '.join(missing)} not found",
            hint=f"apt-get install --no-install-recommends {' '.join(PACKAGES)}, or leave --buckets",
        )


def zones(lab: LabState) -> dict[str, Cluster]:
    """The zone of each centre; none where the lab has no buckets."""
    return Realm(lab).zones if lab.buckets else {}


def bring_up(lab: LabState) -> None:
    """Make the zones, and the bucket with its first objects; wait until every zone has them.

    Raises:
        Refused: a daemon does not come up, or the objects do not reach every zone in time.
    """
    made = Realm(lab)
    made.up()
    clients = {centre: client(zone.address) for centre, zone in made.zones.items()}
    first = clients[layout.CENTRES[0]]
    first.create_bucket(Bucket=layout.BUCKET)
    first.put_bucket_versioning(Bucket=layout.BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for key in layout.SCANS:
        first.put_object(Bucket=layout.BUCKET, Key=key, Body=f"scan {key}".encode())
    for centre, there in clients.items():
        if not comes_true(lambda c=there: _has_all(c), THERE_S, 0.2):  # type: ignore[misc]
            raise Refused(f"the objects do not reach zone {centre} within {THERE_S:g} s", hint="drctl lab down")


def client(address: str, keys: tuple[str, str] = USER) -> Any:
    """A client of boto3's for one gateway, which gives up soon."""
    import boto3
    from botocore.config import Config  # type: ignore[import-untyped]

    patience = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, connect_timeout=3, read_timeout=20)
    return boto3.client(
        "s3", endpoint_url=f"http://{address}", aws_access_key_id=keys[0], aws_secret_access_key=keys[1],
        region_name=ZONEGROUP, config=patience,
    )  # fmt: skip


def _has_all(client: Any) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    with contextlib.suppress(ClientError, BotoCoreError):
        kept = client.get_bucket_versioning(Bucket=layout.BUCKET).get("Status") == "Enabled"
        return bool(kept and client.list_objects_v2(Bucket=layout.BUCKET)["KeyCount"] == len(layout.SCANS))
    return False


def write_credentials(lab_dir: Path) -> Path:
    """Write the lab's keys where boto3 can be told to look for them; they open nothing but this lab."""
    path = lab_dir / CREDENTIALS
    write_file(path, f"[{PROFILE}]\naws_access_key_id = {USER[0]}\naws_secret_access_key = {USER[1]}\n".encode())
    return path


def files(lab: LabState) -> Files:
    """What an app needs to store objects."""
    return Files(bucket=layout.BUCKET, zones={c: z.address for c, z in zones(lab).items()}, keys=USER)


def params(zone: Cluster) -> dict[str, str]:
    """What the provider needs to know of one zone's bucket."""
    scripts = {f"{verb}_command": f"bash {script(zone, verb)}" for verb in commands(zone)}
    return {**scripts, "region": ZONEGROUP, "profile": PROFILE, "sync_address": zone.sync_address}


def ensure(lab: LabState) -> list[str]:
    """Bring back what is dead, but for a zone that is fenced or has missed a failover; what was done, a line each.

    Storage first, in all zones: where all are dead, only their stores together tell who missed a failover.
    """
    every = zones(lab)
    dead = [zone for zone in every.values() if not all(zone.pid(d) for d in (*STORAGE, *GATEWAYS))]
    if not dead:
        return []
    with ThreadPoolExecutor(len(every)) as pool:
        list(pool.map(lambda zone: zone.start(*STORAGE), dead))
        epochs = dict(zip(every, pool.map(_epoch, every.values()), strict=True))
        latest = max(epochs.values())
        return list(pool.map(lambda zone: _revive(zone, epochs[zone.name] < latest), dead))


def _revive(zone: Cluster, missed_failover: bool) -> str:
    name = f"{layout.FILES}@{zone.name}"
    if (zone.folder / FENCED).exists():
        return f"left {name}: fenced; unfence or rejoin it"
    if missed_failover:  # its gateway would take writes of its own by the old period
        return f"left {name}: it missed a failover; rejoin it"
    zone.start(*GATEWAYS)
    return f"started {name}"


def _epoch(zone: Cluster) -> int:
    """How many times the realm had changed by what a zone's store knows."""
    told = zone.admin("period", "get")
    return int(told["realm_epoch"]) if told else 0
