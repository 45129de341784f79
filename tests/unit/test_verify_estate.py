"""Which services a verification takes, in which order, and what it remembers of buckets."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.model.proof import Part, ServiceProof
from orchestrator.model.topology import Instance, Role, Service, Setting
from orchestrator.verification import objects_settle
from orchestrator.verification.estate import verify
from orchestrator.verification.ledger import ledger_of
from orchestrator.verification.options import Options
from orchestrator.verification.readers import Readers
from tests.unit import build
from tests.unit.objects_store import Store, entry
from tests.unit.test_objects_names import Rows

CONTENT = (Part.CONTENT,)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_settle, "PAUSE_S", 0.02)
    monkeypatch.setattr(objects_settle, "LEAST_LAG_S", 0.05)


class Estate:
    """A database and buckets, of which `named` are named by its rows."""

    def __init__(self, *names: str, named: tuple[str, ...] = ()) -> None:
        self.database = build.database("x")
        said = (Setting(name="named_by", value="db public.files.key"),)
        self.buckets = tuple(replace(self._bucket(name), params=said if name in named else ()) for name in names)
        self.topology = build.estate([build.system("x", [self.database, *self.buckets])])
        self.stores = {
            i.id: Store(i.id, [entry(b"a"), entry(b"b")], primary=i.role is Role.PRIMARY)
            for bucket in self.buckets
            for i in bucket.instances
        }
        self.named, self.asked = {i.id: Rows([b"a"], instance=i.id) for i in self.database.instances}, list[str]()

    def _bucket(self, name: str) -> Service:
        plain = replace(build.database("x"), id=f"x/{name}", name=name, kind="s3-bucket")
        instances = tuple(replace(i, id=f"x/{name}@{i.centre}", service=plain.id) for i in plain.instances)
        return replace(plain, instances=instances)

    def _objects(self, instance: Instance) -> Store:
        if instance.service not in self.asked:
            self.asked.append(instance.service)
        return self.stores[instance.id]

    async def verify(
        self, parts: tuple[Part, ...], memory: Path | None = None, budget_s: float | None = None
    ) -> dict[str, ServiceProof]:
        readers = Readers(
            rows={}, objects={"s3-bucket": self._objects}, names={"postgresql": lambda i: self.named[i.id]}
        )
        options = Options(parts=parts, within_s=0.2, budget_s=budget_s)
        found = await verify((self.database, *self.buckets), self.topology, readers, options, memory=memory)
        return {proof.service: proof for proof in found}


async def test_what_holds_nothing_of_the_parts_that_are_asked_for_is_left_out() -> None:
    estate = Estate("files", "scans", named=("scans",))
    assert list(await estate.verify(CONTENT)) == ["x/files", "x/scans"]  # nobody reads the database's rows here
    only = await estate.verify((Part.NAMES,))
    assert list(only) == ["x/scans"]
    assert only["x/scans"].ok
    assert not await estate.verify((Part.POSITIONS,))


async def test_a_statement_is_of_every_centre_with_both_and_one_that_fails_is_not_ok() -> None:
    estate = Estate("scans", named=("scans",))
    estate.named["x/db@c"].named.add(b"lacking")
    (proof,) = (await estate.verify((*CONTENT, Part.NAMES))).values()
    assert {told.database: (told.bucket, told.missing) for told in proof.names or ()} == {
        f"x/db@{c}": (f"x/scans@{c}", ("lacking",) if c == "c" else ()) for c in "abc"
    }
    assert all(proof.proven(replica) for replica in proof.replicas)
    assert not proof.ok


async def test_a_budget_takes_the_oldest_proof_first_and_names_what_did_not_fit(tmp_path: Path) -> None:
    estate = Estate("one", "two", "three")
    estate.stores["x/three@b"].objects.pop(b"a")
    proven = await estate.verify(CONTENT, tmp_path)
    assert {name: proof.ok for name, proof in proven.items()} == {"x/one": True, "x/two": True, "x/three": False}
    at = ledger_of(tmp_path, "x/one").oldest()
    assert at
    file = tmp_path / "x_one.json"
    file.write_text(file.read_text().replace(at, "2020-01-01T00:00:00+00:00"))
    (tmp_path / "x_two.json").unlink()
    estate.asked.clear()
    await estate.verify(CONTENT, tmp_path, budget_s=60.0)
    assert estate.asked == ["x/two", "x/one", "x/three"]  # never proven; long ago; just now, of one of its copies
    late = await estate.verify(CONTENT, tmp_path, budget_s=0.0)
    assert not any(proof.ok for proof in late.values())
    assert "did not fit into the budget; last proven at" in late["x/one"].reason.en


async def test_a_copy_that_differs_stands_on_no_proof_any_more(tmp_path: Path) -> None:
    estate = Estate("one")
    await estate.verify(CONTENT, tmp_path)
    for store in estate.stores.values():
        if not store.primary:
            store.objects.clear()
    await estate.verify(CONTENT, tmp_path)
    kept = (tmp_path / "x_one.json").read_text()
    assert '"settings"' in kept
    assert '"one"' not in kept
