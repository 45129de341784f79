"""The address of a team's store, read without asking anyone."""

from __future__ import annotations

import pytest

from orchestrator.errors import Usage
from orchestrator.team.address import is_team, parse
from orchestrator.team.session import Seen, primary_of

URL = "postgresql://drctl:s%40cret@a1:5432,b1,[::1]:7/state%20db?centres=a,b,c&sslmode=require&target_session_attrs=any"


def test_servers_centres_and_parameters() -> None:
    found = parse(URL)
    assert [(h.address, h.centre) for h in found.hosts] == [("a1:5432", "a"), ("b1:5432", "b"), ("[::1]:7", "c")]
    assert found.database == "state db"
    assert found.dsn(found.hosts[0]) == "postgresql://drctl:s%40cret@a1:5432/state%20db?sslmode=require"


def test_nothing_secret_is_shown() -> None:
    assert "cret" not in parse(URL).shown and "drctl" not in parse(URL).shown


def test_the_store_is_a_service_with_its_declared_chain() -> None:
    topology = parse(URL).topology()
    assert [i.id for i in topology.instances()] == ["state/db@a", "state/db@b", "state/db@c"]
    service = topology.service_by_id["state/db"]
    assert service.primary is not None and service.primary.centre == "a"
    assert [(r.source, r.target, r.mode.value) for r in service.replications] == [
        ("a", "b", "sync"),
        ("b", "c", "async"),
    ]
    assert service.instances[0].param("user") == "drctl"


@pytest.mark.parametrize(
    "url",
    ["postgresql://h/d?centres=a,b", "postgresql://h,g/d?centres=a,a", "postgresql://h:1", "postgresql:///d", "x"],
)
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(Usage):
        parse(url)


def test_sqlite_is_no_team() -> None:
    assert not is_team("") and not is_team("sqlite") and is_team("postgres://h/d")


def test_a_former_primary_that_woke_up_is_not_taken_for_the_primary() -> None:
    a, b, c = parse(URL).hosts
    old = Seen(host=a, writable=True, timeline=1)
    new = Seen(host=b, writable=True, timeline=2)
    follows = Seen(host=c, standby=True, timeline=2)
    assert primary_of([old, new, follows]) == b
    assert primary_of([old, follows]) is None, "a copy of a later timeline says that there is a later primary"
    assert primary_of([Seen(host=a, error="refused"), follows]) is None
    assert primary_of([old]) == a
