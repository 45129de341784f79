"""The signing key: private, never overwritten, refused where it is none."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from orchestrator.errors import BadFile, Refused
from orchestrator.evidence.signing import create_key, load_key, load_or_create_key

# ---------------------------------------------------------------- keys


def test_a_key_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "ed25519.pem"
    key = load_or_create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_key(path).private_bytes_raw() == key.private_bytes_raw()
    with pytest.raises(Refused, match="not overwritten"):
        create_key(path)
    path.chmod(0o640)
    with pytest.raises(Refused, match="can be read by others"):
        load_key(path)


@pytest.mark.parametrize("content", ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_is_no_key_is_a_bad_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "k.pem"
    path.touch(mode=0o600)
    path.write_text(content)
    with pytest.raises(BadFile, match="not an unencrypted private key"):
        load_key(path)


def test_a_key_of_another_kind_is_a_bad_file(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "k.pem"
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
    with pytest.raises(BadFile, match="instead of an Ed25519 key"):
        load_key(path)
