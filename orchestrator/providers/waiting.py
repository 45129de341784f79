"""Waiting for a state of the world that nobody announces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def comes_true(holds: Callable[[], Awaitable[bool]], within_s: float, pause_s: float) -> bool:
    """Whether a condition holds within `within_s` seconds; asked anew `pause_s` after each answer."""
    try:
        async with asyncio.timeout(within_s):
            while not await holds():
                await asyncio.sleep(pause_s)
    except TimeoutError:
        return False
    return True
