"""A search whose processes are killed all the time loses nothing; `benchmarks/faults.py storm` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.storm import storm


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_whose_processes_are_killed_loses_no_trial(tmp_path: Path) -> None:
    outcome = storm(tmp_path, n_trials=3, every_s=0.5)
    assert outcome.problems == ()
    assert outcome.kills > 0
    assert outcome.repeated <= outcome.kills + 1
