"""The state machine as a picture: Mermaid text, or one SVG without anything from outside.

Drawn are the classes in which every centre runs or is plainly out (no more than one thing is wrong): the whole graph
of thousands of states can be read by nobody. Counts tell of the whole.
"""

from __future__ import annotations

import math
from html import escape
from typing import Final

from orchestrator.model.certificate import MachineStates, Transition

CLASSES_MAX: Final = 16
_SIZE, _BOX = 1100, (250, 40)


def _shown(machine: MachineStates) -> tuple[list[str], list[Transition]]:
    """The classes that most ways go through, and the ways between them."""
    traffic = dict.fromkeys(machine.classes, 0)
    for move in machine.moves:
        if move.source != move.target:
            traffic[move.source] += move.times
            traffic[move.target] += move.times
    shown = sorted(sorted(traffic, key=lambda c: -traffic[c])[:CLASSES_MAX])
    moves = [m for m in machine.moves if m.source != m.target and m.source in shown and m.target in shown]
    return shown, moves


def _joined(moves: list[Transition]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], list[str]] = {}
    for move in moves:
        found.setdefault((move.source, move.target), []).append(move.label)
    return {ends: ", ".join(sorted(set(labels))) for ends, labels in found.items()}


def _title(machine: MachineStates, lang: str) -> str:
    counts = machine.states, machine.transitions, len(machine.violations)
    if lang.startswith("zh"):
        return f"三中心状态机：状态 {counts[0]}，转移 {counts[1]}，违例 {counts[2]}；图中为最主要的 {CLASSES_MAX} 类"
    return (
        f"Three centres: {counts[0]} states, {counts[1]} transitions, {counts[2]} violations; "
        f"shown are the {CLASSES_MAX} classes that most ways go through"
    )


def machine_mermaid(machine: MachineStates, lang: str) -> str:
    """A Mermaid state diagram."""
    shown, moves = _shown(machine)
    names = {c: f"s{n}" for n, c in enumerate(shown)}
    lines = [f"%% {_title(machine, lang)}", "stateDiagram-v2"]
    lines += [f'  state "{c.replace(":", " ")}" as {names[c]}' for c in shown]
    lines += [f"  {names[a]} --> {names[b]}: {label}" for (a, b), label in _joined(moves).items()]
    return "\n".join(lines) + "\n"


def machine_svg(machine: MachineStates, lang: str) -> str:
    """Classes on a circle, ways as arrows that tell their actions when pointed at."""
    shown, moves = _shown(machine)
    middle, radius = _SIZE / 2, _SIZE / 2 - 140
    at = {
        c: (
            middle + radius * math.cos(2 * math.pi * n / len(shown)),
            middle + radius * math.sin(2 * math.pi * n / len(shown)),
        )
        for n, c in enumerate(shown)
    }
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-60 -40 {_SIZE + 120} {_SIZE + 80}" '
        'font-family="sans-serif" font-size="13"><defs><marker id="m" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#567"/></marker></defs>'
    )
    title = f'<text x="{middle}" y="-15" text-anchor="middle" font-size="16">{escape(_title(machine, lang))}</text>'
    ways = [_way(at[a], at[b], label) for (a, b), label in _joined(moves).items()]
    return "\n".join([head, title, *ways, *(_state(c, *at[c]) for c in shown), "</svg>"]) + "\n"


def _way(start: tuple[float, float], end: tuple[float, float], label: str) -> str:
    bend = ((start[0] + end[0]) / 2 + (end[1] - start[1]) / 8, (start[1] + end[1]) / 2 - (end[0] - start[0]) / 8)
    curve = f"M{start[0]:.0f} {start[1]:.0f}Q{bend[0]:.0f} {bend[1]:.0f} {end[0]:.0f} {end[1]:.0f}"
    told = f"<title>{escape(label)}</title>"
    return f'<path d="{curve}" fill="none" stroke="#9ab" marker-end="url(#m)">{told}</path>'


def _state(name: str, x: float, y: float) -> str:
    wide, high = _BOX
    leads = name.count(":primary")
    fill = {0: "#fff4dd", 1: "#e2f3e6"}.get(leads, "#f8d5d5")
    place = f'x="{x - wide / 2:.0f}" y="{y - high / 2:.0f}" width="{wide}" height="{high}"'
    box = f'<rect {place} rx="8" fill="{fill}" stroke="#567"/>'
    return f'{box}<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle">{escape(name)}</text>'
