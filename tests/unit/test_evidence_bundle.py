"""Sealing and verifying, with real keys, real files and the real coreutils and openssl."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from orchestrator.errors import BadFile, Refused, Tampered
from orchestrator.evidence.bundle import seal
from orchestrator.evidence.journal import Entry, Journal, genesis, read_journal
from orchestrator.evidence.signing import create_key, fingerprint, public_file
from orchestrator.evidence.verifier import find_bundle, verify_bundle
from orchestrator.model.evidence import Manifest, ProblemKind, Verification
from orchestrator.model.plan import Approval, Plan
from orchestrator.model.run import Event
from orchestrator.model.topology import Setting
from tests.unit.bundle_changes import flip, rewrite
from tests.unit.conftest import CREATED, page

SECRETS = (
    "hunter2-of-the-database",
    "s3cr3t-in-a-dsn",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "MC4CAQAwBQYDK2VwBCIEIJ",
    "AKIAIOSFODNN7EXAMPLE",
    "Zm9vYmFyYmF6cXV1eA",
)
ARTIFACT = f"""PGPASSWORD={SECRETS[0]}
dsn: postgresql://app:{SECRETS[1]}@10.0.0.5:5432/app
{{"aws_secret_access_key": "{SECRETS[2]}", "key_id": "{SECRETS[4]}"}}
-----BEGIN PRIVATE KEY-----
{SECRETS[3]}x
-----END PRIVATE KEY-----
Authorization: Bearer {SECRETS[5]}
the task ended well
"""


def kinds(found: Verification) -> set[ProblemKind]:
    return {p.kind for p in found.problems}


def reseal(bundle: Path, key_file: Path) -> None:
    """What a forger with a key of his own does: everything inside made consistent again."""
    run_dir = bundle.parent / "forged" / msgspec.json.decode((bundle / "MANIFEST.json").read_bytes())["run"]
    shutil.copytree(bundle, run_dir)
    shutil.rmtree(bundle)
    shutil.copytree(seal(run_dir, key_file=key_file, created=CREATED), bundle)


# ---------------------------------------------------------------- sealing


def test_a_sealed_run_verifies_and_holds_everything(sealed: Path) -> None:
    found = verify_bundle(sealed)
    assert found.problems == () and found.holds and not found.pinned
    names = {p.name for p in sealed.iterdir()}
    assert names >= {
        *("plan.json", "topology.json", "approvals.json", "before.json", "after.json", "journal.jsonl", "canary"),
        *("measurements.json", "proofs.json", "versions.json", "artifacts", "report.en.html", "report.zh.html"),
        *("SHA256SUMS", "MANIFEST.json", "MANIFEST.sig", "public.pem", "VERIFY.md"),
    }
    assert "owner.json" not in names
    manifest = msgspec.json.decode((sealed / "MANIFEST.json").read_bytes(), type=Manifest)
    records = read_journal(sealed / "journal.jsonl")
    assert (manifest.journal_records, manifest.journal_head) == (len(records), records[-1].hash)
    assert manifest.run == sealed.parent.name and manifest.created == CREATED


def test_the_same_inputs_give_the_same_bytes(run_dir: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin" / run_dir.name
    shutil.copytree(run_dir, twin)
    one, two = (seal(d, key_file=tmp_path / "k.pem", render=page, created=CREATED) for d in (run_dir, twin))
    assert {p.name: p.read_bytes() for p in one.glob("*.*")} == {p.name: p.read_bytes() for p in two.glob("*.*")}


def test_a_sealed_bundle_is_never_overwritten(run_dir: Path, tmp_path: Path) -> None:
    bundle = seal(run_dir, key_file=tmp_path / "k.pem")
    before = (bundle / "MANIFEST.sig").read_bytes()
    with pytest.raises(Refused, match="sealed already"):
        seal(run_dir, key_file=tmp_path / "k.pem")
    assert (bundle / "MANIFEST.sig").read_bytes() == before


def test_a_run_that_was_resumed_after_its_sealing_gets_another_bundle(run_dir: Path, tmp_path: Path) -> None:
    first = seal(run_dir, key_file=tmp_path / "k.pem")
    plan = msgspec.json.decode((run_dir / "plan.json").read_bytes(), type=Plan)
    journal = Journal(
        run_dir / "journal.jsonl",
        run=run_dir.name,
        first_prev=genesis(plan.sha256, run_dir.name),
        epoch=4,
        epoch_now=lambda: 4,
    )
    closed = Entry(event=Event.RUN_CLOSED, data=(Setting(name="state", value="done"),))
    journal.append([Entry(event=Event.RUN_RESUMED), closed])
    journal.close()
    second = seal(run_dir, key_file=tmp_path / "k.pem")
    assert (first.name, second.name) == ("bundle", "bundle-2") and find_bundle(run_dir) == second
    manifest = msgspec.json.decode((second / "MANIFEST.json").read_bytes(), type=Manifest)
    assert manifest.supersedes == hashlib.sha256((first / "MANIFEST.json").read_bytes()).hexdigest()
    assert verify_bundle(first).holds and verify_bundle(second).holds
    assert not [f for f in manifest.files if f.path.startswith("bundle")]
    with pytest.raises(Refused, match="sealed already"):
        seal(run_dir, key_file=tmp_path / "k.pem")


def test_a_failed_sealing_leaves_nothing(run_dir: Path, tmp_path: Path) -> None:
    def broken(folder: Path, lang: str) -> str:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        seal(run_dir, key_file=tmp_path / "k.pem", render=broken)
    assert not [p for p in run_dir.iterdir() if "bundle" in p.name]
    assert seal(run_dir, key_file=tmp_path / "k.pem").is_dir()


def test_what_a_killed_sealer_left_is_cleared(run_dir: Path, tmp_path: Path) -> None:
    (run_dir / ".bundle.dead").mkdir()
    (run_dir / ".bundle.dead" / "plan.json").write_text("half")
    seal(run_dir, key_file=tmp_path / "k.pem")
    assert not list(run_dir.glob(".bundle.*"))


def test_a_run_that_is_not_closed_is_not_sealed(run_dir: Path, tmp_path: Path) -> None:
    journal = run_dir / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(Refused, match="not closed"):
        seal(run_dir, key_file=tmp_path / "k.pem")


def test_a_broken_journal_is_not_sealed(run_dir: Path, tmp_path: Path) -> None:
    journal = run_dir / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"detail":"demote"', b'"detail":"nothing"'))
    with pytest.raises(Tampered, match=r"record \d+"):
        seal(run_dir, key_file=tmp_path / "k.pem")


def test_a_folder_that_is_no_run_is_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"plan\.json"):
        seal(tmp_path, key_file=tmp_path / "k.pem")


def test_links_and_odd_files_are_left_out_and_said_so(run_dir: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("of no concern")
    (run_dir / "artifacts" / "link").symlink_to(outside)
    (run_dir / "artifacts" / "folder").symlink_to(tmp_path)
    (run_dir / "artifacts" / "two\nlines").write_text("x")
    os.mkfifo(run_dir / "artifacts" / "pipe")
    bundle = seal(run_dir, key_file=tmp_path / "k.pem")
    manifest = msgspec.json.decode((bundle / "MANIFEST.json").read_bytes(), type=Manifest)
    assert {x.path for x in manifest.left_out} == {
        *("artifacts/link", "artifacts/folder", "artifacts/pipe", r"artifacts/two\nlines"),
    }
    assert verify_bundle(bundle).holds


# ---------------------------------------------------------------- secrets


def test_no_secret_reaches_a_bundle(run_dir: Path, tmp_path: Path) -> None:
    place = run_dir / "artifacts" / "fence" / "env"
    place.mkdir(parents=True)
    (place / "envvars").write_text(ARTIFACT)
    (run_dir / "canary" / "canary.log").write_text(f"password={SECRETS[0]}\n")
    bundle = seal(run_dir, key_file=tmp_path / "k.pem", render=page)
    found = subprocess.run(
        ["grep", "-rlF", *(f"-e{s}" for s in SECRETS), bundle], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (1, "")
    private = (tmp_path / "k.pem").read_text().splitlines()[1]
    assert not any(private in p.read_text("utf-8", "replace") for p in bundle.rglob("*") if p.is_file())
    assert "the task ended well" in (bundle / "artifacts/fence/env/envvars").read_text()
    manifest = msgspec.json.decode((bundle / "MANIFEST.json").read_bytes(), type=Manifest)
    assert manifest.redacted == ("artifacts/fence/env/envvars", "canary/canary.log")
    assert verify_bundle(bundle).holds


@pytest.mark.parametrize("name", ["approvals.json", "canary/legal-person.jsonl"])
def test_a_secret_where_nothing_may_be_changed_refuses(run_dir: Path, tmp_path: Path, name: str) -> None:
    path = run_dir / name
    path.write_text(path.read_text() + f'\n{{"password": "{SECRETS[0]}"}}\n')
    line = path.read_text().split("\n").index(f'{{"password": "{SECRETS[0]}"}}') + 1
    with pytest.raises(Refused) as refused:
        seal(run_dir, key_file=tmp_path / "k.pem")
    assert f"{name}:{line} (named secret)" in refused.value.message
    assert SECRETS[0] not in refused.value.message + refused.value.hint
    assert not (run_dir / "bundle").exists()


# ---------------------------------------------------------------- verifying


def test_each_change_is_named(copy: Path) -> None:
    rewrite(copy / "measurements.json", (copy / "measurements.json").read_bytes().replace(b"0", b"1", 1))
    (copy / "after.json").unlink()
    (copy / "artifacts" / "note.txt").write_text("hello")
    found = {(p.kind, p.subject) for p in verify_bundle(copy).problems}
    assert found == {
        (ProblemKind.CHANGED, "measurements.json"),
        (ProblemKind.REMOVED, "after.json"),
        (ProblemKind.ADDED, "artifacts/note.txt"),
    }


def test_a_rename_is_a_removal_and_an_addition(copy: Path) -> None:
    (copy / "plan.json").rename(copy / "Plan.json")
    assert kinds(verify_bundle(copy)) == {ProblemKind.REMOVED, ProblemKind.ADDED}


def test_a_link_to_the_same_content_is_found(copy: Path, tmp_path: Path) -> None:
    (copy / "plan.json").rename(tmp_path / "plan.json")
    (copy / "plan.json").symlink_to(tmp_path / "plan.json")
    (copy / "canary").rename(tmp_path / "canary")
    (copy / "canary").symlink_to(tmp_path / "canary")
    subjects = {p.subject for p in verify_bundle(copy).problems}
    assert subjects >= {"plan.json", "canary", "canary/legal-person.jsonl"}


def test_a_pipe_or_a_huge_file_does_not_hold_the_verifier(copy: Path) -> None:
    for name in ("plan.json", "MANIFEST.sig"):
        (copy / name).unlink()
        os.mkfifo(copy / name)
    (copy / "after.json").chmod(0o644)
    os.truncate(copy / "after.json", 1 << 40)
    assert {p.subject for p in verify_bundle(copy).problems} >= {"plan.json", "MANIFEST.sig", "after.json"}


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../x", "./plan.json", ""])
def test_a_manifest_that_points_outside_opens_nothing(copy: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("x")
    manifest = msgspec.json.decode((copy / "MANIFEST.json").read_bytes())
    manifest["files"][0]["path"] = name
    rewrite(copy / "MANIFEST.json", msgspec.json.encode(manifest))
    found = verify_bundle(copy).problems
    assert (ProblemKind.MANIFEST, name) in {(p.kind, p.subject) for p in found}


def test_a_forger_with_another_key_is_found_by_the_pinned_one(sealed: Path, copy: Path, tmp_path: Path) -> None:
    measured = copy / "measurements.json"
    rewrite(measured, measured.read_bytes().replace(b'"rpo_met": true', b'"rpo_met": false'))
    assert not verify_bundle(copy).holds
    theirs = fingerprint(create_key(tmp_path / "forger.pem").public_key())
    reseal(copy, tmp_path / "forger.pem")
    assert verify_bundle(copy).problems == () and verify_bundle(copy).key_fingerprint == theirs
    expected = public_file(sealed.parents[2] / "key.pem")
    found = verify_bundle(copy, pinned_key=expected)
    assert kinds(found) == {ProblemKind.KEY} and theirs in found.problems[0].reason.en and not found.pinned
    assert verify_bundle(sealed, pinned_key=expected).holds and verify_bundle(sealed, pinned_key=expected).pinned


def test_approvals_of_another_plan_are_found(copy: Path, tmp_path: Path) -> None:
    stranger = Approval(plan_sha256="0" * 64, name="Wang Fang", at=CREATED)
    rewrite(copy / "approvals.json", msgspec.json.encode((stranger,)))
    reseal(copy, tmp_path / "forger.pem")
    (problem,) = verify_bundle(copy).problems
    assert (problem.kind, problem.subject) == (ProblemKind.BINDING, "approvals.json")
    assert "Wang Fang" in problem.reason.en


def test_another_topology_is_found(copy: Path, tmp_path: Path) -> None:
    topology = (copy / "topology.json").read_bytes()
    rewrite(copy / "topology.json", topology.replace(b'"rto_s": 60', b'"rto_s": 61', 1))
    assert topology != (copy / "topology.json").read_bytes()
    reseal(copy, tmp_path / "forger.pem")
    assert [p.subject for p in verify_bundle(copy).problems] == ["topology.json"]


def test_a_broken_chain_names_its_record(copy: Path) -> None:
    """A bundle whose sums and signature hold, sealed by a program that did not look at the chain."""
    lines = (copy / "journal.jsonl").read_bytes().splitlines(keepends=True)
    rewrite(copy / "journal.jsonl", b"".join([*lines[:7], *lines[8:]]))
    key = create_key(copy.parent / "forger.pem")
    _sign_as_is(copy, key)
    (problem,) = [p for p in verify_bundle(copy).problems if p.kind is ProblemKind.JOURNAL]
    assert "record 7" in problem.reason.en


def _sign_as_is(bundle: Path, key: object) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from orchestrator.evidence.bundle import SUMS, _sealed, sums_text
    from orchestrator.evidence.signing import public_pem

    assert isinstance(key, Ed25519PrivateKey)
    manifest = msgspec.json.decode((bundle / "MANIFEST.json").read_bytes(), type=Manifest)
    for name in ("MANIFEST.json", "MANIFEST.sig", SUMS):
        (bundle / name).unlink()
    rewrite(bundle / "public.pem", public_pem(key.public_key()))
    (bundle / SUMS).write_bytes(sums_text(_sealed(bundle)))
    files = tuple(_sealed(bundle))
    changed = msgspec.structs.replace(manifest, files=files, key_fingerprint=fingerprint(key.public_key()))
    (bundle / "MANIFEST.json").write_bytes(msgspec.json.encode(changed))
    (bundle / "MANIFEST.sig").write_bytes(key.sign(msgspec.json.encode(changed)))


def test_what_is_no_bundle_is_said(tmp_path: Path, run_dir: Path) -> None:
    with pytest.raises(BadFile, match="not a folder"):
        find_bundle(tmp_path / "nothing")
    with pytest.raises(BadFile, match="has not been sealed"):
        find_bundle(run_dir)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match="not an evidence bundle"):
        find_bundle(tmp_path / "empty")


def test_a_run_folder_means_its_bundle(sealed: Path) -> None:
    assert find_bundle(sealed.parent) == sealed == find_bundle(sealed)


@pytest.mark.parametrize("name", ["MANIFEST.json", "MANIFEST.sig", "public.pem", "SHA256SUMS", "VERIFY.md"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[" * 100_000])
def test_the_seal_itself_cannot_be_emptied(copy: Path, name: str, content: bytes | None) -> None:
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    found = verify_bundle(find_bundle(copy))
    assert not found.holds and name in {p.subject for p in found.problems} | {"MANIFEST.sig"}


# ---------------------------------------------------------------- VERIFY.md, by its own words

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None or shutil.which("bash") is None, reason="openssl or bash is not installed"
)
EXPECTED = (
    None,
    "Signature Verified Successfully",
    "manifest and sums agree",
    "every file as it was",
    "nothing added",
    "the journal's chain holds, from this plan to its last record",
)


def commands(bundle: Path) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", (bundle / "VERIFY.md").read_text(), re.DOTALL)


def say(bundle: Path, command: str) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=bundle, capture_output=True, text=True, check=False)
    return done.stdout.strip()


@needs_openssl
def test_the_commands_of_the_guide_hold_for_a_sealed_bundle(sealed: Path) -> None:
    said = [say(sealed, command) for command in commands(sealed)]
    assert said[0].split()[0] == verify_bundle(sealed).key_fingerprint
    assert said[1:] == list(EXPECTED[1:])


@needs_openssl
@pytest.mark.parametrize(
    ("name", "step"), [("MANIFEST.json", 1), ("SHA256SUMS", 2), ("plan.json", 3), ("canary/sharing.jsonl", 3)]
)
def test_the_commands_of_the_guide_find_a_change(copy: Path, name: str, step: int) -> None:
    flip(copy, copy / name, 4001)
    assert say(copy, commands(copy)[step]) != EXPECTED[step]


@needs_openssl
def test_the_commands_of_the_guide_find_an_addition_and_a_broken_chain(copy: Path) -> None:
    (copy / "artifacts" / "extra").write_text("x")
    assert "extra" in say(copy, commands(copy)[4])
    lines = (copy / "journal.jsonl").read_bytes().splitlines(keepends=True)
    rewrite(copy / "journal.jsonl", b"".join([*lines[:7], *lines[8:]]))
    assert say(copy, commands(copy)[5]).startswith("broken:")
