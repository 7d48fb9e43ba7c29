"""The main job from the command line, also when it is interrupted."""

from __future__ import annotations

import csv
import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import psutil
import pytest
from filelock import FileLock

from nas_budget.report.tables.trials import read_table
from nas_budget.search import open_study
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.tables import versions
from nas_budget.search.workers import search_runner
from nas_budget.train.data.dataset import Dataset
from tests.cli.processes import start, wait_until
from tests.conftest import Run, save_npz, sets
from tests.search.studies import make


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_search_ends_with_a_best_network_and_its_page(run: Run, quick: list[object], tmp_path: Path) -> None:
    ran = run(*quick, "--trials", 5, "--name", "first")
    assert ran.code == 0, ran.err
    assert "study    first (new)" in ran.err and "chosen for this device" in ran.err
    assert "best: " in ran.out
    folder = tmp_path / "first"
    assert {p.name for p in folder.iterdir()} == {
        ".lock", ".turn.lock", "best.json", "predictions.csv", "report.html", "settings.json", "study.journal",
        "trials", "trials.csv",
    }  # fmt: skip
    assert "</html>" in (folder / "report.html").read_text()
    assert run("count", folder / "best.json", "--budget", "20k").code == 0
    assert run("report", folder).code == 0


def test_a_plan_says_which_images_fill_no_batch(run: Run, quick: list[object]) -> None:
    plan = run(*quick, "--name", "m", "--proxy", "none", "--dry-run", *sets("recipe.batch_size=120")).out
    assert (
        "NOTE: each epoch leaves out 80 of the 200 images, which fill no batch of 120; --set recipe.batch_size=" in plan
    )


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """The system refuses to make a file longer than this within it, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
def test_a_page_that_could_not_be_written_is_not_among_the_files(run: Run, quick: list[object], tmp_path: Path) -> None:
    asked = [*quick, "--trials", 2, "--name", "full"]
    page = tmp_path / "full" / "report.html"
    with files_of_at_most(500_000):
        ran = run(*asked)
    assert ran.code == 0, ran.err
    assert "the page was not written (" in ran.err
    assert f"{page}: cannot be written (File too large))" in ran.err
    assert "best.json" in ran.out and "report.html" not in ran.out
    assert not page.exists()
    with files_of_at_most(500_000):
        assert [*run(*asked, "--json").json["files"]] == ["trials.csv", "best.json"]
    assert f"best.json, {page}" in run(*asked).out


def test_a_search_by_proxies_says_so_and_answers_at_full_size(run: Run, quick: list[object], tmp_path: Path) -> None:
    options = ["--proxy", "1/2", *sets("search.ladder=[1] space.width=[7,12]"), "--workers", 1]
    ran = run(*quick, "--trials", 3, "--name", "narrow", "--pruner", "none", *options)
    assert ran.code == 0, ran.err
    assert "proxies  trials train copies at 1/2 of the width" in ran.err
    assert "the best 1 again at full width" in ran.err
    assert "on networks trained before" not in ran.out
    folder = tmp_path / "narrow"
    table = rows(folder)
    assert [row["proxy"] for row in table] == ["0.5"] * 3 + ["1.0"]
    top = max(table[:3], key=lambda row: (float(row["accuracy"]), -int(row["params"])))  # of equals, the smallest
    assert table[3]["of"] == top["number"]
    assert json.loads((folder / "best.json").read_text()) == json.loads(top["spec"])
    assert "of its proxy (1/2 of the width" in " ".join(run("show", folder, 0).out.split())
    assert "proxy" not in run("show", folder, 3).out
    assert f"next: nas-budget train --study {folder}" in ran.out
    assert "full-size" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--time", "0s"], "search.time"),
        (["--time", "soon"], "'soon' is not a time; write"),
        (
            ["--proxy", "1/8", "--set", "space.width=[8,16]"],
            "8 channels 1 wide, and 4 is the least; give 0.43",
        ),
        (["--proxy", "3"], "search.proxy"),
        (["--proxy", "half"], "'half' is no factor; write"),
        (["--set", "search.ladder=[0]"], "search.ladder"),
    ],
)
def test_a_proxy_or_time_that_makes_no_sense_is_refused(
    run: Run, quick: list[object], tmp_path: Path, options: list[str], said: str
) -> None:
    ran = run(*quick, "--trials", 3, "--name", "no", *options)
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_a_study_is_resumed_with_its_own_settings_and_data(run: Run, quick: list[object], tmp_path: Path) -> None:
    save_npz(tmp_path / "other.npz")
    assert run(*quick, "--trials", 2, "--name", "a").code == 0
    for options, words in (
        (["--seed", 5, *sets("space.growth=[1,2]")], ["search.seed is 0, not 5", "space.growth", "--name"]),
        (["--data", tmp_path / "other.npz"], ["data.name"]),
    ):
        ran = run(*quick, "--trials", 3, "--name", "a", *options)
        assert ran.code == 2
        assert [word for word in words if word not in ran.err] == []
    ran = run(*quick, "--trials", 4, "--name", "a", "--json")
    assert "resumed, 2 of 4 trials done" in ran.err
    assert ran.json["trials"]["complete"] + ran.json["trials"]["pruned"] == 4
    assert ran.json["fits"] is True
    assert len({row["spec"] for row in rows(tmp_path / "a")}) == 4


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        ("sqlite:///{}/s.db", "journal", "s: holds a study that is kept in another storage (a database)"),
        ("journal", "sqlite:///{}/s.db", "s: holds a study that is kept in its journal"),
        ("sqlite:///{}/s.db", "sqlite:///{}/new.db", "new.db holds no study s"),
    ],
)
def test_a_study_is_not_begun_anew_over_the_files_of_one_in_another_storage(
    run: Run, quick: list[object], dataset: Dataset, tmp_path: Path, first: str, then: str, said: str
) -> None:
    quiet_optuna()
    [*make(dataset, tmp_path / "s", search__storage=first.format(tmp_path), search__trials=1).events()]
    before = contents(tmp_path)
    for more in [], ["--dry-run"]:
        ran = run(*quick, "--quiet", "--name", "s", "--storage", then.format(tmp_path), *more)
        assert ran.refused(2, said)
        assert contents(tmp_path) == before


def test_a_study_that_another_process_runs_is_refused_before_its_plan(
    run: Run, quick: list[object], tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    with FileLock(tmp_path / "a" / ".lock"):
        assert run(*quick, "--name", "a").refused(1, "a: another process is running this study")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("place", "said"),
    [("foo://bucket/x", "Protocol not known: foo"), (__file__, "cannot be written")],
)
def test_a_place_of_checkpoints_that_cannot_be_used_begins_no_study(
    run: Run, quick: list[object], tmp_path: Path, place: str, said: str
) -> None:
    asked = [*quick, "--name", "a", "--storage", f"sqlite:///{tmp_path}/s.db", "--checkpoints", place]
    assert run(*asked, "--quiet").refused(2 if "://" in place else 1, said)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_prints_the_plan_and_writes_nothing(run: Run, quick: list[object], tmp_path: Path) -> None:
    ran = run(*quick, "--dry-run")
    assert ran.code == 0
    assert "every proposal here does" in ran.out
    assert "50 trials of about" in ran.out
    plan = run(*quick, "--dry-run", "--json", "--storage", f"sqlite:///{tmp_path}/new.db").json
    assert plan["settings"]["budget"]["params"] == 20_000
    assert plan["plan"]["total_s"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--budget", "10"], 3, "cheapest network"),
        (["--budget", "0"], 2, "error: --budget: "),
        (["--max-macs", "30MMACs"], 2, "--max-macs: cannot read '30MMACs'; write a number such as 5000000, 5M or 250k"),
        (["--max-weight-bytes", "five"], 2, "--max-weight-bytes: cannot read 'five'"),
        (["--max-activation-bytes", "five"], 2, "--max-activation-bytes: cannot read 'five'"),
        (["--images", "1"], 2, "data: 1 of the 500 training images"),
        (["--trials", "many", "--seed", "-1"], 2, "search.trials"),
        (["--set", "space.depth=3"], 2, "'depth' is unknown"),
        (["--set", "kernels"], 2, "section.key=value"),
        (["--device", "tpu"], 2, "device"),
        (["--precision", "fp16"], 2, "fp16"),
        (["--data", "nothing"], 2, "unknown"),
        (["--data", "nothing.npz"], 2, "no such file"),
        (["--storage", "redis"], 2, "storage"),
        (["--storage", "sqlite:////nowhere/at/all.db"], 1, "cannot be used"),
        (["--images", "100k"], 2, "training images"),
        (["nowhere.toml"], 2, "nowhere.toml"),
        (["--set", "search.rungs=[9]"], 2, "search.rungs: [9] does not go with recipe.epochs = 4"),
        (["--timeout", "soon"], 2, "search.timeout: 'soon' is not a time"),
        (["--fill", "most"], 2, "--fill most: write least:most"),
        (["--fill", "0.9:0.5"], 2, "fill: [0.9, 0.5] is empty"),
        (["--seed-spec", "nowhere.json"], 2, "--seed-spec nowhere.json: No such file"),
        (["--seed-spec", "900,900"], 2, "search.queue: 900-900, blocks 4"),
        (["--sampler", "cmaes"], 2, "search.sampler: cmaes proposes numbers"),
        (["--sampler", "best"], 2, "search.sampler: 'best'"),
        (["--target", "93"], 2, "search.target"),
        (["--storage", "postgresql+psycopg://me:secret@127.0.0.1:1/db"], 1, "me:***@127.0.0.1:1/db"),
        (["--storage", "nosql://me:secret@host/db"], 2, "nosql://me:***@host/db"),
        (["--runs-dir", __file__], 1, __file__),
    ],
)
def test_what_cannot_be_done_is_said_in_lines_and_leaves_nothing(
    run: Run, quick: list[object], tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    ran = run(*quick, *arguments)
    assert ran.code == code
    assert any(said in line for line in ran.err.splitlines() if line.startswith("error: ")), ran.err
    assert "Traceback" not in ran.err
    assert "secret" not in ran.out + ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_who_joins_the_study_of_a_database_is_told(run: Run, quick: list[object], tmp_path: Path) -> None:
    asked = [*quick, "--trials", 1, "--name", "a", "--storage", f"sqlite:///{tmp_path}/s.db"]
    assert "shared" not in run(*asked).err
    study = optuna.load_study(study_name="a", storage=f"sqlite:///{tmp_path}/s.db")
    other = study.ask()
    for name, value in {"worker": "a", "host": "hive"}.items():
        other.set_user_attr(name, value)
    assert "shared   trials are under way on hive: this command works beside them" in run(*asked, "--dry-run").out


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["journal", "sqlite:///{}/s.db"])
def test_who_resumes_a_study_of_other_versions_is_told(
    run: Run, quick: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    asked = [*quick, "--trials", 1, "--name", "a", "--storage", storage.format(tmp_path)]
    assert run(*asked).code == 0
    assert "NOTE" not in run(*asked, "--dry-run").err
    ours = versions()
    for module in open_study, search_runner:
        monkeypatch.setattr(module, "versions", lambda: "nas-budget 9.9.9")
    told = f"NOTE: study a was trained with {ours}, and here is nas-budget 9.9.9; each trial says with which"
    assert told in run(*asked, "--dry-run").err.splitlines()
    assert told in run(*asked).err.splitlines()
    assert "NOTE" not in run(*asked, "--dry-run").err  # what it is trained with now


@pytest.mark.slow
def test_a_network_can_be_tried_first(run: Run, quick: list[object], tmp_path: Path) -> None:
    assert run(*quick, "--trials", 1, "--name", "a", "--seed-spec", "4,6").code == 0
    assert rows(tmp_path / "a")[0]["channels"] == "4-6"
    best = tmp_path / "a" / "best.json"
    assert run(*quick, "--trials", 1, "--name", "b", "--seed-spec", best).code == 0
    assert rows(tmp_path / "b")[0]["spec"] == rows(tmp_path / "a")[0]["spec"]


@pytest.mark.slow
def test_a_search_near_the_budget_uses_it(run: Run, quick: list[object], tmp_path: Path) -> None:
    assert run(*quick, "--trials", 6, "--name", "near", "--fill", "0.8:1", "--set", "space.width=[4,64]").code == 0
    assert all(int(row["params"]) >= 14_000 for row in rows(tmp_path / "near"))


@pytest.mark.slow
def test_finalists_are_compared_and_the_time_accounted_for(run: Run, quick: list[object], tmp_path: Path) -> None:
    ran = run(*quick, "--trials", 3, "--name", "f", "--finalists", 2, "--seeds", 2, "--json")
    assert [f["n_runs"] for f in ran.json["finalists"]] == [2, 2]
    assert ran.json["finalists"][0]["tie"]
    assert ran.json["seconds"]["finalists"] > 0
    again = run(*quick, "--trials", 3, "--name", "f", "--finalists", 2, "--seeds", 2)
    assert "finalists, each trained 2 more times; ± is half of the 95 % interval" in again.out
    assert "on finalists" in again.out
    assert "The finalists" in (tmp_path / "f" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_interrupted_search_loses_nothing_and_leaves_no_process(
    run: Run, quick: list[object], tmp_path: Path, how: signal.Signals, workers: int
) -> None:
    folder, n_trials = tmp_path / "a", 6 * workers + 2
    arguments = [*quick, "--trials", n_trials, "--name", "a", "--pruner", "none", "--workers", workers]
    process = start(*arguments)
    wait_until(lambda: (folder / "trials" / str(2 * workers)).exists() and len(rows(folder)) >= 2)
    children = psutil.Process(process.pid).children(recursive=True)
    # Ctrl-C and a closed terminal reach every process, and a job manager's SIGTERM does as well.
    for interrupted in (*children, process) if how != signal.SIGKILL else [process]:
        interrupted.send_signal(how)
    _out, err = process.communicate(timeout=120)
    if how != signal.SIGKILL:
        assert process.returncode == 128 + how
        assert "nothing is lost. Resume with: nas-budget search" in err
        assert "Traceback" not in err
        assert (folder / "report.html").exists()
    assert not psutil.wait_procs(children, timeout=60)[1]
    done = len(rows(folder))
    assert 2 <= done < n_trials
    ran = run(*arguments)
    assert ran.code == 0, ran.err
    assert workers > 1 or f"resumed, {done} of {n_trials}" in ran.err
    ended = rows(folder)
    assert [int(row["number"]) for row in ended] == list(range(n_trials))
    assert len({row["spec"] for row in ended}) == n_trials


@pytest.mark.slow
def test_every_kind_of_network_can_be_searched(run: Run, quick: list[object], tmp_path: Path) -> None:
    options = sets("space.se_reduction=[0,4] space.stem_width=[0,6] space.strides=[1,2] space.first_stride=[2]")
    options += sets('space.block=["basic","preact","bottleneck"]')
    ran = run(*quick, *options, "--trials", 12, "--sampler", "random", "--name", "kinds", "--quiet")
    assert ran.code == 0, ran.err
    table = read_table(tmp_path / "kinds")
    assert set(table["block"]) == {"basic", "preact", "bottleneck"}
    assert set(table["se_reduction"]) == {0, 4}
    assert (table["params"] <= 20_000).all()
    assert not table["spec"].duplicated().any()


@pytest.mark.slow
def test_a_search_keeps_a_limit_on_latency_up_to_the_certificate(
    run: Run, quick: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas_budget.train.profile.layer_timing.LAYER_S", 0.0)
    monkeypatch.setattr("nas_budget.train.profile.layer_timing.NETWORK_S", 0.0)
    asked = [*quick, "--trials", 2, "--name", "timed", "--proxy", "none", "--workers", 1, "--max-latency", "1s"]
    ran = run(*asked)
    assert ran.code == 0, ran.err
    assert "timing layers on this device" in ran.err and "1,000 ms of predicted latency" in ran.err
    assert "measured on this device: " in ran.out and "ms predicted, off by " in ran.out
    folder = tmp_path / "timed"
    assert (folder / "latency.csv").read_text().splitlines()[1].startswith("kind,in_channels")
    assert all(0 < float(row["predicted_latency_s"]) <= 1 for row in rows(folder))
    assert {row["budget_latency_ns"] for row in rows(folder)} == {"1000000000"}
    assert "of 1,000 ms of predicted latency" in run("show", folder).out
    assert "of 1,000 ms of predicted latency" in run("show", folder, 0).out
    again = run(*asked)  # with what was measured before
    assert again.code == 0 and "timing layers" not in again.err, again.err
    other = run(*asked[:-1], "2s")
    assert "budget.latency_ns is 1000000000, not 2000000000" in other.err
    trained = run(
        "train", "--study", folder, "--runs-dir", tmp_path, "--name", "whole", *quick[1:3], "--recipe", "study"
    )
    assert trained.code == 0, trained.err
    certificate = run("export", tmp_path / "whole", "--json").json
    assert certificate["budget"]["latency_ns"] == 10**9
    assert certificate["margins"]["latency_ns"]["used"] <= 10**9
