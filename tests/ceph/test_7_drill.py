"""A database and a bucket fail over as one system, by the command; outcomes are read from both, past drctl."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from orchestrator.lab.buckets import client
from orchestrator.lab.ceph import comes_true
from tests.integration.drills import Home

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
ONE = ("--system", "legal-person", "--rate", "20")
ACCEPTED = ("--accept-loss", "--approved-by", "Li Wei", "--approved-by", "Chen Yu")


def bucket(home: Home, centre: str) -> Any:
    return client(home.address(f"legal-person/files@{centre}").partition("/")[0])


def stored(home: Home, centre: str) -> set[str]:
    """Keys that a zone lists, by boto3."""
    pages = bucket(home, centre).get_paginator("list_objects_v2").paginate(Bucket="files")
    return {o["Key"] for page in pages for o in page.get("Contents", [])}


def takes_writes(home: Home) -> list[str]:
    """Centres whose zone takes an object from an application."""
    found = []
    for centre in "abc":
        try:
            bucket(home, centre).put_object(Bucket="files", Key=".drctl/try", Body=b"")
        except (ClientError, BotoCoreError):
            continue
        found.append(centre)
    return found


def as_one(home: Home, centre: str) -> None:
    """Rows and objects are written in one and the same centre, nothing acknowledged is lost, and each copy of the
    database names only what its zone holds."""
    assert home.primaries("legal-person") == [f"legal-person/db@{centre}"]
    assert takes_writes(home) == [centre]
    assert home.lost_writes("legal-person", f"legal-person/db@{centre}") == set()
    acked = {o["i"] for o in home.ledger("legal-person") if o["k"] == "w" and o["o"] == "ok"}
    for place in "abc":
        named = {key for (key,) in home.ask(f"legal-person/db@{place}", "SELECT key FROM attachment")}
        assert {f"records/{i}" for i in acked} <= named
        assert named <= stored(home, place)


def test_a_planned_switchover_moves_rows_and_objects_and_failback_brings_them_home(home: Home) -> None:
    outcome = home.drill("switchover", "--to", "b", *ONE)
    assert outcome["state"] == "done", outcome
    as_one(home, "b")
    outcome = home.drill("failback", "--to", "a", *ONE)
    assert outcome["state"] == "done", outcome
    as_one(home, "a")
    home.drctl("verify", "--system", "legal-person", "--only", "content", "--only", "names")


def test_the_statement_over_both_fails_where_an_object_is_missing(home: Home) -> None:
    names = ("verify", "--system", "legal-person", "--only", "names", "--output", "json")
    bucket(home, "a").delete_object(Bucket="files", Key="scans/0007")
    assert comes_true(lambda: not any("scans/0007" in stored(home, c) for c in "abc"), 60.0, 0.5)
    (proof,) = [p for p in json.loads(home.drctl(*names, expect=3).stdout) if p.get("names")]
    assert {tuple(told["missing"]) for told in proof["names"]} == {("scans/0007",)}
    bucket(home, "a").put_object(Bucket="files", Key="scans/0007", Body=b"again")
    home.drctl(*names)


def test_a_zone_that_was_killed_is_started_again_by_heal(home: Home) -> None:
    home.drctl("lab", "fault", "kill-centre c")
    assert "legal-person/files@c" in home.drctl("check", expect=3).stdout
    assert "started legal-person/files@c" in home.drctl("lab", "heal").stdout
    assert comes_true(lambda: {*stored(home, "a")} == {*stored(home, "c")}, 60.0, 0.5)


def test_a_centre_is_killed_and_its_zone_comes_back_with_what_it_held(home: Home) -> None:
    words = ("centre-lost", "--lost", "a", "--fault", "kill-centre a", *ONE)
    refused = home.drctl("drill", "run", *words, "--mode", "live", expect=5)
    assert "legal-person/files: b is not proven to hold everything acknowledged" in refused.stderr
    assert takes_writes(home) == ["a"]
    outcome = home.drill(*words, *ACCEPTED)
    assert outcome["state"] == "done", outcome
    as_one(home, "b")
    home.drctl("evidence", "verify", "last")


def test_a_city_is_lost_and_rows_and_objects_are_taken_over_from_afar(home: Home) -> None:
    fault = "cut-link a-c; cut-link b-c; kill-centre a; kill-centre b"
    words = ("site-lost", "--lost", "a", "--lost", "b", "--to", "c", "--fault", fault, *ONE)
    refused = home.drctl("drill", "run", *words, "--mode", "live", expect=5)
    assert "loss" in refused.stderr
    outcome = home.drill(*words, *ACCEPTED)
    assert outcome["state"] == "done", outcome
    assert home.primaries("legal-person") == ["legal-person/db@c"]
    assert takes_writes(home) == ["c"]
    stated = {o["system"]: set(o["writes_lost"]) for o in outcome["measurements"]["outages"]}
    assert stated["legal-person"] == home.lost_writes("legal-person", "legal-person/db@c")
    for place in "abc":
        named = {key for (key,) in home.ask(f"legal-person/db@{place}", "SELECT key FROM attachment")}
        assert len(named) > 10
        assert named <= stored(home, place)
    home.drctl("evidence", "verify", "last")
    outcome = home.drill("failback", "--to", "a", *ONE)
    assert outcome["state"] == "done", outcome
    as_one(home, "a")
