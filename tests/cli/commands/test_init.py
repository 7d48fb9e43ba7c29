from __future__ import annotations

from pathlib import Path

import pytest

from nas_budget.cli.options.presets import presets
from tests.conftest import Run


def test_a_preset_is_written_to_edit_and_never_over_another_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("init", "quickstart")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "next: nas-budget search quickstart.toml")
    assert Path("quickstart.toml").read_text() == presets()["quickstart"].read_text()
    Path("quickstart.toml").write_text("mine")
    assert run("init", "quickstart").refused(2, "quickstart.toml: is there already; give another --output")
    assert Path("quickstart.toml").read_text() == "mine"
    assert run("init", "nope").refused(2, "preset nope: there is none; there are cifar10-150k, ")
    assert run("init", "quickstart", "-o", "none/x.toml").refused(1, "none/x.toml: cannot be written")


def test_presets_are_listed_with_what_they_are(run: Run) -> None:
    listed = run("init").out
    for name in presets():
        assert f"\n{name} " in listed
    assert "The competition: the best network for CIFAR-10 under five million parameters\n" in listed
    assert run("init", "--output", "x.toml").refused(2, "--output goes with a preset")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["search", "explore"])
def test_a_preset_stands_for_its_file(command: str, run: Run, tmp_path: Path) -> None:
    file = presets()["quickstart"]
    more = ["--dry-run", "--data", "shapes"] if command == "search" else ["--sample", 2]
    by_name, by_file = (run(command, *study, *more, "--json").json for study in (["--preset", "quickstart"], [file]))
    if command == "search":  # what was timed differs
        by_name, by_file = (
            {key: found["settings"][key] for key in ("budget", "recipe")} for found in (by_name, by_file)
        )
    assert by_name == by_file
    twice = run(command, file, "--preset", "quickstart")
    assert twice.refused(2, "two study files are given")
