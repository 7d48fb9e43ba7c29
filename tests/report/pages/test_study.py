"""The page of studies: from tables alone, complete, and safe whatever the tables say."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from nas_budget.errors import StorageError
from nas_budget.records.finalists import FinalistRun, write_finalists
from nas_budget.records.trials import COLUMNS, TrialRecord, write_table
from nas_budget.records.workers import WorkerRecord, write_workers
from nas_budget.report.pages.study import page, write_page
from nas_budget.report.pages.workers import workers_table
from nas_budget.report.tables.studies import StudyTable, read_studies
from tests.report.browsing import fetches, json_of, words
from tests.report.trials import EVIL, many, mixed, record


def study_of(folder: Path, records: list[TrialRecord], runs: Sequence[FinalistRun] = ()) -> list[StudyTable]:
    """Trials, and runs of finalists, after a way through files."""
    folder.mkdir(exist_ok=True)
    write_table(folder / "trials.csv", records)
    if runs:
        write_finalists(folder / "finalists.csv", runs)
    return read_studies([folder / "trials.csv"])


def run_of(trial: int, seed: int, accuracy: float) -> FinalistRun:
    return FinalistRun(trial, seed, accuracy, 9, 12_345, 60.0, 0.0, "0.5", "a CPU", record(trial).spec)


def seen(folder: Path, records: list[TrialRecord], runs: Sequence[FinalistRun] = ()) -> str:
    return words(page(study_of(folder, records, runs)))


RUNS = [run_of(3, seed, 0.60 + 0.01 * seed) for seed in (1, 2, 3)] + [run_of(5, seed, 0.5) for seed in (1, 2, 3)]
LIMITS = {"budget_macs": 6_000_000, "budget_weight_bytes": 250_000, "budget_activation_bytes": 64_000}
BEST_TRIAL = """\
75.3% ± 2.7% with 43,210 parameters
Trial 5: channels 8-16
6,790 of 50,000 parameters to spare (86.4% used)
2,000,000 MACs
Found in 1 min 40 s of training: 8 trials, 1 pruned, which saved 25 s.
after 6 epochs, one training; ± is half of the 95 % interval that so many images leave
With 29% of the parameters of trial 5 accuracy is 13.3 points lower: trial 3, 62.0% with 12,345.
The knee, beyond which more buys less, is the same."""
FINALISTS = """\
62.0% ± 3.0%
after 9 epochs, mean of 3 more trainings; ± is half of the 95 % interval that so many images leave
trial runs mean accuracy deviation of seeds parameters
3 3 62.0% ± 3.0% 1.0% 12,345 best
6 runs of finalists
Trial 3:
± is half of the 95 % interval that the validation images leave. A tie is no further"""
ONE_RUN_EACH = """\
One run each cannot tell which of them is better.
after 9 epochs, one more training; ± is half of the 95 % interval that so many images leave"""
FACTS = """\
6 complete, 1 pruned
Failed 2
Networks trained twice 1
1 h 1 min
mine: 4,000 images trained on, 1,000 for validation
torch 2.13.0
all 9"""
EVERY_LIMIT = """\
50,000 parameters, 6,000,000 MACs, 250,000 bytes of int8 weights, 64,000 bytes of activations
240,000 of 250,000 bytes of int8 weights to spare"""


@pytest.mark.parametrize(
    ("records", "runs", "said", "unsaid"),
    [
        (mixed(), [], BEST_TRIAL, "micro-batches"),
        (mixed(), [], BEST_TRIAL, "Not quite comparable"),
        (mixed(), RUNS, FINALISTS, "One run each"),
        (mixed(), [run_of(3, 1, 0.6), run_of(5, 1, 0.7)], ONE_RUN_EACH, " tie "),
        ([*mixed(), record(8, spec=record(1).spec, seconds=3600.0)], [], FACTS, "micro-batches"),
        ([*mixed(), record(8, micro_batches=4)], [], "Split into micro-batches 1 trial, as memory did not", "nan"),
        ([record()], [], "50.0% ± 3.1% with 10,000 parameters", "nan"),
        ([record(seeds=3)], [], "after 6 epochs, mean of 3 trainings;", "one training"),
        ([record(**LIMITS, weight_format="int8")], [], EVERY_LIMIT, "no limit"),
        (
            [record(**LIMITS, activation_format="int8")],
            [],
            "39,424 of 64,000 bytes of int8 activations to spare",
            "nan",
        ),
        (
            [record(budget_latency_ns=5_500_000, predicted_latency_s=0.004)],
            [],
            "1.5 of 5.5 ms of predicted latency to spare (72.7% used)",
            "no limit",
        ),
        ([record(budget_params=None)], [], "no limit", "to spare"),
        (mixed(data="cifar10"), [], "Published networks, where they are shown, were trained", "built-in shapes"),
        (mixed(data="shapes"), [], "built-in shapes", "Published networks"),
        (mixed(data="mine"), [], "The trade-off", "Published networks"),
    ],
)
def test_the_page_says(
    tmp_path: Path, records: list[TrialRecord], runs: list[FinalistRun], said: str, unsaid: str
) -> None:
    text = seen(tmp_path, records, runs)
    assert [line for line in said.splitlines() if line not in text] == []
    assert unsaid not in text


def test_text_of_the_table_is_never_markup_and_nothing_is_fetched(tmp_path: Path) -> None:
    everywhere = {"study": EVIL, "channels": EVIL, "versions": EVIL, "precision": EVIL, "spec": EVIL, "data": EVIL}
    html = page(study_of(tmp_path, mixed(**everywhere)))
    assert EVIL not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "GPU &lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html
    for asked in html, page(study_of(tmp_path, mixed())):
        assert not fetches(asked)


def test_the_page_follows_from_the_file_alone_and_is_written_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_page(study_of(tmp_path, mixed()), path)
    copied = shutil.copy(tmp_path / "trials.csv", tmp_path / "copy.csv")
    assert page(read_studies([Path(copied)])) == path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_the_scripts_get_the_whole_table(tmp_path: Path) -> None:
    records = many(30)
    known = json_of(page(study_of(tmp_path, records)), "page-data")
    assert tuple(known["columns"]) == COLUMNS
    assert known["columns"]["params"] == [r.params for r in records]
    assert known["columns"]["accuracy"] == [r.accuracy for r in records]
    assert known["columns"]["data"] == {"all": "mine"}
    for row, (params, macs) in zip(records, known["cost_shares"], strict=True):
        assert (sum(params), sum(macs)) == (row.params, row.macs)
        assert len(params) == 5


def test_commands_name_the_run_where_it_is_known(tmp_path: Path) -> None:
    write_table(tmp_path / "trials.csv", many(12))
    (alone,) = read_studies([tmp_path / "trials.csv"])
    (within,) = read_studies([tmp_path])
    html, html_alone = page([within]), page([alone])
    train, count = json_of(html, "page-data")["commands"][3]
    assert train == f"nas-budget train --study {tmp_path} --trial 3"
    assert count.startswith("nas-budget count --channels ")
    train, _ = json_of(html_alone, "page-data")["commands"][3]
    assert train.startswith("nas-budget train --channels ")
    assert "nas-budget export" in words(html)
    assert "nas-budget export" not in words(html_alone)


@pytest.mark.parametrize(
    "records",
    [
        [record(state="pruned", accuracy=0.3)],
        [record(state="pruned", accuracy=None, curve="")],
        [record(state="failed", accuracy=None, curve="")],
        [record(0, state="failed", accuracy=None, curve=""), record(1, state="failed", accuracy=None, curve="")],
    ],
)
def test_without_a_complete_trial_the_page_says_so(tmp_path: Path, records: list[TrialRecord]) -> None:
    text = seen(tmp_path, records)
    assert "No trial has been trained to the end yet" in text
    assert "0 complete" in text
    assert "nan" not in text.lower()


def test_the_page_is_drawn_without_predictions_that_are_damaged(tmp_path: Path) -> None:
    write_table(tmp_path / "trials.csv", mixed())
    band, said = "what the search's model expects", "cannot be read as a table of predictions"
    for text, drawn, complains in (
        ("", False, False),
        ("params,accuracy,deviation,spec\n9000,0.5,0.1,{}\n", True, False),
        ("params,accuracy\n9000", False, True),
    ):
        if text:
            (tmp_path / "predictions.csv").write_text(text)
        shown = unescape(words(page(read_studies([tmp_path]))))
        assert (band in shown, said in shown) == (drawn, complains)
    (alone,) = read_studies([tmp_path / "trials.csv"])  # a table that was copied may lie beside those of another
    assert not alone.problem


def test_studies_are_put_side_by_side(tmp_path: Path) -> None:
    studies = [
        *study_of(tmp_path / "a", mixed(study="one")),
        *study_of(tmp_path / "b", many(12, study="two", validation_images=500, device="another")),
    ]
    text = words(page(studies))
    assert "2 studies side by side" in text
    assert "75.3% ± 2.7%" in text
    assert "6 of 8" not in text
    assert "5 of 8" in text
    assert "the studies differ in validation images, epochs, device." in text
    assert "4,000 + 1,000 6" in text
    assert "4,000 + 500 8" in text
    assert "one and two" in text
    third = study_of(tmp_path / "c", mixed(study="three"))
    assert "one, two and three" in words(page([*studies, *third]))


def test_each_study_has_its_own_images_and_trials(tmp_path: Path) -> None:
    studies = [
        *study_of(tmp_path / "a", many(60, study="one", data="cifar10")),
        *study_of(tmp_path / "b", many(90, study="two", data="cifar10", images=9_000)),
    ]
    text = words(page(studies))
    assert "the trials here for 8 epochs on 4,000 images (one), 8 epochs on 9,000 images (two)." in text
    assert (
        "over the 50 trials trained to the end (each study by itself, if it has 16 of them: 20 of one, 30 of two)."
        in text
    )
    assert "the trials here for 8 epochs on 4,000 images." in words(page(studies[:1]))


def test_studies_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in "a", "b":
        study_of(tmp_path / name, mixed(study="same"))
    names = [study.name for study in read_studies([tmp_path / "a", tmp_path / "b"])]
    assert names == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_a_place_that_cannot_be_written_is_said_and_nothing_left_behind(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError, match=r"report.html: cannot be written \([^\n]*\)$"):
        write_page(study_of(tmp_path, mixed()), tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "trials.csv"]


def test_the_workers_of_several_machines_are_a_table_and_their_names_are_escaped(tmp_path: Path) -> None:
    write_table(tmp_path / "trials.csv", many(30))
    (alone,) = read_studies([tmp_path])
    assert "The workers" not in words(page([alone]))
    here = WorkerRecord(
        "aa-0", "hive", 0, "a CPU", "0 1", 1, 61.0, "trial 31", 2, 20, "2026-01-01T20:10:00+00:00"
    )  # fmt: skip
    write_workers(tmp_path / "workers.csv", [here, replace(here, host="<script>nest", worker="bb-0", trains="")])
    (found,) = read_studies([tmp_path])
    html = page([found])
    shown = unescape(words(html))
    assert "hive 0 aa-0 a CPU trial 31, epoch 2 of 20 3 1 min 1 s 2026-01-01 20:10:00" in shown
    assert "<script>nest 0 bb-0" in shown
    assert "<script>nest" not in html
    assert "ago" in words(workers_table(found.workers, live=True))
    (tmp_path / "workers.csv").write_text("no table")
    (damaged,) = read_studies([tmp_path])
    assert "workers.csv: cannot be read" in damaged.problem
    assert "The workers" not in words(page([damaged]))
