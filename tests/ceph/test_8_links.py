"""Links between zones are really cut, in a lab whose centres have networks of their own (DRCTL_LAB_NET=namespaces)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from orchestrator.lab import state
from orchestrator.lab.ceph import comes_true
from orchestrator.lab.state import Net
from tests.ceph.test_7_drill import bucket, stored, takes_writes
from tests.integration.drills import Home

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
REACHES_S = 90.0


@pytest.fixture
def cuttable(home: Home) -> Iterator[Home]:
    if state.require(home.path / "lab").net is not Net.NAMESPACES:
        pytest.skip("on loopback zones reach each other past the relays; DRCTL_LAB_NET=namespaces cuts them apart")
    yield home
    home.drctl("lab", "heal")


def put(home: Home, centre: str, key: str) -> None:
    bucket(home, centre).put_object(Bucket="files", Key=key, Body=key.encode())


def arrives(home: Home, centre: str, key: str) -> bool:
    return comes_true(lambda: key in stored(home, centre), REACHES_S, 0.2)


def test_objects_find_their_way_around_a_cut_link_and_none_into_a_centre_that_is_cut_off(cuttable: Home) -> None:
    home = cuttable
    [master] = takes_writes(home)
    other = "b" if master == "a" else "a"
    home.drctl("lab", "fault", f"cut-link {master}-c")
    put(home, master, "links/around")
    assert arrives(home, "c", "links/around")
    assert not behind(home, "c")

    home.drctl("lab", "fault", f"cut-link {other}-c")
    put(home, master, "links/late")
    assert arrives(home, other, "links/late")
    assert comes_true(lambda: behind(home, "c"), REACHES_S, 1.0)
    assert "links/late" not in stored(home, "c")
    assert not behind(home, other)

    home.drctl("lab", "heal")
    assert arrives(home, "c", "links/late")
    assert comes_true(lambda: not behind(home, "c"), REACHES_S, 1.0)


def behind(home: Home, centre: str) -> bool:
    """Whether `drctl check` finds that a bucket lags more than was declared."""
    words = ("check", "--system", "legal-person", "--check", "lag", "--output", "json")
    found = json.loads(home.drctl(*words, expect=None).stdout)["findings"]
    [verdict] = [f["verdict"] for f in found if f["subject"] == f"legal-person/files@{centre}"]
    return bool(verdict == "fail")
