"""From images as people have them to a submission file, in four commands, without a line of Python."""

from __future__ import annotations

import csv
import pickle
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from nas_budget.train.data.synthetic import CLASSES, draw
from tests.conftest import Run, sets
from tests.train.data.making import cifar10, pictures

SMALL = sets("space.stages=[2,2] space.width=[4,8] space.blocks=1 space.pool=['global'] recipe.batch_size=20")
BRIEF = ("--budget", "20k", "--epochs", 1)


PAGE = Path(__file__).parents[3] / "docs/how-to/competition.md"


def submission(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def four_commands(run: Run, data: Path, test_set: Path, folder: Path, *options: object) -> list[dict[str, str]]:
    """The rows of the submission that the four commands of the page make, with options that make them brief."""
    store = ("--data-dir", folder / "store")
    more = {
        "data": store,
        "search": (*BRIEF, "--trials", 2, *SMALL, *options, *store),
        "train": ("--epochs", 1, *sets("recipe.batch_size=20"), *store),
        "predict": ("--columns", "ID,Labels", "--mirrored"),
    }
    block = re.search(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert block
    commands = [shlex.split(line, comments=True)[1:] for line in block[1].splitlines()]
    assert [command[0] for command in commands] == [*more]
    given = {"photos": data, "test.pkl": test_set}
    for command in commands:
        ran = run(*[given.get(word, word) for word in command], *more[command[0]])
        assert ran.code == 0, ran.err
    return submission(Path("submission.csv"))


@pytest.mark.slow
def test_from_a_folder_of_jpeg_files(run: Run, tmp_path: Path) -> None:
    images, labels = draw(300, 5)
    for part, several in ("photos", range(200)), ("unknown", range(200, 230)):
        for number in several:
            folder = tmp_path / part / (CLASSES[labels[number]] if part == "photos" else "")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[number]).resize((44, 40)).save(folder / f"{number}.jpg", quality=90)
    validation = sets("data.validation_images=20")
    rows = four_commands(run, tmp_path / "photos", tmp_path / "unknown", tmp_path, *validation)
    assert [row["ID"] for row in rows] == [f"{number}.jpg" for number in range(200, 230)]
    assert {row["Labels"] for row in rows} <= {*CLASSES}


@pytest.mark.slow
def test_from_the_pickles_of_cifar_and_a_pickled_test_set(run: Run, tmp_path: Path) -> None:
    data = cifar10(tmp_path / "cifar-10-batches-py", 40)
    unknown = pictures(25, 32, 3, seed=9).transpose(0, 3, 1, 2).reshape(25, -1)
    (tmp_path / "test.pkl").write_bytes(pickle.dumps({b"data": unknown, b"ids": list(range(100, 125))}))
    rows = four_commands(run, data, tmp_path / "test.pkl", tmp_path, *sets("data.validation_images=50"))
    assert [row["ID"] for row in rows] == [str(number) for number in range(100, 125)]
    names = (data / "batches.meta").read_bytes()
    assert all(row["Labels"].encode() in names for row in rows)
