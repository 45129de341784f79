"""Options and output that commands share, so that they look alike."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import click
import msgspec

from orchestrator.errors import Usage, guess
from orchestrator.settings import Settings

__all__ = ["Settings", "centre_named", "echo_json", "output_option", "refuse_unknown"]

F = TypeVar("F", bound=Callable[..., Any])


def output_option(command: F) -> F:
    """`--output table|json`, given to the command as `output`."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Table for people, JSON for programs.",
    )(command)


def echo_json(value: object) -> None:
    """Print a value of the model as JSON, indented, one document."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def refuse_unknown(what: str, names: Collection[str] | None, known: Collection[str]) -> None:
    """A misspelt filter must not judge or show nothing and look like an answer.

    Raises:
        Usage: one of the names is not known; the hint says which is meant, or which there are.
    """
    for name in names or ():
        if name not in known:
            raise Usage(f"no {what} {name!r}", hint=guess(name, known))


def centre_named(word: str, known: Collection[str]) -> str:
    """A centre by its id, `centre-` before it or not.

    Raises:
        Usage: there is none.
    """
    name = word if word in known else word.removeprefix("centre-")
    refuse_unknown("centre", [name], known)
    return name
