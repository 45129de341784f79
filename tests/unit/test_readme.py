"""README and --help say the same: every fenced block after `<!-- drctl … -->` is what that command prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli.main import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- drctl (?P<words>[^>]*?) ?-->\n```(?:text)?\n(?P<text>.*?)```", re.DOTALL)
BLOCKS = [(m["words"], m["text"]) for m in BLOCK.finditer((ROOT / "README.md").read_text())]


def test_the_readme_shows_the_help() -> None:
    assert "--help" in [words for words, _ in BLOCKS]


@pytest.mark.parametrize(("words", "text"), BLOCKS, ids=[words for words, _ in BLOCKS])
def test_a_block_is_what_the_command_prints(words: str, text: str) -> None:
    result = CliRunner().invoke(cli, words.split(), prog_name="drctl", terminal_width=110)
    assert result.exit_code == 0
    assert result.output.strip() == text.strip()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"], prog_name="drctl")
    assert result.exit_code == 0, result.output
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    helps = [result.output]
    for sub in getattr(command, "commands", {}):
        helps.append(CliRunner().invoke(cli, [name, sub, "--help"], prog_name="drctl").output)
    assert any("Example" in text for text in helps), f"drctl {name} shows no example"


def test_every_command_of_the_readme_exists() -> None:
    used = re.findall(r"^\$? ?drctl (?:--\S+ \S+ )*([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert used and set(used) <= set(COMMANDS)
