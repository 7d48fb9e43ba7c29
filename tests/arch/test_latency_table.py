"""Tables of timed layers, and the model that is fitted to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from nas_budget.arch.latency import LatencyModel, LayerShape
from nas_budget.arch.latency_table import (
    COLUMNS,
    LatencyTable,
    TimedLayer,
    fit_errors,
    fit_latency,
    layers_csv,
    nonnegative_least_squares,
    read_latency_table,
)
from nas_budget.errors import TableError
from tests.strategies import DEVICE, KERNELS

HEAD = ",".join(COLUMNS)


def shapes() -> list[LayerShape]:
    found = []
    for kind, kernels in KERNELS.items():
        for kernel in kernels:
            for n_in, n_out, size in (3, 16, 32), (16, 16, 32), (16, 64, 16), (64, 64, 8), (128, 32, 4), (256, 256, 4):
                groups = {"depthwise": n_in, "grouped": 2 if n_in % 2 == 0 else 1}.get(kind, 1)
                out = n_in if kind == "depthwise" else n_out
                found.append(LayerShape(kind, n_in, out, kernel, 1, 1 if kind == "linear" else size, groups))
    return found


def timed(model: LatencyModel, noise: float = 0.0) -> LatencyTable:
    rng = np.random.default_rng(0)
    return LatencyTable(
        "a board", tuple(TimedLayer(x, model.layer_ns(x) / 1e6 * (1 + noise * rng.uniform(-1, 1))) for x in shapes())
    )


def test_what_is_linear_is_found_again() -> None:
    table = timed(DEVICE)
    fitted = fit_latency(table)
    assert fit_errors(table, fitted).worst < 0.01
    other = LayerShape("conv", 40, 24, 3, 2, 20)
    assert fitted.layer_ns(other) == pytest.approx(DEVICE.layer_ns(other), rel=0.02)


def test_noise_is_averaged() -> None:
    table = timed(DEVICE, noise=0.2)
    errors = fit_errors(table, fit_latency(table))
    assert errors.median < 0.15
    assert str(errors).startswith(f"{len(table.layers)} timed layers, the model off by ")


@given(st.integers(0, 10**6))
def test_no_layer_takes_less_time_than_a_smaller_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    some = [shape for shape in shapes() if shape.kind == "conv" and shape.kernel < 7]
    model = fit_latency(LatencyTable("x", tuple(TimedLayer(s, float(rng.uniform(0.01, 1))) for s in some)))
    for kernel, larger in (1, 3), (3, 5), (5, 5):
        for n, more in (8, 8), (8, 9), (64, 100):
            small, large = (LayerShape("conv", m, 2 * m, k, 1, 16) for m, k in ((n, kernel), (more, larger)))
            assert model.layer_ns(small) <= model.layer_ns(large)


@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 10**6))
def test_least_squares_are_those_of_scipy(n: int, m: int, seed: int) -> None:
    from scipy.optimize import nnls

    rng = np.random.default_rng(seed)
    columns, target = rng.uniform(-1, 1, (n, m)), rng.uniform(-1, 1, n)
    found = nonnegative_least_squares(columns, target)
    assert (found >= 0).all()
    try:
        least = nnls(columns, target)[1]
    except RuntimeError:  # that of scipy 1.14 gives some up
        reject()
    assert np.linalg.norm(columns @ found - target) == pytest.approx(least, abs=1e-6)


def test_a_table_is_read_as_it_is_written(tmp_path: Path) -> None:
    path, table = tmp_path / "device.csv", timed(DEVICE)
    path.write_text(table.to_csv())
    read = read_latency_table(path)
    assert read.source == "a board"
    assert [one.shape for one in read.layers] == [one.shape for one in table.layers]
    assert [one.milliseconds for one in read.layers] == pytest.approx([x.milliseconds for x in table.layers], rel=1e-5)
    assert fit_latency(read) == fit_latency(read_latency_table(path))


def test_layers_to_time_lack_only_their_times(tmp_path: Path) -> None:
    path = tmp_path / "device.csv"
    path.write_text(layers_csv(shapes()))
    with pytest.raises(TableError, match="line 2: milliseconds are missing; time this layer, or leave its line out"):
        read_latency_table(path)
    path.write_text("\n".join([HEAD, *(f"{line}0.5" for line in path.read_text().splitlines()[1:])]))
    assert read_latency_table(path).source == "device.csv"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "begins with ''; the first line of a table is kind,in_channels"),
        ("a,b\n1,2", "begins with 'a,b'"),
        (HEAD, "has 0 layers"),
        (f"{HEAD}\nconv,3,8,3,1,32,1", "line 2: 7 cells where 8 belong"),
        (f"# x\n\n{HEAD}\npool,3,8,3,1,32,1,1", "line 4: kind 'pool' is unknown; known are conv, depthwise"),
        (f"{HEAD}\nconv,3,8,0,1,32,1,1", "line 2: kernel is '0'; a whole number of 1 or more"),
        (f"{HEAD}\nconv,3,8,3,1,big,1,1", "line 2: size is 'big'"),
        (f"{HEAD}\nconv,3,99999999999,3,1,32,1,1", "line 2: out_channels"),
        (f"{HEAD}\ngrouped,3,8,3,1,32,2,1", "line 2: 2 groups do not divide 3 and 8 channels"),
        (f"{HEAD}\nconv,3,8,3,1,32,1,nan", "line 2: milliseconds are 'nan'; a number above 0"),
        (f"{HEAD}\nconv,3,8,3,1,32,1,-1", "line 2: milliseconds are '-1'"),
        (f"{HEAD}\nconv,3,8,3,1,32,1,fast", "line 2: milliseconds are 'fast'"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(text: str, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "device.csv"
    path.write_text(text)
    with pytest.raises(TableError) as error:
        read_latency_table(path)
    assert str(error.value).startswith(f"{path}: {wrong}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"none\.csv: cannot be read as a table of latencies \(No such file"):
        read_latency_table(tmp_path / "none.csv")
