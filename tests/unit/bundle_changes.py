"""What can be done to a bundle after it was sealed, one change at a time."""

from __future__ import annotations

from pathlib import Path


def rewrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def flip(bundle: Path, path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << (at % 8)
    rewrite(path, bytes(content))


def insert(bundle: Path, path: Path, at: int) -> None:
    content = path.read_bytes()
    place = at % (len(content) + 1)
    rewrite(path, content[:place] + bytes([at % 256]) + content[place:])


def drop(bundle: Path, path: Path, at: int) -> None:
    content = path.read_bytes()
    place = at % len(content)
    rewrite(path, content[:place] + content[place + 1 :])


def remove(bundle: Path, path: Path, at: int) -> None:
    path.unlink()


def rename(bundle: Path, path: Path, at: int) -> None:
    path.rename(path.with_name(f"{path.name}{at}"))


def add(bundle: Path, path: Path, at: int) -> None:
    (path.parent / f"new{at}").write_bytes(b"x" * (at % 3))


def add_folder(bundle: Path, path: Path, at: int) -> None:
    (path.parent / f"new{at}").mkdir()


def link(bundle: Path, path: Path, at: int) -> None:
    path.rename(bundle.parent / "moved")
    path.symlink_to(bundle.parent / "moved")


def swap(bundle: Path, path: Path, at: int) -> None:
    others = sorted(p for p in bundle.rglob("*") if p.is_file() and p.read_bytes() != path.read_bytes())
    rewrite(path, others[at % len(others)].read_bytes())


CHANGES = (flip, insert, drop, remove, rename, add, add_folder, link, swap)
