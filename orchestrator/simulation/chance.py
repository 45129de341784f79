"""Seeded chance, one source for each concern: what one concern draws does not change what another one sees."""

from __future__ import annotations

import math
from random import Random
from zlib import crc32


class Chance:
    """The sources of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._sources: dict[str, Random] = {}

    def of(self, concern: str) -> Random:
        """The source of one concern, the same for the same seed in every process."""
        found = self._sources.get(concern)
        if found is None:
            found = self._sources[concern] = Random(self.seed << 32 | crc32(concern.encode()))
        return found


def spread(source: Random, middle: float, wide: float = 2.0) -> float:
    """A duration with this median; one in a hundred is about `wide` squared times as long."""
    return middle * math.exp(source.gauss(0.0, math.log(wide)))
