"""The family of docs/how-to/own-family.md, searched, resumed, shown, trained in full, evaluated and exported."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import Run, sets

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[3] / "docs/how-to/own-family.md"


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page's example as a module of the working folder, under a name of its own."""
    found = re.search(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    assert len(found[1].splitlines()) <= 60
    (tmp_path / "my_vit.py").write_text(found[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_vit", raising=False)
    return "my_vit:ViT"


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))


def test_the_example_from_search_to_export(
    run: Run, family: str, npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ["--data", npz, "--images", 100, *sets("data.validation_images=50 recipe.batch_size=50"), "--epochs", 1]
    search = ["search", "--family", family, "--budget", "20k", *images, "--name", "vit", "--workers", 1]
    ran = run(*search, "--trials", 3)
    assert ran.code == 0, ran.err
    assert "space    my_vit:ViT: patch 8 or 4; depth 2, 3, 4 or 6" in ran.err
    assert "proxies  none: networks of a family of your own are trained themselves" in ran.err
    folder = tmp_path / "runs/vit"
    first = rows(folder)
    ran = run(*search, "--trials", 4, "--finalists", 1, "--seeds", 1)
    assert ran.code == 0, ran.err
    assert "resumed, 3 of 4 trials done" in ran.err
    table = rows(folder)
    assert table[:3] == first and len(table) == 4
    assert all(int(row["params"]) <= 20_000 and row["channels"] == row["depth"] == "" for row in table)
    values = [json.loads(row["spec"])["values"] for row in table]
    assert len({str(one) for one in values}) == 4

    shown = run("show", folder)
    assert f"patch {json.loads((folder / 'best.json').read_text())['values']['patch']}, depth" in shown.out
    assert run("show", folder, 1).code == run("show", folder, 1, "--json").code == run("ls", "runs").code == 0
    assert run("report", folder).code == 0
    page = (folder / "report.html").read_text()
    assert '"dimensions":["patch","depth","mlp_ratio","width"]' in page.replace(": ", ":").replace(", ", ",")

    ran = run("train", "--study", folder, "--recipe", "brief", *images[:-2], "--epochs", 3, "--name", "full")
    assert ran.code == 0, ran.err
    assert "the page was not written" not in ran.err
    full = tmp_path / "runs/full"
    assert run("show", full).code == run("evaluate", full).code == 0
    ran = run("export", full, "--format", "onnx", "--format", "torch")
    assert ran.code == 0, ran.err
    assert run("export", full, "--format", "python").refused(2, "writes residual networks only")
    assert run("count", folder / "best.json").refused(2, "a network of my_vit:ViT")

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delitem(sys.modules, "my_vit")
    assert run("show", folder).code == 0
    missing = "family my_vit:ViT: there is no module 'my_vit'; start from the folder that holds it, or install it"
    assert run("train", "--study", folder, *images[:-2], "--epochs", 1).refused(2, missing)


def test_workers_of_their_own_process_find_the_family(run: Run, family: str, npz: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(f'[space]\nfamily = "{family}"\n[budget]\nparams = "20k"\n[search]\ntrials = 2\nworkers = 2\n')
    images = ["--data", npz, "--images", 100, *sets("data.validation_images=50 recipe.batch_size=50"), "--epochs", 1]
    ran = run("search", file, *images)
    assert ran.code == 0, ran.err
    assert len(rows(tmp_path / "runs/own")) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--family", "my_vit:Vit"], "my_vit has no 'Vit'; did you mean 'ViT'?"),
        (["--family", "my_vit:ViT", "--proxy", "1/2"], "networks of my_vit:ViT have no proxies"),
        (["--family", "my_vit:ViT", *sets("space.blocks=2")], "space.blocks"),
        (["--family", "my_vit:ViT", "--max-activation-bytes", "1k"], "activation_bytes: not counted"),
        (["--family", "my_vit:ViT", "--sampler", "cmaes"], "fix the choices, or take bayes or tpe"),
    ],
)
def test_what_does_not_go_with_a_family(run: Run, family: str, npz: Path, options: list[str], said: str) -> None:
    del family
    assert run("search", "--data", npz, *options).refused(2, said)


def test_a_budget_in_which_nothing_fits_says_what_the_smallest_needs(run: Run, family: str, npz: Path) -> None:
    ran = run("search", "--data", npz, "--family", family, "--budget", 500)
    assert ran.refused(3, "the network of the first choices (patch 8, depth 2, mlp_ratio 1, width 16) needs ")
