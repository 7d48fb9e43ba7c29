"""An exploration of a space, in the terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas_budget.arch.cost import cost
from nas_budget.cli.console.output import out, out_json, show, table
from nas_budget.records.formatting import in_short

if TYPE_CHECKING:
    from nas_budget.arch.budget import Budget
    from nas_budget.space.explore import Exploration
    from nas_budget.space.space import SearchSpace


def print_sample(space: SearchSpace, limits: Budget, n: int, seed: int, as_json: bool) -> None:
    """Print networks drawn uniformly from those that fit."""
    from nas_budget.space.sampling import sample

    drawn = sample(space, n, limits, seed)
    if as_json:
        out_json([spec.to_dict() for spec in drawn])
        return
    rows = [(f"{cost(spec).params:,}", f"{cost(spec).macs:,}", str(spec)) for spec in drawn]
    show(table(("params", "MACs", "network"), rows, left=(2,)))


def print_exploration(found: Exploration) -> None:
    """Print how much of a space fits, where its cost is, and what never fits."""
    about = "" if found.bounds is None else "about "
    share = f"{found.share:.1%}" if found.share >= 0.001 else f"{found.share:.1e} of them"
    out(f"budget    {found.budget}")
    out(f"space     {found.n_networks:,} networks")
    out(f"fits      {about}{found.n_fitting:,} ({share}), " + ("exactly" if found.bounds is None else _bounds(found)))
    if found.n_near is not None and found.n_fitting:
        out(f"          {found.n_near:,} of them ({found.n_near / found.n_fitting:.1%}) use 90% or more of a limit")
    if found.hints:
        out("WARNING   less than 10% fits; ranges that would, each by itself:")
        for hint in found.hints:
            out(f"          {hint}")
    out(f"\nwhere it goes: the mean of {len(found.costs['params']):,} networks drawn uniformly from those that fit")
    show(table(("stages", "part", "params", "MACs"), _part_rows(found), left=(0, 1)))
    out("\nhow large they are: smallest, quartiles and largest of those drawn")
    show(table(("", "0%", "25%", "50%", "75%", "100%"), _size_rows(found)))
    from nas_budget.report.figures.space import never

    if values := never(found.choices):
        out(f"\nnever fits: {'; '.join(values)}")


def _bounds(found: Exploration) -> str:
    low, high = found.bounds or (0.0, 0.0)
    return f"certainly {low:.3g} to {high:.3g}: too many to count exactly"


def _part_rows(found: Exploration) -> list[tuple[str, ...]]:
    """Mean share of each part, for each count of stages."""
    import numpy as np

    n_stages = np.count_nonzero(found.rows["channels"], axis=1)
    params, macs = found.part_shares("params"), found.part_shares("macs")
    rows = []
    for n in np.unique(n_stages):
        names = ["stem", *[f"stage {i}" for i in range(1, n + 1)], "head"]
        for name, place in zip(names, [*range(n + 1), -1], strict=True):
            means = (f"{shares[n_stages == n, place].mean():.1%}" for shares in (params, macs))
            rows.append((str(n) if name == "stem" else "", name, *means))
    return rows


def _size_rows(found: Exploration) -> list[tuple[str, ...]]:
    import numpy as np

    words = {"params": "parameters", "macs": "MACs", "activation_bytes": "activations (B)"}
    return [
        (word, *(in_short(float(value)) for value in np.quantile(found.costs[name], (0, 0.25, 0.5, 0.75, 1))))
        for name, word in words.items()
    ]


def exploration_json(found: Exploration) -> dict[str, Any]:
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
