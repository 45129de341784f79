"""Finds the folder of a run by what an operator types."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import Usage


def run_folder(home: Path, word: str) -> Path:
    """The folder that a path, a run's id, a unique beginning of one, or `last` means.

    Nothing of the run is read: a bundle is verified whatever has become of the run's own files.

    Raises:
        Usage: there is no such run, or several.
    """
    if Path(word).is_dir():
        return Path(word)
    runs = home / "runs"
    folders = sorted(p for p in runs.iterdir() if p.is_dir() and not p.name.startswith(".")) if runs.is_dir() else []
    if word == "last" and folders:
        return folders[-1]
    exact = [p for p in folders if p.name == word]
    found = exact or [p for p in folders if word and p.name.startswith(word)]
    if len(found) == 1:
        return found[0]
    problem = f"{word!r} could be {len(found)} runs" if found else f"no folder and no run {word!r} in {runs}"
    names = ", ".join(p.name for p in (found or folders)[-5:])
    raise Usage(problem, hint=f"there are: {names or 'none'}")
