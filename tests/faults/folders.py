"""Whole folders of runs and of data sets in which one file is damaged, and who reads them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from nas_budget import Recipe
from nas_budget.errors import NasBudgetError, StoppedError
from nas_budget.records.trials import EpochResult
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.workers.trainer import Kept, _resumed
from nas_budget.train.data.dataset import open_npz
from nas_budget.train.data.image_files import read_image
from nas_budget.train.engine.checkpoint import FORMAT, load_checkpoint
from nas_budget.train.engine.model import build
from nas_budget.train.engine.run import FullTraining
from nas_budget.train.engine.run_config import RunConfig
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.engine.weights import load_tensors, save_tensors
from tests.conftest import save_npz
from tests.faults.fuzzing import (
    MOST_BYTES_OF_PICTURE,
    Target,
    changed,
    command,
    damaged,
    file_of,
    file_targets,
    read_data,
    tables,
)
from tests.search.studies import make
from tests.train.builders import CPU, SPEC, dark_or_bright, split
from tests.train.data import making

PICTURES = ("BMP", "GIF", "JPEG", "PPM", "TIFF", "WEBP")
TABLES, LINES = (".csv",), (".json", ".jsonl")
CHECKPOINT = "checkpoint-seed1.safetensors"
PAST: dict[str, Any] = {"about": {"a": 1}, "epochs": [asdict(EpochResult(1, 0.1, 0.5, 0.2, 0.3, 1.0))]}
"""What a trial keeps in its checkpoint beside what a full training does."""
DONE, LEFT = 0, 1
"""Exit codes of `doctor`: nothing is wrong any more, or something is left."""


def targets(made: Path) -> dict[str, Target]:
    """Everything that is read from outside, by name; whole files are made in a folder first."""
    return dict([*file_targets(made), *folder_targets(made)])


def folder_targets(made: Path) -> Iterator[tuple[str, Target]]:
    """Folders of searches, trainings and data sets, by name; what they are made from is trained at its first use."""
    searched = cache(lambda: _searched(made / "searched"))
    trained = cache(lambda: _trained(made / "trained"))
    for name, whole in ("a search", searched), ("a training", trained):
        one = st.deferred(lambda whole=whole: _damaged_file(whole()))  # type: ignore[misc]
        yield f"folder of {name}", Target(one, lambda folder, new, whole=whole: _doctor(folder, whole(), new), cost=4)  # type: ignore[misc]
    one = st.deferred(lambda: _damaged_file(searched(), TABLES))
    yield "page of a search", Target(one, lambda folder, new: _page(folder, searched(), new), cost=10, most_s=5.0)
    one = st.deferred(lambda: damaged([(trained() / CHECKPOINT).read_bytes()]))
    yield "checkpoint", Target(one, file_of("a.safetensors", _resume))
    one = st.deferred(lambda: changed(load_tensors(trained() / CHECKPOINT, FORMAT)[1] | PAST))
    yield "header of a checkpoint", Target(one, lambda folder, new: _resume_training(folder, trained(), new), cost=4)
    yield from _data_sets(made)


@st.composite
def _damaged_file(draw: st.DrawFn, whole: Path, endings: tuple[str, ...] = ()) -> tuple[str, bytes | None]:
    """The name of a file in a folder, and what is in it instead; None where it is gone."""
    names = sorted(str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file())
    name = draw(st.sampled_from([one for one in names if one.endswith(endings)] if endings else names))
    content = (whole / name).read_bytes()
    if not draw(st.integers(0, 20)):
        return name, None
    if name.endswith(TABLES) and draw(st.booleans()):
        return name, draw(tables(content.decode())).encode("utf-8", "replace")
    if name.endswith(LINES) and content and draw(st.booleans()):
        return name, _other_lines(draw, name, content)
    return name, draw(damaged([content]))


def _other_lines(draw: st.DrawFn, name: str, content: bytes) -> bytes:
    """JSON, or lines of it, with other values in one place."""
    parts = [content] if name.endswith(".json") else content.splitlines()
    place = draw(st.integers(0, len(parts) - 1))
    parts[place] = json.dumps(draw(changed(json.loads(parts[place])))).encode()
    return b"\n".join([*parts, b""])


def _copied(folder: Path, whole: Path, given: tuple[str, bytes | None]) -> Path:
    """A copy of the folder with the damaged file."""
    name, content = given
    copy = folder / whole.name
    shutil.copytree(whole, copy)
    (copy / name).unlink() if content is None else (copy / name).write_bytes(content)
    return copy


def _doctor(folder: Path, whole: Path, given: tuple[str, bytes | None]) -> None:
    """What is wrong is said, what is certain is repaired, and a second repair finds nothing to do."""
    copy = _copied(folder, whole, given)
    command("doctor", copy, codes=(DONE, LEFT, 2))
    command("doctor", copy, "--fix", codes=(DONE, LEFT, 2))
    before = _files(copy)
    command("doctor", copy, "--fix", codes=(DONE, LEFT, 2))
    assert _files(copy) == before, "a second repair changed the folder"
    command("show", copy, codes=(0, 2))


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _page(folder: Path, whole: Path, given: tuple[str, bytes | None]) -> None:
    command("report", _copied(folder, whole, given), "--quiet", codes=(0, 2))


def _searched(folder: Path) -> Path:
    """The folder of a search of three trials and a finalist."""
    quiet_optuna()
    folder.mkdir()
    save_npz(folder / "small.npz")
    asked = {"search__trials": 3, "search__finalists": 1, "search__finalist_seeds": 1}
    list(make(open_npz(folder / "small.npz", "small"), folder / "s", **asked).events())
    return folder / "s"


RECIPE = Recipe(learning_rate=0.1, batch_size=20, epochs=2, optimizer="adam", ema=0.2)
SETTINGS = RunConfig("t", SPEC, "own", RECIPE, 40, 20, seeds=(0, 1))


def _training(folder: Path, stop: Callable[[], bool] = lambda: False) -> FullTraining:
    return FullTraining(SETTINGS, dark_or_bright(60), folder, CPU, should_stop=stop)


def _trained(folder: Path) -> Path:
    """The folder of a full training that was ended in its second seed, with the checkpoint of that."""
    steps = iter([False] * 7)  # four of the first seed, two of the second's first epoch
    with contextlib.suppress(StoppedError):
        list(_training(folder, lambda: next(steps, True)).epochs())
    assert (folder / "result.json").exists()
    assert (folder / CHECKPOINT).exists()
    return folder


def _resume(path: Path) -> None:
    load_checkpoint(path, [_trainer()])


def _trainer() -> Trainer:
    return Trainer(build(SPEC, 1), split(40, 20), RECIPE, 1)


def _resume_training(folder: Path, whole: Path, values: Any) -> None:
    """A full training, and a trial, whose checkpoints have another header and say that they are whole."""
    copy = folder / "t"
    shutil.copytree(whole, copy)
    path = copy / CHECKPOINT
    tensors, _ = load_tensors(path, FORMAT)
    save_tensors(path, tensors, FORMAT, values if isinstance(values, dict) else {})
    kept = Kept(path, {"a": 1})
    with contextlib.suppress(NasBudgetError):
        _resumed(kept, [_trainer()], Candidate(SPEC, RECIPE))
    command("doctor", copy, codes=(DONE, LEFT, 2))
    list(_training(copy).epochs())


def _data_sets(made: Path) -> Iterator[tuple[str, Target]]:
    image = Image.fromarray(making.pictures(1, 24)[0])
    for kind in PICTURES:
        held = io.BytesIO()
        image.save(held, kind)
        yield (
            kind,
            Target(
                damaged([held.getvalue()]),
                file_of(f"a.{kind.lower()}", lambda path: read_image(path, 8, 3)),
                most_bytes=MOST_BYTES_OF_PICTURE,
            ),
        )
    for name, make_one in WHOLE.items():
        whole = cache(lambda name=name, make_one=make_one: make_one(made / name))  # type: ignore[misc]
        one = st.deferred(lambda whole=whole: _damaged_file(whole()))  # type: ignore[misc]
        yield f"folder of {name}", Target(one, lambda folder, new, whole=whole: _read_folder(folder, whole(), new))  # type: ignore[misc]
    if find_spec("pyarrow"):
        yield "Parquet", Target(st.deferred(lambda: damaged(_parquet(made))), file_of("a.parquet", read_data))


def _read_folder(folder: Path, whole: Path, given: tuple[str, bytes | None]) -> None:
    read_data(_copied(folder, whole, given))


def _stl10(folder: Path) -> Path:
    folder.mkdir()
    for part in "train", "test":
        (folder / f"{part}_X.bin").write_bytes(bytes(2 * 96 * 96 * 3))
        (folder / f"{part}_y.bin").write_bytes(bytes([1, 2]))
    (folder / "class_names.txt").write_text("cat\ndog\n")
    return folder


def _labelled(folder: Path) -> Path:
    """Pictures with a table of their labels."""
    making.image_folder(folder / "images", ("all",), 4)
    rows = "".join(f"images/all/{i}.png,{'ab'[i % 2]},{'train' if i < 2 else 'test'}\n" for i in range(4))
    (folder / "labels.csv").write_text(f"path,label,split\n{rows}")
    return folder


WHOLE: dict[str, Callable[[Path], Path]] = {
    "pictures": lambda folder: making.image_folder(folder, each=2),
    "a table and pictures": _labelled,
    "MNIST": lambda folder: making.mnist(folder, n=4),
    "CIFAR-10": lambda folder: making.cifar10(folder, n=2),
    "STL-10": _stl10,
}
"""Folders of data sets, as they are published or made."""


@cache
def _parquet(made: Path) -> list[bytes]:
    """A table of pictures, and one of pixels."""
    import pyarrow
    from pyarrow import parquet

    rows = [{"bytes": _png(image), "path": f"{i}.png"} for i, image in enumerate(making.pictures(4))]
    pixels = {f"p{i}": [7, 8] for i in range(16)}
    for name, columns in ("a", {"image": rows, "label": [0, 1, 0, 1]}), ("b", {"label": [0, 1], **pixels}):
        parquet.write_table(pyarrow.table(columns), made / f"{name}.parquet")
    return [(made / f"{name}.parquet").read_bytes() for name in "ab"]


def _png(image: Any) -> bytes:
    held = io.BytesIO()
    Image.fromarray(image).save(held, "PNG")
    return held.getvalue()
