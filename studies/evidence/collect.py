"""Copy what the steps of a plan gave to `studies/results/`, without weights, and draw the pages as images.

    python studies/evidence/collect.py [--plan studies/evidence/gpu.toml] [--runs-dir runs/evidence]

Of each step that is done: the tables and records of its folder, the study file it was given, and an image of its page
where Chromium is installed. `docs/results.py` makes the page of results from these files.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from run import DONE, FAILED, PLAN, TO_DO, Step, read_notes, read_plan

from nas_budget.records.run_folder import kind_of

COPIED = (
    "trials.csv", "finalists.csv", "predictions.csv", "best.json", "settings.json",  # of a study
    "result.json", "run.json", "spec.json", "metrics.jsonl", "confusion.csv",  # of a training
    "gpu.json", "training.json", "comparison.json",  # of a benchmark
)  # fmt: skip
SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots.py"


def collect(step: Step, runs: Path, results: Path) -> None:
    """Copy what a step gave, and the study file it was given."""
    words = step.words(runs)
    options = dict(pairwise(words))
    source = Path(options.get("--output", runs / step.name))
    target = results / source.name
    target.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    for study in (word for word in words if word.endswith(".toml")):
        shutil.copyfile(study, target / "study.toml")
    if kind_of(target):  # a page is not drawn where there is no browser; the rest is there
        subprocess.run([sys.executable, SCREENSHOTS, str(target)], check=False)


def main(arguments: list[str] | None = None) -> None:
    """Collect every step that is done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--results", type=Path, default=Path("studies/results"))
    given = parser.parse_args(arguments)
    notes, list_of_done = read_notes(given.runs_dir), given.results / "done.json"
    done = {*json.loads(list_of_done.read_text())} if list_of_done.exists() else set()
    for step in read_plan(given.plan):
        state = notes.get(step.name, TO_DO)
        print(f"{step.name}: {state}")
        # A benchmark that failed to measure some figures has the others.
        if state == DONE or (state == FAILED and "--output" in step.command):
            collect(step, given.runs_dir, given.results)
        if state == DONE:
            done.add(step.name)
    given.results.mkdir(parents=True, exist_ok=True)
    list_of_done.write_text(json.dumps(sorted(done), indent=2) + "\n")


if __name__ == "__main__":
    main()
