"""Every file name of a run folder, once; whoever reads or writes such a file imports its name from here."""

from __future__ import annotations

from pathlib import Path

LOCK = ".lock"
"""Held while a process writes into the folder of a search or of a full training."""
PAGE = "report.html"
COMPARISON_PAGE = "comparison.html"
SPACE_PAGE = "space.html"

# A search.
TRIALS_TABLE = "trials.csv"
FINALISTS_TABLE = "finalists.csv"
WORKERS_TABLE = "workers.csv"
PREDICTIONS = "predictions.csv"
BEST_SPEC = "best.json"
STUDY_SETTINGS = "settings.json"
LATENCIES = "latency.csv"
"""Timed layers, from which the study's limit on latency is predicted."""
JOURNAL = "study.journal"
TRIAL_FOLDERS = "trials"
FINALIST_FOLDERS = "finalists"

# One trial of a search, in a folder of its own.
TRIAL_SETTINGS = "trial.json"
TRIAL_EPOCHS = "epochs.jsonl"
TRIAL_ERROR = "error.txt"
TRIAL_CHECKPOINT = "checkpoint.safetensors"
"""Where an interrupted trial goes on; there only while it runs."""

# A full training.
RUN_SETTINGS = "run.json"
SPEC = "spec.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"
CONFUSION_TABLE = "confusion.csv"
MISTAKES = "mistakes.png"
"""The images of `RunResult.mistakes` in their order, side by side, as the data set has them."""
WEIGHTS = "model.safetensors"
EMA_WEIGHTS = "ema.safetensors"
CERTIFICATE = "certificate.json"


def trials_table(path: Path) -> Path:
    """The trials table of a run folder, or the path itself where it is no folder."""
    return path / TRIALS_TABLE if path.is_dir() else path


def trial_folder(run: Path, number: int | str) -> Path:
    """The folder of one trial in the folder of its search."""
    return run / TRIAL_FOLDERS / str(number)


def checkpoint(run: Path, seed: int) -> Path:
    """The checkpoint of the training with this seed in the folder of a full training."""
    return run / f"checkpoint-seed{seed}.safetensors"
