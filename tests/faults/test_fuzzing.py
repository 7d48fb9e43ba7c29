"""A few damaged files of every kind: each is refused in few words, soon, and without much memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.folders import targets
from tests.faults.fuzzing import check

N_EXAMPLES = 25


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


TARGETS = targets(Path(tempfile.mkdtemp()))


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_is_refused_or_read(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]

    @settings(max_examples=max(3, N_EXAMPLES // target.cost), suppress_health_check=[*HealthCheck])
    @given(st.data())
    def try_it(data: st.DataObject) -> None:
        value = data.draw(target.values)
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            check(target, Path(folder), value)

    try_it()
