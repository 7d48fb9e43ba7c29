"""Fixtures of tests of leases and of the coordinator."""

from __future__ import annotations

import pytest


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()
