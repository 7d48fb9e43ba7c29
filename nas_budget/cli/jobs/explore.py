"""What `nas-budget explore` does: read a study, count or draw what fits, print it, write its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.latency import milliseconds
from nas_budget.arch.latency_table import layers_csv
from nas_budget.cli.console.output import logger, out, out_json, show, table
from nas_budget.cli.console.progress import progress, progress_if_any
from nas_budget.records.formatting import in_short
from nas_budget.records.paths import SPACE_PAGE
from nas_budget.report.figures.space import never
from nas_budget.report.pages.space import write_space_page
from nas_budget.search.config.latency import layers_to_time
from nas_budget.search.config.resolve import space_and_budget
from nas_budget.search.config.settings import study_name
from nas_budget.search.config.study_file import read_study_file
from nas_budget.space.explore import Exploration, explore
from nas_budget.space.sampling import sample
from nas_budget.space.space import SearchSpace


def read_space(file: Path | None, overrides: dict[str, Any], quiet: bool) -> tuple[str, SearchSpace, Budget]:
    """Name, space and budget of a study."""
    sections = read_study_file(file, overrides)
    with progress_if_any("converting the images", quiet) as on_share:
        space, limits = space_and_budget(sections, logger(quiet), on_share)
    return study_name(file, sections), space, limits


def print_layers_to_time(file: Path | None, overrides: dict[str, Any], quiet: bool) -> None:
    """Print the layers of a study's space that are to be timed, as a table without times."""
    limitless = {key: value for key, value in overrides.items() if not key.startswith("budget.latency")}
    sections = read_study_file(file, limitless)
    sections["budget"] |= {"latency": "none", "latency_table": ""}
    with progress_if_any("converting the images", quiet) as on_share:
        space, limits = space_and_budget(sections, logger(quiet), on_share)
    out(layers_csv(layers_to_time(space, limits)).rstrip())


def print_sample(space: SearchSpace, limits: Budget, n: int, seed: int, as_json: bool) -> None:
    """Print networks drawn uniformly from those that fit."""
    drawn = sample(space, n, limits, seed)
    if as_json:
        out_json([spec.to_dict() for spec in drawn])
        return
    model = limits.latency_model
    times = [(milliseconds(model.network_ns(cost(spec).timed)),) if model else () for spec in drawn]
    rows = [
        (f"{cost(spec).params:,}", f"{cost(spec).macs:,}", *ms, str(spec))
        for spec, ms in zip(drawn, times, strict=True)
    ]
    columns = ("params", "MACs", *(("ms",) if model else ()), "network")
    show(table(columns, rows, left=(len(columns) - 1,)))


def explore_space(
    name: str, space: SearchSpace, limits: Budget, seed: int, output: Path | None, as_json: bool, quiet: bool
) -> None:
    """Count what of a space fits, write the page and print the result."""
    logger(quiet)(f"counting what fits {limits} ...")
    with progress("exploring", quiet) as on_share:
        found = explore(space, limits, seed, on_share)
    page = output or Path("runs") / name / SPACE_PAGE
    write_space_page(found, page, name)
    if as_json:
        out_json({**_exploration_json(found), "page": str(page)})
        return
    _print_exploration(found)
    out(f"\npage: {page}")


def _print_exploration(found: Exploration) -> None:
    """Print how much of a space fits, where its cost is, and what never fits."""
    about, how = "", "exactly"
    if found.bounds is not None:
        low, high = found.bounds
        about, how = "about ", f"certainly {low:.3g} to {high:.3g}: too many to count exactly"
    share = f"{found.share:.1%}" if found.share >= 0.001 else f"{found.share:.1e} of them"
    out(f"budget    {found.budget}")
    out(f"space     {found.n_networks:,} networks")
    out(f"fits      {about}{found.n_fitting:,} ({share}), {how}")
    if found.n_near is not None and found.n_fitting:
        out(f"          {found.n_near:,} of them ({found.n_near / found.n_fitting:.1%}) use 90% or more of a limit")
    if found.hints:
        out("WARNING   less than 10% fits; ranges that would, each by itself:")
        for hint in found.hints:
            out(f"          {hint}")
    out(f"\nwhere it goes: the mean of {len(found.costs['params']):,} networks drawn uniformly from those that fit")
    show(table(("stages", "part", "params", "MACs"), _part_rows(found), left=(0, 1)))
    out("\nhow large they are: smallest, quartiles and largest of those drawn")
    words = {"params": "parameters", "macs": "MACs", "activation_bytes": "activations (B)"}
    sizes = {word: np.quantile(found.costs[name], (0, 0.25, 0.5, 0.75, 1)) for name, word in words.items()}
    rows = [(word, *(in_short(float(value)) for value in values)) for word, values in sizes.items()]
    if "latency_ns" in found.costs:
        times = np.quantile(found.costs["latency_ns"], (0, 0.25, 0.5, 0.75, 1))
        rows.append(("latency (ms)", *(milliseconds(round(ns)) for ns in times)))
    show(table(("", "0%", "25%", "50%", "75%", "100%"), rows))
    if values := never(found.choices):
        out(f"\nnever fits: {'; '.join(values)}")


def _part_rows(found: Exploration) -> list[tuple[str, ...]]:
    """Mean share of each part, for each count of stages."""
    n_stages = np.count_nonzero(found.rows["channels"], axis=1)
    params, macs = found.part_shares("params"), found.part_shares("macs")
    rows = []
    for n in np.unique(n_stages):
        names = ["stem", *[f"stage {i}" for i in range(1, n + 1)], "head"]
        for name, place in zip(names, [*range(n + 1), -1], strict=True):
            means = (f"{shares[n_stages == n, place].mean():.1%}" for shares in (params, macs))
            rows.append((str(n) if name == "stem" else "", name, *means))
    return rows


def _exploration_json(found: Exploration) -> dict[str, Any]:
    """The same, for a program."""
    return {
        "budget": found.budget.to_dict(),
        "n_networks": found.n_networks,
        "n_fitting": found.n_fitting,
        "exact": found.bounds is None,
        "bounds": found.bounds,
        "share": found.share,
        "n_near": found.n_near,
        "parts": [dict(zip(("stages", "part", "params", "macs"), row, strict=True)) for row in _part_rows(found)],
        "hints": list(found.hints),
        "choices": [vars(choice) for choice in found.choices],
    }
