"""Options and output that commands share, so that they look alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from orchestrator.settings import Settings

__all__ = ["Settings", "echo_json", "output_option"]

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
