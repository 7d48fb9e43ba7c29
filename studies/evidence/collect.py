"""Bring what the steps of the evidence gave under `studies/results/`, without weights, and draw its pictures.

    python studies/evidence/collect.py [--plan studies/evidence/gpu.toml] [--runs-dir runs/evidence]

Of each step that is done: the tables and records of its folder, the study file it was given, and its page as a picture
(for which Chromium is needed). `docs/results.py` makes the page of results from these.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from plan import PLAN, Notes, Step, read_plan

from nas_budget.records.run_folder import kind_of

KEPT = (
    "trials.csv", "finalists.csv", "best.json", "settings.json",  # of a study
    "result.json", "run.json", "spec.json", "metrics.jsonl", "confusion.csv",  # of a training
    "gpu.json", "training.json", "comparison.json", "comparison.csv",  # of a benchmark
)  # fmt: skip
"""Files that are brought along."""
STUDY, TIME, DONE = "study.toml", "time.json", "done.json"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = "1280,1500"


def collect(step: Step, source: Path, target: Path) -> None:
    """Copy what a step gave, and the study file it was given."""
    target.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    for study in (word for word in step.words(source.parent) if word.endswith(".toml")):
        shutil.copyfile(study, target / STUDY)


def folder_of(step: Step, runs: Path) -> Path:
    """Where a step leaves what it gives: where a benchmark was told to, or the folder of the step's name."""
    option = dict(pairwise(step.words(runs)))
    if option.get("--runs-dir", str(runs)) != str(runs):
        return Path(option["--runs-dir"])
    return Path(option.get("--output", runs / step.name))


def draw(folder: Path, picture: Path) -> bool:
    """Draw the page of a study or a training as a picture; whether there was a browser to do it."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        return False
    with TemporaryDirectory() as place:
        page, profile = Path(place) / "page.html", Path(place) / "profile"
        command = [sys.executable, "-m", "nas_budget", "report", str(folder), "--quiet", "--output", str(page)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=15000"]
        options = [f"--user-data-dir={profile}", f"--window-size={SIZE}", f"--screenshot={picture.resolve()}"]
        subprocess.run([browser, *flags, *options, page.as_uri()], check=True, capture_output=True, timeout=120)
    return True


def main(arguments: list[str] | None = None) -> None:
    """Collect every step that is done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--results", type=Path, default=Path("studies/results"))
    given = parser.parse_args(arguments)
    notes = Notes.of_runs(given.runs_dir)
    seconds: dict[Path, float] = {}
    for step in read_plan(given.plan):
        source, note = folder_of(step, given.runs_dir), notes.of(step)
        target = given.results / source.name
        print(f"{step.name}: {note.state}")
        # A benchmark that could not measure all of its figures has the others.
        if note.state == "done" or (note.state == "failed" and source.is_dir() and not kind_of(source)):
            collect(step, source, target)
            if kind_of(target):
                draw(target, target / "page.png") or print("no Chromium: its page is not drawn")
            elif not (target / "comparison.json").exists():  # other benchmarks do not note what time they took
                seconds[target] = seconds.get(target, 0.0) + note.seconds
                (target / TIME).write_text(json.dumps({"seconds": round(seconds[target])}) + "\n")
        if note.state == "done":
            known = given.results / DONE
            done = json.loads(known.read_text()) if known.exists() else []
            known.write_text(json.dumps(sorted({*done, step.name}), indent=2) + "\n")


if __name__ == "__main__":
    main()
