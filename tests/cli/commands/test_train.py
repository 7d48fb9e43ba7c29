"""`train`, `evaluate` and `predict` as a user runs them."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_budget.arch.budget import FORMATS, LIMITS, Budget
from nas_budget.records.training_run import read_metrics, read_result
from nas_budget.search import epochs_in_time
from nas_budget.train.data.conversion import cache
from nas_budget.train.data.conversion.options import ReadOptions
from nas_budget.train.data.synthetic import CLASSES, draw
from nas_budget.train.profile.time_model import TimeModel
from tests.cli.processes import start, wait_until
from tests.conftest import Ran, Run, save_npz, sets
from tests.train.data.making import image_folder

BRIEF = ("--channels", "4,8", "--blocks", "1", "--strides", "2,2", "--pool", "global", "--recipe", "brief")
EARLY = Path(__file__).parent / "early_study"


@pytest.fixture
def train(run: Run, npz: Path, tmp_path: Path) -> Run:
    """A run of seconds: `train("--epochs", 2)`; options that are given go before those that are not."""
    return lambda *given: run("train", *BRIEF, "--data", npz, "--runs-dir", tmp_path, "--epochs", 2, *given)


def test_a_run_prints_its_figures_and_leaves_its_page(train: Run, tmp_path: Path) -> None:
    ran, folder = train(), tmp_path / "4-8-brief"
    assert ran.code == 0, ran.err
    result = read_result(folder)
    for said in result.in_words(), result.in_words("flipped"), f"{result.params:,} parameters":
        assert said in ran.out
    assert "100 test images read once, at the end" in ran.err
    left = {path.name for path in folder.iterdir()}
    assert left >= {"report.html", "confusion.csv", "mistakes.png", "result.json", "model.safetensors"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count('<img class="pixels" src="data:image/png;base64,') == len(result.mistakes)
    assert f"nas-budget evaluate {folder}" in page
    again = train()
    assert again.out == ran.out
    assert "this run is finished; nothing was trained" in again.err
    assert train("--name", "4-8-brief", "--epochs", 3).refused(2, "recipe.epochs was 2, not 3")


def test_json_is_the_result_with_means(train: Run) -> None:
    written = train("--seeds", 2, "--json").json
    assert [seed["seed"] for seed in written["seeds"]] == [0, 1]
    assert written["accuracy"]["mean"] == pytest.approx(np.mean([seed["accuracy"] for seed in written["seeds"]]))
    assert written["accuracy"]["deviation"] is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weight_format", "kilobytes", "activation_format"), [("fp16", 12, "fp32"), ("int8", 6, "int8")]
)
def test_the_limits_of_a_study_stay_with_its_network_to_the_certificate(
    run: Run, train: Run, quick: list[object], tmp_path: Path, weight_format: str, kilobytes: int,
    activation_format: str,
) -> None:  # fmt: skip
    limits = ["--budget", "6k", "--max-macs", "400k", "--max-weight-bytes", f"{kilobytes}kB"]
    limits += ["--weight-format", weight_format, "--activation-format", activation_format]
    assert run(*quick, *limits, "--max-activation-bytes", "90k", "--trials", 1).code == 0
    (study,) = [path.parent for path in tmp_path.glob("*/trials.csv")]
    ran = run("train", "--study", study, "--runs-dir", tmp_path, "--epochs", 1, "--name", "kept")
    assert ran.code == 0, ran.err
    weights = f"{kilobytes},000 bytes of {weight_format} weights"
    activations = "activations" if activation_format == "fp32" else f"{activation_format} activations"
    words = f"6,000 parameters, 400,000 MACs, {weights}, 90,000 bytes of {activations}"
    budget = {"params": 6_000, "macs": 400_000, "weight_bytes": 1_000 * kilobytes, "activation_bytes": 90_000}
    budget |= {"weight_format": weight_format, "activation_format": activation_format}
    assert {*LIMITS, *FORMATS} == {*budget, "latency_ns"}  # a limit on latency has a test with the search
    assert f"limits   {words}" in ran.err
    folder = tmp_path / "kept"
    settings = json.loads((folder / "run.json").read_text())
    assert {key: settings[f"budget.{key}"] for key in budget} == budget
    assert read_result(folder).budget == budget
    certificate = run("export", folder, "--json").json
    assert certificate["budget"] == budget
    assert set(certificate["margins"]) == {"params", "macs", "weight_bytes", "activation_bytes"}
    shown = run("show", folder)
    assert f"limits   {words}" in " ".join(shown.out.split()).replace("limits ", "limits   ")
    assert shown.out.count("fits: ") == 4
    assert run("show", folder, "--json").json["margins"] == certificate["margins"]
    (entry,) = [one for one in run("ls", tmp_path, "--json").json if one["name"] == "kept"]
    assert entry["budget"] == budget
    assert words in (folder / "report.html").read_text(encoding="utf-8")
    again = run("train", "--study", study, "--runs-dir", tmp_path, "--epochs", 1, "--name", "kept", "--budget", "7k")
    assert again.code == 2
    assert "budget.params was 6000, not 7000" in again.err


def test_a_spec_file_in_the_folder_of_a_study_brings_its_limits(
    run: Run, train: Run, quick: list[object], npz: Path, tmp_path: Path
) -> None:
    assert run(*quick, "--max-macs", "400k", "--trials", 1).code == 0
    (best,) = tmp_path.glob("*/best.json")
    ran = run("train", best, "--data", npz, "--runs-dir", tmp_path, "--dry-run")
    assert "limits   20,000 parameters, 400,000 MACs" in ran.out, ran.err
    (tmp_path / "alone.json").write_text(best.read_text())
    ran = run("train", tmp_path / "alone.json", "--data", npz, "--runs-dir", tmp_path, "--dry-run")
    assert "limits   5,000,000 parameters\n" in ran.out


def test_a_run_without_a_study_keeps_the_limits_that_it_was_given(train: Run, run: Run, tmp_path: Path) -> None:
    assert train("--budget", "none", "--max-weight-bytes", "1MB", "--quiet").code == 0
    folder = tmp_path / "4-8-brief"
    made = run("export", folder, "--json").json
    assert [*made["margins"]] == ["weight_bytes"]
    assert train("--name", "default", "--quiet").code == 0
    assert read_result(tmp_path / "default").budget == Budget().to_dict()  # as the help says


def test_a_run_of_before_without_limits_is_shown_and_resumed(train: Run, run: Run, tmp_path: Path) -> None:
    train("--quiet")
    folder = tmp_path / "4-8-brief"
    for name in "result.json", "run.json":
        values = json.loads((folder / name).read_text())
        kept = {key: value for key, value in values.items() if not key.startswith("budget")}
        (folder / name).write_text(json.dumps(kept))
    assert read_result(folder).budget is None
    shown = run("show", folder)
    assert shown.code == 0
    assert "limits" not in shown.out
    assert train("--seeds", 2, "--quiet").code == 0
    assert read_result(folder).budget == Budget().to_dict()


def test_a_dry_run_writes_nothing(train: Run, tmp_path: Path) -> None:
    ran = train("--dry-run")
    assert "recipe   brief: muon, learning rate 0.05, batch 64, 2 epochs" in ran.out
    assert train("--dry-run", "--json").json["recipe.epochs"] == 2
    assert "NOTE" not in ran.out
    said = "NOTE: each epoch leaves out 150 of the 450 images, which fill no batch of 300; --set recipe.batch_size=225"
    assert said in train("--dry-run", *sets("recipe.batch_size=300")).out
    assert list(tmp_path.iterdir()) == []


def test_a_time_gives_the_epochs_and_a_resumed_run_keeps_them(
    run: Run, npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(time: str, *given: object, epoch_s: float = 20) -> Ran:
        speed = TimeModel(per_image=epoch_s / (7 * 64 + 50 / 3))
        monkeypatch.setattr(epochs_in_time, "calibrate", lambda *_, **__: speed)
        return run("train", *BRIEF, "--data", npz, "--runs-dir", tmp_path, "--time", time, *given)

    plan = "time     about 40 s of training, from a few timed steps: 2 epochs in 1m; twice the time: 5 epochs"
    assert plan in train("60s", "--dry-run").out
    assert train("1m", "--dry-run", "--json").json["recipe.epochs"] == 2
    ran = train("1m")
    assert (ran.code, read_result(tmp_path / "4-8-brief-1m").recipe["epochs"]) == (0, 2), ran.err
    again = train("1m", epoch_s=1)
    assert again.out == ran.out
    assert "time     none: all 2 epochs are done" in again.err
    more = train("1m", "--seeds", 2, "--dry-run", epoch_s=2)
    left = "about 4 s of training left, after 2 of 4 epochs; the run keeps its 2 epochs, chosen for 1m"
    assert left in more.out
    assert train("2m", "--name", "4-8-brief-1m").refused(2, "time was 1m, not 2m")
    assert train("1m", "--name", "other", epoch_s=100).refused(2, "an epoch takes about 1 min 40 s here")


def test_the_limit_is_the_studys_unless_a_file_or_an_option_gives_another(
    run: Run, quick: list[object], tmp_path: Path
) -> None:
    run(*quick, "--trials", 4, "--name", "s", "--pruner", "none", "--quiet")
    study, recipe = ("train", "--study", tmp_path / "s", "--dry-run", "--json"), tmp_path / "mine.toml"
    recipe.write_text("[recipe]\nepochs = 3\n")
    plain, mine = run(*study).json, run(*study, recipe).json
    assert (mine["spec.channels"], mine["data"], mine["recipe.epochs"]) == (plain["spec.channels"], plain["data"], 3)
    recipe.write_text('[budget]\nparams = "1"\n')
    assert "s: of its 4 networks trained to the end none is within 1 parameters" in run(*study, recipe).err
    assert run(*study, recipe, "--budget", "20k").json["spec.channels"] == plain["spec.channels"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("", 2, "no network given"),
        ("--blocks 2", 2, "--blocks: goes with --channels"),
        ("--trial 3", 2, "go with --study"),
        ("--channels 8 --study x", 2, "the network is given twice"),
        ("--study nowhere", 2, "nowhere: no such folder"),
        ("a.txt", 2, "a.txt: not expected"),
        (str(EARLY), 2, f"; a study goes with --study {EARLY}"),
        ("--channels 32 64 96", 2, "commas between their values: --channels 32,64,96"),
        ("--channels 900,900", 3, "OVER BUDGET"),
        ("--channels 8 --recipe best", 2, "recipe.name: 'best': input should be"),
        ("--channels 8 --set recipe.ema=2", 2, "recipe.ema: 2"),
        ("--channels 8 --images 90k", 2, "lower data.images"),
        ("--channels 8 --set recipe.crop_pad=40", 2, "recipe.crop_pad: 40 is too much"),
        ("--channels 8 --precision fp16 --device cpu", 2, "fp16 on a CPU"),
        ("--channels 8 --time 2h --epochs 3", 2, "--time 2h: recipe.epochs is 3 already"),
        ("--channels 8 --time soon", 2, "--time: 'soon' is not a time; write"),
        ("--channels 8 --time 0h", 2, "--time 0h: no time at all; give one above 0"),
        ("--channels 8 --graph --device cpu", 2, "--graph: needs a CUDA GPU"),
    ],
)
def test_mistakes_are_one_line(run: Run, tmp_path: Path, arguments: str, code: int, words: str) -> None:
    assert run("train", *arguments.split(), "--data", "shapes", "--runs-dir", tmp_path).refused(code, words)
    assert not list(tmp_path.glob("*/run.json"))


def test_the_best_of_a_search_gets_its_long_run(run: Run, npz: Path, tmp_path: Path) -> None:
    small = sets("space.width=[4,8] space.stages=[2,2] space.blocks=1")
    brief = ("--data", npz, "--images", 60, "--epochs", 1, "--runs-dir", tmp_path)
    assert run("search", "--trials", 2, "--budget", "20k", *small, *brief, "--name", "s").code == 0
    best = json.loads((tmp_path / "s" / "best.json").read_text())
    for source in (["--study", tmp_path / "s"], [tmp_path / "s" / "best.json"]):
        ran = run("train", *source, "--recipe", "brief", *brief, "--json")
        assert ran.code == 0, ran.err
        assert ran.json["spec"] == best
    its_own = ["--images", 60, "--epochs", 1, "--runs-dir", tmp_path]  # the data are the study's
    ran = run("train", "--study", tmp_path / "s", "--trial", 0, "--recipe", "study", *its_own, "--json")
    assert ran.json["data"] == str(npz)
    assert ran.json["recipe"]["name"] == "study"
    assert ran.json["name"] == "s-trial0-study"


def test_evaluate_agrees_with_the_run_and_tells_what_does_not_fit(run: Run, train: Run, tmp_path: Path) -> None:
    train("--set", "recipe.ema=0.2", "--precision", "fp32")  # as evaluate has it
    (seed,) = read_result(tmp_path / "4-8-brief").seeds
    evaluate = ("evaluate", tmp_path / "4-8-brief")
    plain, ema = (run(*evaluate, "--json", *more).json for more in ([], ["--ema"]))
    assert (plain["accuracy"], plain["flipped"]) == (pytest.approx(seed.accuracy), pytest.approx(seed.flipped))
    assert ema["accuracy"] == pytest.approx(seed.ema)
    assert (plain["images"], plain["part"], ema["weights"]) == (100, "test", "ema")
    assert "of 500 train images" in run(*evaluate, "--part", "train").out
    save_npz(tmp_path / "more.npz", classes=np.array([f"c{i}" for i in range(12)]))
    ran = run(*evaluate, "--data", tmp_path / "more.npz")
    assert (ran.code, ran.out) == (2, "")
    assert "12 classes, c0, c1, c2, c3, c4 and 7 more; the network knows 10, disk, ring" in ran.err
    assert run(*evaluate, "--part", "all").refused(2, "allowed are test, train")
    assert run("evaluate", tmp_path / "nowhere").refused(2, "nowhere: no such folder")


@pytest.mark.parametrize(("names", "is_noted"), [(CLASSES[::-1], False), ([*"0123456789"], True)])
def test_classes_are_told_by_name_and_by_place_where_names_are_numbers(
    run: Run, train: Run, tmp_path: Path, names: Sequence[str], is_noted: bool
) -> None:
    train()
    named = {str(name): i for i, name in enumerate(names)}
    place = np.array([named.get(name, i) for i, name in enumerate(CLASSES)])
    train_labels, test_labels = (place[draw(n, seed)[1]] for n, seed in ((500, 5), (100, 6)))
    save_npz(tmp_path / "as.npz", classes=np.array(names), train_labels=train_labels, test_labels=test_labels)
    evaluate = ("evaluate", tmp_path / "4-8-brief", "--json")
    own, other = run(*evaluate), run(*evaluate, "--data", tmp_path / "as.npz")
    assert (other.json["accuracy"], other.json["confusion"]) == (own.json["accuracy"], own.json["confusion"])
    assert ("NOTE: classes are taken by their places" in other.err) == is_noted


def test_images_that_have_changed_or_are_gone_are_not_those_to_test_on(
    run: Run, train: Run, npz: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.npz"
    shutil.copy(npz, own)
    train("--data", own)
    folder, copied = tmp_path / "4-8-brief", tmp_path / "elsewhere" / "model.safetensors"
    copied.parent.mkdir()
    shutil.copy(folder / "model.safetensors", copied)
    assert run("evaluate", folder, "--part", "train").code == 0
    save_npz(own, test_labels=np.zeros(100, int))
    for source in folder, copied:
        assert run("evaluate", source).refused(2, f"own.npz: the images have changed since {source} was trained")
    exported = run("export", folder, "--format", "onnx-int8")
    assert "the images have changed since" in exported.err or "pip install" in exported.err
    assert run("evaluate", folder, "--data", own).code == 0
    own.unlink()
    said = f"{own}: no such file or folder; {folder} was trained on it: give images by --data"
    assert run("evaluate", folder).refused(2, said)


@pytest.mark.parametrize(("options", "fit"), [("", "pad"), (",fit=crop", "crop")])
def test_other_images_become_squares_as_those_of_the_training_did(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, fit: str
) -> None:
    pets = image_folder(tmp_path / "pets", each=10)
    kept = ("--data-dir", tmp_path / "store", "--runs-dir", tmp_path)
    few = ("--epochs", 1, *sets("recipe.batch_size=4 recipe.crop_pad=1"))
    assert run("train", *BRIEF, "--data", f"{pets},fit=pad", *few, *kept).code == 0
    seen: list[object] = []
    convert = cache.convert
    monkeypatch.setattr(cache, "convert", lambda raw, how, *more: seen.append(how) or convert(raw, how, *more))
    other = image_folder(tmp_path / "other", each=10, seed=1, size=12)
    ran = run("evaluate", tmp_path / "4-8-brief", "--data", f"{other}{options}", *kept[:2])
    assert ran.code == 0, ran.err
    assert seen == [ReadOptions(8, 3, fit)]


def test_predict_tells_classes_with_probabilities(run: Run, train: Run, tmp_path: Path) -> None:
    train()
    images, _ = draw(2, 9)
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    Image.fromarray(images[1]).resize((64, 48)).save(tmp_path / "b.png")
    ran = run("predict", tmp_path / "4-8-brief", tmp_path / "a.png", tmp_path / "b.png", "--top", 10, "--json")
    first, second = ran.json
    assert sum(first["classes"].values()) == pytest.approx(1, abs=1e-5)
    assert list(first["classes"].values()) == sorted(first["classes"].values(), reverse=True)
    assert (first["changes"], second["changes"]) == ("", "resized from 64x48, the middle 48x48 of it")
    assert "b.png: resized from 64x48" in ran.err
    text = run("predict", tmp_path / "4-8-brief", tmp_path / "a.png").out
    assert next(iter(first["classes"])) in text
    assert run("predict", tmp_path / "4-8-brief", tmp_path / "c.png").err.startswith("error: ")


def command(npz: Path, folder: Path, name: str) -> list[object]:
    """A run that gives the same figures each time."""
    sized = "--channels 8,16 --recipe strong --epochs 6 --set recipe.batch_size=50 --deterministic --threads 1 --json"
    return ["train", *sized.split(), "--data", npz, "--runs-dir", folder, "--name", name]


@pytest.mark.slow
def test_a_run_killed_between_two_epochs_ends_as_one_that_was_not(run: Run, npz: Path, tmp_path: Path) -> None:
    whole, killed = (command(npz, tmp_path, name) for name in ("whole", "killed"))
    for epochs in 2, 4:
        with start(*killed) as process:
            wait_until(lambda epochs=epochs: len(read_metrics(tmp_path / "killed")) >= epochs)
            process.kill()
    assert not (tmp_path / "killed" / "result.json").exists()
    (a,), (b,) = (run(*arguments).json["seeds"] for arguments in (whole, killed))
    for key in "accuracy", "flipped", "ema", "ema_flipped", "loss", "digest", "validation_accuracy":
        assert a[key] == b[key], key
    first, second = ([row.train_loss for row in read_metrics(tmp_path / name)] for name in ("whole", "killed"))
    assert first == second


@pytest.mark.slow
def test_ctrl_c_says_how_to_resume(npz: Path, tmp_path: Path) -> None:
    with start(*command(npz, tmp_path, "x")) as process:
        wait_until(lambda: bool(read_metrics(tmp_path / "x")))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"stopped; resumes after epoch \d of seed 0. Resume with: nas-budget train", err)


def test_the_layers_are_shown_on_request(train: Run) -> None:
    ran = train("--dry-run", "--layers")
    assert ran.code == 0, ran.err
    assert "Conv2d: " in ran.out
    params = re.search(r"([\d,]+) parameters", ran.out)
    assert params
    assert f"Trainable params: {params[1]}" in ran.out
    assert "Conv2d" not in train("--dry-run").out
