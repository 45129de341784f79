"""Whose rows a canary's ledger is held against; and the estate that has a bucket beside its database."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from orchestrator.conclusion import survivor
from orchestrator.loader import load_topology
from orchestrator.model.observation import Reach, Reading, Snapshot
from orchestrator.model.topology import Service, Topology
from orchestrator.providers.kinds import KINDS, S3_BUCKET

INVENTORIES = Path(__file__).resolve().parents[2] / "inventories"


def estate(name: str) -> Topology:
    return load_topology(INVENTORIES / name, {kind.name: kind for kind in KINDS})


def seen(*writable: str) -> Snapshot:
    answers = (Reading(instance=i, reach=Reach.ANSWERED, took_s=0.0, writable=True) for i in writable)
    return Snapshot(estate="lab-buckets", taken_at="2026-11-23T00:00:00Z", took_s=0.0, readings=tuple(answers))


def test_a_ledger_is_held_against_the_data_that_the_apps_stand_on_whatever_comes_first() -> None:
    topology = estate("lab-buckets")
    looked = seen("legal-person/files@a", "legal-person/db@b")
    for turned in (topology, reversed_services(topology)):
        found = survivor(turned, looked, "legal-person")
        assert found is not None
        assert (found[0].id, found[1].id) == ("legal-person/db", "legal-person/db@b")
    assert survivor(topology, seen("legal-person/files@a"), "legal-person") is None
    assert survivor(topology, seen("legal-person/db@a", "legal-person/db@b"), "legal-person") is None


def reversed_services(topology: Topology) -> Topology:
    systems = tuple(replace(s, services=s.services[::-1]) for s in topology.systems)
    return replace(topology, systems=systems)


def test_the_lab_with_buckets_is_the_lab_and_one_bucket() -> None:
    plain, stored = estate("lab"), estate("lab-buckets")
    buckets = [s for s in services(stored) if s.kind == S3_BUCKET.name]
    assert [b.id for b in buckets] == ["legal-person/files"]
    assert [s for s in services(stored) if s not in buckets] == services(plain)
    assert (stored.centres, stored.links, stored.platform) == (plain.centres, plain.links, plain.platform)


def services(topology: Topology) -> list[Service]:
    return list(topology.services())
