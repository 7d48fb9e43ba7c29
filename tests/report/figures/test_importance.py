"""What mattered, learning curves, time: the figures say what the table says."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget import ResNetSpec, cost
from nas_budget.cli.options.network import ImageNetworkOptions
from nas_budget.errors import UsageError
from nas_budget.records.finalists import FinalistRun, write_finalists
from nas_budget.records.time_ledger import TimeLedger
from nas_budget.records.workers import WorkerRecord
from nas_budget.report.figures.cost_shares import part_costs, shares_figure
from nas_budget.report.figures.curves import MOST_CURVES, curves_figure, drawn_curves, rungs_of
from nas_budget.report.figures.importance import importance_figure, parallel_figure, slice_figures
from nas_budget.report.figures.style import ACCENT
from nas_budget.report.figures.timeline import ledger_figure, timeline_figure
from nas_budget.report.figures.tradeoff import tradeoff
from nas_budget.report.pages.next_steps import count_command, network_options, train_command
from nas_budget.report.tables.importance import chance_level, features, importance
from nas_budget.report.tables.studies import StudyTable, read_studies, read_study
from nas_budget.report.tables.trials import complete, halved, knee, pareto_trials
from tests.conftest import Ran
from tests.report.trials import by_proxies, many, mixed, record, table_of
from tests.strategies import specs


def test_what_decides_accuracy_comes_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    trials = [
        record(i, pool=pool, shortcut_kernel=kernel, accuracy=0.3 + 0.1 * (pool == 4) + 0.001 * float(rng.normal()))
        for i, (pool, kernel) in enumerate(zip(rng.choice([2, 4], 40), rng.choice([1, 3], 40), strict=True))
    ]
    found = importance(table_of(tmp_path, trials))
    assert found.index[0] == "pool"
    assert found["pool"] > 0.99
    assert found["shortcut_kernel"] < 0.3


def test_few_or_equal_trials_say_nothing_of_what_mattered(tmp_path: Path) -> None:
    few = table_of(tmp_path, many(30))
    assert importance(few).empty
    assert chance_level(few) == 0
    assert importance(table_of(tmp_path, [record(i, params=10 + i) for i in range(20)])).empty


def test_of_several_studies_only_those_with_enough_trials_have_bars(tmp_path: Path) -> None:
    ended = [trial for trial in many(90) if trial.state == "complete"]
    trials = [replace(trial, study=study) for study, n in (("few", 15), ("enough", 16)) for trial in ended[:n]]
    assert [bar.name for bar in importance_figure(table_of(tmp_path, trials)).data] == ["enough"]


def test_chance_explains_less_than_its_level(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    pruned_too = many(120)
    noise = [replace(r, accuracy=0.5 + 0.01 * float(rng.normal())) if r.state == "complete" else r for r in pruned_too]
    passed = 0
    for place in range(20):
        dealt = [
            replace(r, accuracy=a) for r, a in zip(noise, rng.permutation([r.accuracy for r in noise]), strict=True)
        ]
        table = table_of(tmp_path / str(place), [r for r in dealt if r.accuracy is not None])
        passed += float(importance(table).iloc[0]) > chance_level(table)
    assert passed <= 4  # one in twenty is to be expected


def test_a_feature_of_zeros_is_shown_as_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    trials = [
        record(i, weight_decay=[0.0, 5e-4][i % 2], accuracy=0.5 + 0.1 * (i % 2) + 0.01 * float(rng.normal()))
        for i in range(20)
    ]
    table = table_of(tmp_path, trials)
    (figure,) = slice_figures(table).values()
    assert figure.layout.xaxis.type is None
    ranked = sorted(trials, key=lambda trial: -(trial.accuracy or 0))
    assert [*parallel_figure(table).data[0].dimensions[0]["values"]] == [trial.weight_decay for trial in ranked]


def test_a_study_keeps_its_colour_in_every_figure(tmp_path: Path) -> None:
    first = [replace(r, study="first") for r in many(40) if r.state == "pruned"]
    table = table_of(tmp_path, [*first, *many(90, study="second")]).sort_values("study", ignore_index=True)
    colour = next(t.line.color for t in tradeoff(table).data if t.name == "second")
    for figure in slice_figures(table).values():
        assert {t.marker.color for t in figure.data if len(t.x)} == {colour}


def test_features_are_those_that_vary(tmp_path: Path) -> None:
    table = table_of(tmp_path, [record(0), record(1, channels="8-16-32", blocks="1-2-2", kernels="3-5-3", params=77)])
    found = features(table)
    for name, values in ("stages", [2, 3]), ("blocks", [3, 5]), ("last_width", [16, 32]), ("kernel", [3, 11 / 3]):
        assert list(found[name]) == pytest.approx(values)
    assert not {"pool", "macs"} & {*found}


def test_every_complete_trial_is_a_line_and_a_point(tmp_path: Path) -> None:
    table = table_of(tmp_path, many(60))
    ended = complete(table)
    (lines,) = parallel_figure(table).data
    assert lines.dimensions[-1].label == "accuracy"
    assert sorted(lines.dimensions[-1]["values"]) == sorted(ended["accuracy"])
    for figure in slice_figures(table).values():
        assert sorted(figure.data[0].customdata) == sorted(ended.index)
    bars = importance_figure(table).data[0]
    assert list(bars.x) == sorted(bars.x)


@pytest.mark.parametrize(
    ("compared", "metric", "column"),
    [("loss", "loss", "train_losses"), ("accuracy", "accuracy", "curve"), ("", "accuracy", "curve")],
)
def test_curves_are_whole_and_stops_are_marked(tmp_path: Path, compared: str, metric: str, column: str) -> None:
    table = table_of(tmp_path, many(30, pruner_metric=compared))
    figure = curves_figure(table, metric)
    traces = {trace.name: trace for trace in figure.data}
    curves: dict[int, list[float]] = {}
    for name in "pruned", "trained to the end":
        for id_, y in zip(traces[name].customdata, traces[name].y, strict=True):
            if y is not None:
                curves.setdefault(id_, []).append(y)
    for index, text in table[column].items():
        assert curves.get(index, []) == pytest.approx([float(part) for part in text.split()])
    pruned = table[table["state"] == "pruned"]
    crosses = traces["pruned here"]
    assert list(crosses.x) == list(pruned["epochs"])
    assert list(crosses.y) == pytest.approx([curves[index][-1] for index in pruned.index])
    first = pruned.iloc[0]
    assert crosses.text[0].replace("<br>", " ") == f"trial {first['number']}: {first['reason']}"
    assert [shape.x0 for shape in figure.layout.shapes] == [2, 4] == rungs_of(table)
    for trace in curves_figure(table_of(tmp_path, mixed()), metric).data:
        assert not {6, 7} & {*trace.customdata}  # they failed


def test_stops_stand_on_the_curves_of_what_is_compared(tmp_path: Path) -> None:
    """Trials compared by loss have no cross on accuracy; those of a table without losses have theirs there."""
    old = [replace(row, train_losses="") if row.number < 10 else row for row in many(30)]
    table = table_of(tmp_path, old)
    pruned = {row.number for row in old if row.state == "pruned"}
    ends = {m: {t.name: t for t in curves_figure(table, m).data}["pruned here"] for m in ("loss", "accuracy")}
    crosses = {metric: {*trace.customdata} for metric, trace in ends.items()}
    assert crosses == {"loss": {n for n in pruned if n >= 10}, "accuracy": {n for n in pruned if n < 10}}
    assert not curves_figure(table_of(tmp_path, many(30)), "accuracy").layout.shapes  # no rungs either


def test_the_loss_of_a_trial_that_diverged_does_not_press_others_flat(tmp_path: Path) -> None:
    reason = "diverged in epoch 2 at learning rate 0.1"
    diverged = record(99, state="pruned", curve="0.1 0.1", train_losses="2.3 9000000000.0", reason=reason)
    low, high = curves_figure(table_of(tmp_path, [*many(30), diverged]), "loss").layout.yaxis.range
    assert 0 <= low < high < 3


def test_of_very_many_curves_the_best_are_drawn(tmp_path: Path) -> None:
    table = table_of(tmp_path, many(1_500))
    shown = drawn_curves(table)
    assert len(shown) <= MOST_CURVES
    best = table.nlargest(MOST_CURVES // 2, "accuracy")
    assert set(best.index) <= set(shown.index)


@given(st.lists(specs(), min_size=1, max_size=4))
def test_parts_add_up_to_what_a_network_costs(found: list[ResNetSpec]) -> None:
    images = [(spec.image_size, spec.in_channels, spec.classes) for spec in found]
    for shape in {*images}:
        rows = [spec for spec, image in zip(found, images, strict=True) if image == shape]
        counted = part_costs(frame(rows))
        assert counted is not None
        for spec, params, macs in zip(rows, counted["params"], counted["macs"], strict=True):
            assert (params.sum(), macs.sum()) == (cost(spec).params, cost(spec).macs)


def frame(found: list[ResNetSpec]) -> pd.DataFrame:
    """The networks as rows of a trials table."""
    rows = [
        {name: "-".join(map(str, value)) if isinstance(value, tuple) else value for name, value in asdict(spec).items()}
        | {"pool": spec.pool_size, "stem_width": spec.stem_channels, "spec": spec.to_json()}
        for spec in found
    ]
    return pd.DataFrame(rows)


def test_parts_of_what_is_no_network_are_not_known(tmp_path: Path) -> None:
    assert part_costs(table_of(tmp_path, [record(channels="wide")])) is None
    assert part_costs(table_of(tmp_path, [record(spec="{")])) is None


def test_bars_of_the_best_are_divided_into_their_parts(tmp_path: Path) -> None:
    table = table_of(tmp_path, many(30))
    best = complete(table).nlargest(3, "accuracy")
    counted = part_costs(best)
    assert counted is not None
    figure = shares_figure(best, counted["params"], "parameters")
    assert [trace.name for trace in figure.data] == ["stem", "stage 1", "stage 2", "stage 3", "head"]
    assert np.sum([trace.x for trace in figure.data], axis=0) == pytest.approx([1, 1, 1])


def test_the_ledger_is_a_bar_of_what_became_of_the_time() -> None:
    figure = ledger_figure({"a": TimeLedger(complete=600, pruned=120, saved=60), "b": TimeLedger(failed=30)})
    bars = {trace.name.partition(" ")[0]: list(trace.x) for trace in figure.data}
    assert bars == {"complete": [10, 0], "pruned": [2, 0], "failed": [0, 0.5], "saved": [1, 0]}


def timed(number: int, start: str, end: str, **changes: Any) -> Any:
    return record(number, started=f"2026-01-0{start}+00:00", finished=f"2026-01-0{end}+00:00", **changes)


def test_workers_have_a_line_each_and_a_night_is_cut_short(tmp_path: Path) -> None:
    trials = [
        timed(0, "1T20:00:00", "1T20:10:00"),
        timed(1, "1T20:00:00", "1T20:05:00", worker=1, state="pruned"),
        timed(2, "2T08:00:00", "2T08:10:00"),
    ]
    figure = timeline_figure(table_of(tmp_path, trials))
    assert figure is not None
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces["complete"].base) == [0, 11]
    assert list(traces["complete"].x) == [10, 10]
    assert list(traces["pruned"].y) == ["worker 1"]
    assert [a.text for a in figure.layout.annotations] == ["11 h 50 min"]


def test_workers_of_one_number_are_told_apart_by_machine_or_by_id(tmp_path: Path) -> None:
    trials = [timed(number, "1T20:00:00", f"1T20:1{number}:00") for number in range(3)]
    table = table_of(tmp_path, trials)

    def lines(*workers: WorkerRecord) -> list[str]:
        figure = timeline_figure(table, {"demo": workers})
        assert figure is not None
        return [*figure.data[0].y]

    here = WorkerRecord("aa-0", "hive", 0, "a CPU", "0", 0, 1.0, "", 0, 0, "2026-01-01T20:10:00+00:00")
    assert lines(here, replace(here, worker="bb-0", host="nest", trials="1 2")) == [
        "worker 0 on hive", "worker 0 on nest", "worker 0 on nest"
    ]  # fmt: skip
    assert lines(here, replace(here, worker="bb-0", trials="1")) == [
        "worker 0 (aa-0)", "worker 0 (bb-0)", "worker 0"
    ]  # fmt: skip


def test_an_interrupted_trial_begins_when_what_counts_of_it_began(tmp_path: Path) -> None:
    trials = [
        timed(0, "1T20:00:00", "2T08:10:00", seconds=60.0, repeated_seconds=5.0),
        timed(1, "2T08:00:00", "2T08:08:00"),
    ]
    figure = timeline_figure(table_of(tmp_path, trials))
    assert figure is not None
    assert list(figure.data[0].base) == [9, 0]
    assert list(figure.data[0].x) == [1, 8]
    assert timeline_figure(table_of(tmp_path, [record(started="", finished="")])) is None


def test_trainings_of_the_best_again_have_the_colour_of_the_ledger(tmp_path: Path) -> None:
    trials = [replace(trial, finished=f"2026-01-01T00:1{trial.number}:00+00:00") for trial in by_proxies()]
    figure = timeline_figure(table_of(tmp_path, trials))
    assert figure is not None
    drawn = {trace.name: (trace.marker.color, len(trace.x)) for trace in figure.data}
    (spent,) = ledger_figure({"demo": TimeLedger(complete=1.0, ladder=2.0)}).data[1:]
    assert drawn == {"complete": (ACCENT, 3), spent.name: (spent.marker.color, 3)}


def test_a_wider_trial_that_is_pinned_stays_within_the_axis(tmp_path: Path) -> None:
    table = table_of(tmp_path, [replace(t, train_losses="2 1 0.5" if t.of else "2 1.8 1.6") for t in by_proxies()])
    figure = curves_figure(table, "loss")
    assert min(value for trace in figure.data for value in trace.y if value) == 1.6
    low, high = figure.layout.yaxis.range
    assert low < 0.5 < 2 < high


def test_bars_of_studies_stand_in_the_order_of_the_legend(tmp_path: Path) -> None:
    table = table_of(tmp_path, [*many(60, study="a"), *many(60, study="b")])
    figure = importance_figure(table)
    assert [bar.name for bar in figure.data] == ["b", "a"]  # plotly draws the first one lowest
    assert figure.layout.legend.traceorder == "reversed"


def test_the_knee_and_the_half_of_a_front(tmp_path: Path) -> None:
    points = [(10, 0.2), (20, 0.6), (40, 0.65), (80, 0.7)]
    pareto = pareto_trials(table_of(tmp_path, [record(i, params=p, accuracy=a) for i, (p, a) in enumerate(points)]))
    assert [found["params"] for found in (knee(pareto), halved(pareto)) if found is not None] == [20, 40]
    assert knee(pareto.iloc[:2]) is None
    assert halved(pareto.iloc[:1]) is None


def test_half_of_a_front_is_near_half(tmp_path: Path) -> None:
    points = [(23, 0.6), (51, 0.62), (79, 0.63), (100, 0.64)]  # what costs at most half costs less than a quarter
    pareto = pareto_trials(table_of(tmp_path, [record(i, params=p, accuracy=a) for i, (p, a) in enumerate(points)]))
    half = halved(pareto)
    assert half is not None
    assert half["params"] == 51
    assert halved(pareto.iloc[2:]) is None


@given(specs())
def test_a_command_says_the_network_it_is_of(spec: ResNetSpec) -> None:
    options = network_options(spec, image=True)
    names = [option.removeprefix("--").replace("-", "_") for option in options[::2]]
    given = dict(zip(names, options[1::2], strict=True))
    channels = given.pop("channels")
    assert ResNetSpec(**ImageNetworkOptions(**given).values(channels)) == spec


def test_a_count_command_counts_the_trial(run: Any) -> None:
    spec = ResNetSpec((8, 16, 16), blocks=(1, 2, 1), kernels=5, pool="global", shortcut_kernel=1, classes=7)
    ran: Ran = run(*count_command(spec.to_json()).split()[1:], "--json")
    assert ran.json["params"] == cost(spec).params


def test_a_train_command_names_what_is_known() -> None:
    spec = ResNetSpec((8, 16)).to_json()
    assert train_command(spec, "cifar10", "runs/my study", 3) == "nas-budget train --study 'runs/my study' --trial 3"
    assert train_command(spec, "cifar10") == "nas-budget train --channels 8,16 --data cifar10"
    assert train_command("{", "cifar10") == ""


def test_the_best_of_a_study_with_finalists_is_theirs(tmp_path: Path) -> None:
    runs = tuple(FinalistRun(3, seed, 0.5 + seed / 100, 9, 1, 9.0, 1.0, "", "", "") for seed in (1, 2))
    study = StudyTable("demo", table_of(tmp_path, mixed()), runs)
    assert study.best_network is not None
    assert study.best_network.trial["number"] == 3
    assert study.best_network.accuracy == pytest.approx(0.515)
    assert (study.best_network.epochs, study.best_network.images) == (9, 1_000)
    assert (study.ledger.finalists, study.ledger.repeated) == (18.0, 2.0)


def test_finalists_of_another_table_are_left_out(tmp_path: Path) -> None:
    table_of(tmp_path, mixed())
    known = record(3).spec
    runs = [FinalistRun(3, 1, 0.5, 6, 1, 9.0, 0.0, "", "", known), FinalistRun(3, 2, 0.5, 6, 1, 9.0, 0.0, "", "", "{}")]
    write_finalists(tmp_path / "finalists.csv", [*runs, FinalistRun(99, 1, 0.9, 6, 1, 9.0, 0.0, "", "", known)])
    assert read_study(tmp_path).finalists == (runs[0],)


def test_a_study_is_not_compared_with_itself(tmp_path: Path) -> None:
    table_of(tmp_path, mixed())
    with pytest.raises(UsageError, match="given twice"):
        read_studies([tmp_path, tmp_path / "trials.csv"])


def test_activations_expansions_and_kinds_of_block_are_features(tmp_path: Path) -> None:
    made = [ResNetSpec((8, 16), block="inverted", expansions=n, activation=a) for n, a in ((6, "relu"), (3, "silu"))]
    made.append(ResNetSpec((8, 16), block="bottleneck", groups=2))
    found = features(table_of(tmp_path, [record(i, spec=s.to_json(), block=s.block) for i, s in enumerate(made)]))
    assert found["expansion"].tolist() == [6, 3, 0.25]
    assert (found["silu"].tolist(), found["groups"].tolist()) == ([0, 1, 0], [1, 1, 2])
    assert found["inverted"].tolist() == [1, 1, 0]
    assert "relu6" not in found
