"""Ed25519 keys and detached signatures (RFC 8032) over a bundle's manifest.

The private key lives outside every bundle, mode 0600. The fingerprint of a key is the SHA-256 of its public half
in DER (SubjectPublicKeyInfo, RFC 8410), so that `openssl pkey -pubin -outform DER | sha256sum` gives the same.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import BadFile, Refused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_FILE = Path("keys") / "ed25519.pem"
"""Where a home keeps its signing key."""
KEY_SIZE_MAX = 64 * 1024


def public_file(key_file: Path) -> Path:
    """Where the public half lies: `ed25519.pub.pem` beside `ed25519.pem`; it is what verifiers pin."""
    return key_file.with_suffix(".pub.pem")


def create_key(key_file: Path) -> Ed25519PrivateKey:
    """Make a new key pair: `key_file` (mode 0600) and its public half beside it.

    Raises:
        Refused: the file exists; a lost key cannot be brought back, so none is ever overwritten.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _place(key_file, pem, 0o600):
        raise Refused(f"{key_file} exists and is not overwritten", hint="name another file with --key")
    _place(public_file(key_file), public_pem(key.public_key()), 0o644)
    return key


def _place(path: Path, content: bytes, mode: int) -> bool:
    """Put a whole file in place if none is there; two who try at once get one file, never half of one."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            os.fchmod(fd, mode)
            os.fsync(fd)
        with suppress(FileExistsError):
            os.link(name, path)
            return True
        return False
    finally:
        os.unlink(name)


def load_or_create_key(key_file: Path) -> Ed25519PrivateKey:
    """The key in `key_file`, made on first use.

    Raises:
        BadFile: the file is no unencrypted Ed25519 key in PEM.
        Refused: others than its owner may read it.
    """
    if not key_file.exists():
        with suppress(Refused):
            return create_key(key_file)
    return load_key(key_file)


def load_key(key_file: Path) -> Ed25519PrivateKey:
    """The private key in `key_file`.

    Raises:
        BadFile: it cannot be read, or is no unencrypted Ed25519 key in PEM.
        Refused: others than its owner may read it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _read(key_file)
    if key_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Refused(f"{key_file} can be read by others than its owner", hint=f"chmod 600 {key_file}")
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadFile(f"{key_file}: not an unencrypted private key in PEM", hint=_HINT) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadFile(f"{key_file}: {type(key).__name__.removeprefix('_')} instead of an Ed25519 key", hint=_HINT)
    return key


_HINT = "`drctl evidence keygen --key FILE` makes one"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(KEY_SIZE_MAX)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from error


def load_public(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file.

    Raises:
        BadFile: it cannot be read, or is no Ed25519 public key in PEM.
    """
    return parse_public(_read(path), str(path))


def parse_public(pem: bytes, name: str) -> Ed25519PublicKey:
    """The public key in PEM bytes; `name` is what errors call them.

    Raises:
        BadFile: no Ed25519 public key in PEM.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadFile(f"{name}: not a public key in PEM", hint="give the signer's ed25519.pub.pem") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadFile(f"{name}: not an Ed25519 public key", hint="give the signer's ed25519.pub.pem")
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    """The key as PEM (SubjectPublicKeyInfo)."""
    from cryptography.hazmat.primitives import serialization as form

    return key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the public key's DER form, 64 hex digits."""
    from cryptography.hazmat.primitives import serialization as form

    der = key.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def signature_holds(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    """Whether `signature` (64 raw bytes) is this key's over `content`."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True
