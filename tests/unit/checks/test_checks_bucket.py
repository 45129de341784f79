"""A bucket that is well passes every check that has a meaning for buckets."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.checks import judge_all, passes
from orchestrator.model.observation import Reach, Reading, Snapshot, Verdict
from orchestrator.model.topology import CopyMode, Role, Setting, Topology
from tests.unit import build

ASYNC = (("a", "b", CopyMode.ASYNC), ("a", "c", CopyMode.ASYNC))
SAID = {"versioning": "enabled", "object_lock": "false", "default_retention": "false", "master": "a", "period": "p 1"}


def world(**of_b: object) -> tuple[Topology, Snapshot]:
    """Three zones, as `S3Bucket.read` tells of them; what differs in b."""
    plain = build.database("x", ASYNC)
    instances = tuple(replace(i, id=f"x/files@{i.centre}", service="x/files") for i in plain.instances)
    bucket = replace(plain, id="x/files", name="files", kind="s3-bucket", instances=instances)
    readings = [
        Reading(
            instance=i.id,
            reach=Reach.ANSWERED,
            took_s=0.01,
            role=i.role,
            writable=i.role is Role.PRIMARY,
            epoch=0,
            timeline=2,
            upstream="a" if i.role is Role.STANDBY else "",
            receiving=True if i.role is Role.STANDBY else None,
            lag_s=0.0 if i.role is Role.STANDBY else None,
            clock_offset_s=0.0,
            settings=tuple(Setting(name=name, value=value) for name, value in SAID.items()),
        )
        for i in instances
    ]
    readings[1] = replace(readings[1], **of_b)
    topology = build.estate([build.system("x", [bucket])])
    return topology, Snapshot(estate="lab", taken_at=build.AT, took_s=0.1, readings=tuple(readings))


def test_a_bucket_that_is_well_passes() -> None:
    found = judge_all(*world())
    assert [f for f in found if f.verdict is not Verdict.PASS] == []
    assert passes(found)
    assert {"reachable", "roles", "one_primary", "timeline", "cascade", "copies", "clock", "lag"} <= {
        f.check for f in found
    }
    assert not {"slots", "disk"} & {f.check for f in found}


def test_what_is_wrong_with_a_bucket_is_named() -> None:
    for fields, check in (
        ({"clock_offset_s": 2.0}, "clock"),
        ({"timeline": 1}, "timeline"),
        ({"writable": True, "role": Role.PRIMARY, "timeline": 1}, "one_primary"),
        ({"receiving": False}, "copies"),
        ({"settings": (Setting(name="versioning", value="off"),)}, "capacity"),
    ):
        wrong = {f.check for f in judge_all(*world(**fields)) if f.verdict is Verdict.FAIL}
        assert check in wrong, (check, wrong)


def test_the_lag_of_a_bucket_is_judged_where_the_store_tells_of_zones() -> None:
    for fields, verdict in (
        ({"lag_s": 0.0}, Verdict.PASS),
        ({"lag_s": 3.0}, Verdict.FAIL),
        ({"receiving": False, "lag_s": None}, Verdict.FAIL),
        ({"lag_s": None}, Verdict.UNKNOWN),
        ({"reach": Reach.SILENT, "role": None, "receiving": None, "lag_s": None}, Verdict.UNKNOWN),
    ):
        assert lag_at_b(**fields) == [verdict], fields
    # A plain S3 endpoint tells of no zones, so there is nothing to judge: `drctl verify` times its canaries.
    assert lag_at_b(role=None, writable=None, upstream=None, receiving=None, lag_s=None, timeline=None) == []


def lag_at_b(**fields: object) -> list[Verdict]:
    return [f.verdict for f in judge_all(*world(**fields)) if f.check == "lag" and f.subject == "x/files@b"]
