"""Pages in a browser: what goes wrong on any of them fails its test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.report.browsing import Open, opened


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens a page in a new window, as `opened` does; none may report an error or ask anything of the network."""
    windows = []

    def call(*where: Any, **how: Any) -> Any:
        windows.append(opened(browser, *where, **how))
        return windows[-1][0]

    yield call
    for window, trouble in windows:
        window.close()
        assert trouble == []
