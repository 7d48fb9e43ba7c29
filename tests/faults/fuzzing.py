"""Everything that is read from outside, damaged in many ways: what strategies make of it, and who reads it.

`tests/faults/test_fuzzing.py` tries a few of each in the everyday suite, `benchmarks/faults.py fuzz 100000` as many as
it is told.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import pickle
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from optuna import create_study
from PIL import Image
from scipy.io import savemat

from nas_budget.arch.budget import Budget, parse_quantity
from nas_budget.arch.spec import ResNetSpec, spec_from_json
from nas_budget.cli import main
from nas_budget.errors import InputError, NasBudgetError, UsageError
from nas_budget.records.finalists import FinalistRun, write_finalists
from nas_budget.records.trials import write_table
from nas_budget.search.config.sections import SECTIONS, parse_time
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.selection import limits_beside, select_from_study, study_defaults
from nas_budget.search.storage.journal import open_journal
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.search.storage.url import shown
from nas_budget.train.data.conversion.labels import map_labels
from nas_budget.train.data.forms.arrays import read_array
from nas_budget.train.data.forms.cifar import read_cifar10
from nas_budget.train.data.forms.idx import read_idx
from nas_budget.train.data.forms.image_table import read_tables
from nas_budget.train.data.forms.svhn import read_svhn
from nas_budget.train.data.image_files import read_image
from nas_budget.train.data.open import open_dataset
from nas_budget.train.engine.model import build
from nas_budget.train.engine.weights import FORMAT, Model, load_model, save_model, save_tensors
from tests.report import runs, trials
from tests.train.data import making

MOST_S = 1.0
"""Seconds of a processor that reading a small damaged file may take."""
MOST_BYTES = 300_000_000
"""Memory that it may take."""
MOST_BYTES_OF_PICTURE = 1_000_000_000
"""A picture may have as many pixels as Pillow takes, which are decoded as they are."""
MOST_LINES, LONGEST = 22, 1_000
"""Lines of an error, and characters of one."""
STUDY = Path(__file__).parents[2] / "studies" / "shapes-150k.toml"
SPEC = ResNetSpec((4, 8), blocks=1, image_size=8, classes=3, pool="global")
RESIDUAL = {key: value for key, value in SPEC.to_dict().items() if key != "image_size"}

Read = Callable[[Path, Any], object]


@dataclass(frozen=True)
class Target:
    """Something that is read: what strategies make of it, and a function that writes it to a folder and reads it.

    Attributes:
        cost: How many times as long as others it takes; so many times fewer are tried.
        most_s: Seconds of a processor that one may take.
        most_bytes: Memory that one may take.
    """

    values: st.SearchStrategy[Any]
    read: Read
    cost: int = 1
    most_s: float = MOST_S
    most_bytes: int = MOST_BYTES


@dataclass(frozen=True)
class Reading:
    """What came of an input that was read, or refused as it should be."""

    seconds: float
    refused: bool


def check(target: Target, folder: Path, value: Any) -> Reading:
    """Read a value: it may be refused by an error of ours, in few lines, soon, and without much memory.

    Raises:
        AssertionError: It takes too long or too much, or is refused in too many words.
        Exception: What no error of ours is.
    """
    start, before, refused = time.process_time(), peak_bytes(), False
    try:
        target.read(folder, value)
    except NasBudgetError as error:
        refused = True
        assert isinstance(error, InputError | UsageError), repr(error)
        lines = str(error).splitlines()
        assert len(lines) <= MOST_LINES, lines[:MOST_LINES]
        assert max(map(len, lines)) <= LONGEST, lines
    seconds = time.process_time() - start
    if seconds > target.most_s:  # a first reading imports what it needs
        with contextlib.suppress(NasBudgetError), tempfile.TemporaryDirectory() as another:
            start = time.process_time()
            target.read(Path(another), value)
        seconds = time.process_time() - start
    assert seconds <= target.most_s, f"{seconds:.2f} s"
    assert peak_bytes() - before <= target.most_bytes
    return Reading(seconds, refused)


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def command(*arguments: object, codes: Sequence[int] = (0, 2, 3)) -> None:
    """Run a command in this process, which ends with one of some exit codes; its output is thrown away."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = main([str(argument) for argument in arguments])
    assert code in codes, said.getvalue()
    assert "error: unexpected" not in said.getvalue(), said.getvalue()
    assert len(said.getvalue().splitlines()) <= MOST_LINES, said.getvalue()
    assert max(map(len, said.getvalue().splitlines()), default=0) <= LONGEST, said.getvalue()[: 2 * LONGEST]


# What is damaged, and how.

NUMBERS = st.one_of(
    st.integers(-2, 70), st.sampled_from([2**31, 2**63, 10**9, 10**15, 10**30, -(10**30)]), st.floats(), st.booleans()
)
WORDS = (
    "", " ", "0", "-1", "1e999", "nan", "inf", "null", "true", "9" * 5_000, "[", "]" * 3, "{", "}", '"', "'", ",", ":",
    "=", "\n", "\t", "\x00", "\x1b[31m", "\u202e", "é", "[" * 20_000, '{"a":' * 5_000, "1.5k", "5MB", "../x",
    "a" * 2_000, "1e999999999", "1/0", "1/3", "none", "auto", "all", "%s%n", "{0}", "\ufeff",
)  # fmt: skip
TEXTS = st.one_of(st.sampled_from(WORDS), st.text(max_size=12))
JSON = st.recursive(
    st.one_of(st.none(), NUMBERS, TEXTS),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(TEXTS, below, max_size=3)),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn, whole: Sequence[bytes], most: int = 4) -> bytes:
    """One of several contents with some places overwritten, cut out or filled with words."""
    content = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, most))):
        place, length = draw(st.integers(0, len(content))), draw(st.sampled_from([0, 1, 1, 2, 8, len(content)]))
        word = st.sampled_from(WORDS).map(str.encode)
        content[place : place + length] = draw(st.one_of(st.binary(max_size=4), word))
    return bytes(content)


@st.composite
def changed(draw: st.DrawFn, whole: Any) -> Any:
    """JSON-ready values with something else in one or two places, or without them."""
    value = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 2))):
        value = _changed(draw, value)
    return value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """The value with another in some place below, or another value."""
    if not value or not isinstance(value, dict | list) or not draw(st.integers(0, 5)):
        return draw(JSON)
    key = draw(st.sampled_from([*value] if isinstance(value, dict) else [*range(len(value))]))
    if draw(st.integers(0, 5)):
        value[key] = _changed(draw, value[key])
    else:
        del value[key]
    return value


def as_text(values: Any) -> str:
    """Values as JSON, with halves of surrogate pairs escaped as JSON may have them."""
    return json.dumps(values)


@st.composite
def tables(draw: st.DrawFn, text: str) -> str:
    """A CSV table with other cells, and here and there one less."""
    rows = [*csv.reader(io.StringIO(text))]
    for _ in range(draw(st.integers(1, 3))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        place = draw(st.integers(0, max(0, len(row) - 1)))
        row[place : place + 1] = draw(
            st.lists(st.one_of(TEXTS, NUMBERS.map(str)), min_size=1, max_size=1 + (place > 40))
        )
    made = io.StringIO()
    csv.writer(made).writerows(rows)
    return made.getvalue()


# Who reads it.


def file_of(name: str, read: Callable[[Path], object]) -> Read:
    """Writes a file of this name, and reads it."""

    def written(folder: Path, value: Any) -> object:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(value, str):
            value = value.encode("utf-8", "surrogateescape" if value.isascii() else "replace")
        (folder / name).write_bytes(value)
        return read(folder / name)

    return written


def file_targets(made: Path) -> Iterator[tuple[str, Target]]:
    """Files by themselves, by name; whole ones are made in a folder first."""
    yield from _texts()
    yield from _run_folders(made)
    yield from _data_sets(made)
    yield "weights", Target(damaged([_weights(made)]), file_of("model.safetensors", load_model))
    header = {"spec": SPEC.to_dict(), "classes": ["a", "b", "c"], "mean": [1.0] * 3, "std": [1.0] * 3, "about": {}}
    yield "header of weights", Target(changed(header), _read_header)


def _texts() -> Iterator[tuple[str, Target]]:
    spec = SPEC.to_json().encode()
    yield "spec", Target(damaged([spec]), file_of("a.json", lambda path: command("count", path, "--json")))
    values = changed(SPEC.to_dict()).map(as_text)
    yield "values of a spec", Target(values, file_of("a.json", lambda path: command("count", path)))
    family = {"family": "a:B", "values": {"x": 1}, "image_size": 8, "in_channels": 3, "classes": 2, "params": 5,
              "macs": 6, "buffers": 0, "layers": 1, "elements": 9}  # fmt: skip
    yield "values of a family", Target(changed(family).map(as_text), lambda _, text: str(spec_from_json(text)))
    numbers = st.lists(st.one_of(NUMBERS.map(str), TEXTS), max_size=4).map(",".join)
    options = st.tuples(numbers, st.sampled_from(["blocks", "kernels", "strides", "pool", "dropout"]), numbers)
    yield "network on the command line", Target(options, lambda _, given: _count(*given))
    yield "quantity", Target(st.one_of(TEXTS, NUMBERS, NUMBERS.map(str)), lambda _, given: parse_quantity(given))
    addresses = st.one_of(
        TEXTS, damaged([b"postgresql+psycopg://me:pass@host:1/name?a=b", b"sqlite:///a.db"]).map(_text)
    )
    yield "address of a database", Target(addresses, lambda _, given: shown(given))
    yield "time", Target(st.one_of(TEXTS, NUMBERS.map(lambda n: f"{n}h")), lambda _, given: _time(given))
    study = STUDY.read_bytes()
    yield "study file", Target(damaged([study]), file_of("a.toml", read_study_file))
    keys = st.sampled_from([f"{part}.{key}" for part, each in SECTIONS.items() for key in each.model_fields])
    yield (
        "values of a study",
        Target(st.dictionaries(keys, JSON, min_size=1, max_size=3), lambda _, given: read_study_file(None, given)),
    )


def _count(channels: str, option: str, value: str) -> None:
    command("count", f"--channels={channels}", f"--{option}={value}")


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


def _time(text: str) -> None:
    with contextlib.suppress(ValueError):  # pydantic makes an error of ours of it
        parse_time(text)


def _run_folders(made: Path) -> Iterator[tuple[str, Target]]:
    rows = [trials.record(i, spec=SPEC.to_json(), accuracy=0.4 + i / 100) for i in range(3)]
    write_table(made / "trials.csv", rows)
    table = (made / "trials.csv").read_text()
    yield "trials table", Target(tables(table), file_of("run/trials.csv", _show_study))
    yield "bytes of a trials table", Target(damaged([table.encode()]), file_of("run/trials.csv", _show_study))
    again = [FinalistRun(i, 1, 0.5, 6, 100, 1.0, 0.0, "0.5", "a CPU", SPEC.to_json()) for i in range(2)]
    write_finalists(made / "finalists.csv", again)
    read = file_of("run/finalists.csv", lambda path: _show_study(_with(path, "trials.csv", table)))
    yield "finalists", Target(tables((made / "finalists.csv").read_text()), read)
    best = json.loads(SPEC.to_json())
    yield "best network", Target(changed(best).map(as_text), file_of("run/best.json", _select))
    trial = {**trials_json(), "recipe": {"optimizer": "sgd", "epochs": 3}}
    yield "settings of a trial", Target(changed(trial).map(as_text), file_of("run/trials/0/trial.json", _select_trial))
    yield "settings of a study", Target(changed(_settings()).map(as_text), file_of("run/settings.json", _read_settings))
    result = json.loads(json.dumps(asdict(runs.result())))
    yield "result of a run", Target(changed(result).map(as_text), file_of("long/result.json", _show_run))
    held = {f"spec.{key}": value for key, value in SPEC.to_dict().items()}
    held |= {"recipe.epochs": 3, "data": "mine", "data.images": 90, "data.validation_images": 10, "budget.params": 9}
    yield "settings of a run", Target(changed(held).map(as_text), file_of("short/run.json", _show_run))
    epoch = asdict(runs.epochs(1)[0])
    lines = st.lists(changed(epoch).map(as_text), max_size=2).map(lambda each: "\n".join([*each, as_text(epoch), ""]))
    read = file_of("short/metrics.jsonl", lambda path: _show_run(_with(path, "run.json", as_text(held))))
    yield "epochs of a run", Target(lines, read)
    yield "journal", Target(damaged([_journal(made)], 2), file_of("run/study.journal", _open_journal))


def trials_json() -> dict[str, Any]:
    """What a trial's folder says of its network."""
    return {"spec": SPEC.to_dict(), "proxy": 1.0, "seeds": [0], "device": "cpu", "precision": "fp32", "versions": "1"}


def _with(path: Path, name: str, content: str) -> Path:
    """The path, with a file beside it."""
    path.with_name(name).write_text(content)
    return path


def _show_study(path: Path) -> None:
    for arguments in ("show", path.parent), ("show", path.parent, 1, "--json"), ("ls", path.parents[1]):
        command(*arguments)


def _show_run(path: Path) -> None:
    command("show", path.parent)
    command("show", path.parent, "--json")


def _select(path: Path) -> object:
    return select_from_study(path.parent, None, Budget(params=1_000, macs=1_000_000))


def _select_trial(path: Path) -> object:
    return select_from_study(path.parents[2], 0)


def _read_settings(path: Path) -> object:
    return study_defaults(path.parent), limits_beside(path.with_name("best.json"))


def _settings() -> Any:
    """The settings of a study of small images."""
    from nas_budget.search.config.resolve import resolve
    from nas_budget.search.open_study import timer

    sections = read_study_file(None, {"search.proxy": 1.0, "search.workers": 1, "data.images": 100, "recipe.epochs": 2})
    dataset, device = open_dataset("shapes"), torch.device("cpu")
    return resolve("mine", sections, device, dataset, None, timer(dataset, device)).to_dict()


def _journal(made: Path) -> bytes:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    quiet_optuna()
    study = create_study(storage=JournalStorage(JournalFileBackend(str(made / "study.journal"))), study_name="a")
    study.tell(study.ask(), 0.5)
    return (made / "study.journal").read_bytes()


def _open_journal(path: Path) -> None:
    open_journal(path.parent).get_all_studies()


def _weights(made: Path) -> bytes:
    save_model(made / "a.safetensors", Model(SPEC, build(SPEC).eval(), ("a", "b", "c"), (1.0,) * 3, (1.0,) * 3))
    return (made / "a.safetensors").read_bytes()


def _read_header(folder: Path, values: Any) -> None:
    save_tensors(folder / "a.safetensors", build(SPEC).state_dict(), FORMAT, values if isinstance(values, dict) else {})
    model = load_model(folder / "a.safetensors")
    _ = model.budget


def _data_sets(made: Path) -> Iterator[tuple[str, Target]]:
    images, labels = making.pictures(4), np.array([0, 1, 0, 1])
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    parts = {**arrays, "classes": np.array(["a", "b"])}
    np.savez(made / "whole.npz", **parts)
    np.savez_compressed(made / "packed.npz", **parts)
    whole = [(made / name).read_bytes() for name in ("whole.npz", "packed.npz")]
    yield "bytes of an npz", Target(damaged(whole), file_of("a.npz", read_data))
    held = {name: _npy(array) for name, array in parts.items()}
    one = st.sampled_from(sorted(held)).flatmap(lambda name: damaged([held[name]]).map(lambda new: {**held, name: new}))
    yield "arrays of an npz", Target(one, _read_zipped)
    yield "npy", Target(damaged([_npy(images), _npy(labels), _npy(np.array([{}]))]), file_of("a.npy", read_array))
    idx = making.write_idx(made / "a-idx3-ubyte", images[..., 0]).read_bytes()
    yield "idx", Target(damaged([idx]), file_of("a-idx3-ubyte", read_idx))
    yield "idx, compressed", Target(damaged([idx]).map(gzip.compress), file_of("a-idx3-ubyte.gz", read_idx))
    digits = {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [2]])}
    for packed in False, True:
        savemat(made / "a.mat", digits, do_compression=packed)
        mat = (made / "a.mat").read_bytes()
        read = file_of("train_32x32.mat", lambda path, mat=mat: read_svhn(_beside(path, mat)))  # type: ignore[misc]
        yield f"mat{', compressed' * packed}", Target(damaged([mat], 3), read)
    making.cifar10(made / "cifar", n=1)
    batch = (made / "cifar" / "data_batch_1").read_bytes()
    plain = pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [1]}, protocol=4)
    yield (
        "pickle of CIFAR",
        Target(damaged([batch, plain]), lambda folder, new: _read_cifar(folder, made / "cifar", new)),
    )
    picture = io.BytesIO()
    Image.fromarray(images[0]).save(picture, "PNG")
    yield (
        "PNG",
        Target(
            damaged([picture.getvalue()]),
            file_of("a.png", lambda path: read_image(path, 8, 3)),
            most_bytes=MOST_BYTES_OF_PICTURE,
        ),
    )
    labelled = "image,label,split\na.png,cat,train\nb.png,dog,test\n"
    pixels = "label," + ",".join(f"p{i}" for i in range(16)) + "\n" + "1" + ",7" * 16 + "\n2" + ",8" * 16 + "\n"
    yield "table of images", Target(tables(labelled), file_of("a.csv", _read_table))
    yield "table of pixels", Target(tables(pixels), file_of("a.csv", _read_table))


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def read_data(path: Path) -> None:
    """Open a data set and read its images."""
    dataset = open_dataset(str(path), path.parent / "store", lambda _: None)
    for part in "train", "test":
        dataset.read(part)


def _read_zipped(folder: Path, arrays: dict[str, bytes]) -> None:
    import zipfile

    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    read_data(folder / "a.npz")


def _beside(path: Path, test: bytes) -> Path:
    path.with_name("test_32x32.mat").write_bytes(test)
    return path.parent


def _read_cifar(folder: Path, whole: Path, batch: bytes) -> None:
    for file in whole.iterdir():
        (folder / file.name).write_bytes(batch if file.name == "data_batch_1" else file.read_bytes())
    read_cifar10(folder)


def _read_table(path: Path) -> None:
    raw = read_tables(path)
    map_labels([part.labels for part in (raw.train, raw.test) if part])
