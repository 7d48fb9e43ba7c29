"""The limit on latency of a study: which layers of its space to time, and the model that is fitted to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas_budget.arch.budget import NO_LIMIT, Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.latency import LatencyModel, LayerShape
from nas_budget.arch.latency_table import LatencyTable, fit_latency, read_latency_table
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NothingFitsError, UsageError
from nas_budget.search.samplers.factory import AnySpace
from nas_budget.space.feasible import FeasibleSpace
from nas_budget.space.neighbors import neighbors
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import choices_of
from nas_budget.train.profile.layer_timing import calibrated, network_s, time_layers

PER_KIND = 14
"""Layers of each kind and kernel size that are timed: their model has four numbers."""
N_RANDOM, N_NETWORKS = 40, 9
"""Random networks whose layers are looked at, and those that are timed as a whole."""
SIZES = (0.0, 0.5, 1.0)
TURNS = ("stem_kernel", "shortcut_kernel", "se_reduction", "stem_width", "stem_stride", "head_width", "pool")
"""Options whose choices are gone through side by side."""
OWN_KEYS = ("latency", "latency_table")
"""Keys of `[budget]` in a study file that are no fields of `Budget`."""
OF_FAMILY = "budget.latency: not predicted for networks of a family of your own; leave it out"


def layers_to_time(space: SearchSpace, budget: Budget = NO_LIMIT) -> tuple[LayerShape, ...]:
    """Layers of a space's networks to be timed: of every kind and kernel size there is, some from small to large.

    Args:
        space: The networks.
        budget: Limits on them; that on latency says nothing here.

    Raises:
        NothingFitsError: No network keeps the other limits.

    Examples:
        >>> layers = layers_to_time(SearchSpace(stages=(2, 2), blocks=(1, 1), kernels=(3,), shortcut_kernel=(1,)))
        >>> sorted({(layer.kind, layer.kernel) for layer in layers}), len(layers)
        ([('conv', 1), ('conv', 3), ('linear', 1)], 42)
    """
    found = {shape for spec in _typical(space, budget) for shape in cost(spec).timed}
    chosen: list[LayerShape] = []
    for kind, kernel in sorted({(shape.kind, shape.kernel) for shape in found}):
        same = sorted((x for x in found if (x.kind, x.kernel) == (kind, kernel)), key=lambda x: (x.macs, x))
        places = np.unique(np.linspace(0, len(same) - 1, PER_KIND).round().astype(int))
        chosen += [same[place] for place in places]
    return tuple(chosen)


def _typical(space: SearchSpace, budget: Budget) -> Iterator[ResNetSpec]:
    """Networks that together have every choice of the space with every kind of block, and random ones that fit."""
    feasible = FeasibleSpace(space, replace(budget, latency_ns=None))
    # A limit may take large kernels away from a deep network: the narrowest ones have them without one.
    yield from _narrowest(space)
    yield from (feasible.decode({**point, "size": size}) for point in _points(space) for size in SIZES)
    yield from _random(feasible, N_RANDOM)


def _random(feasible: FeasibleSpace, n: int) -> Iterator[ResNetSpec]:
    """Networks of random points."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        drawn: dict[str, Any] = {}
        for one in feasible.space.dimensions():
            if one.choices:
                drawn[one.name] = one.choices[int(rng.integers(len(one.choices)))]
            else:
                value = rng.uniform(one.low, one.high)
                drawn[one.name] = round(value) if one.whole else value
        yield feasible.decode(drawn)


def _narrowest(space: SearchSpace) -> Iterator[ResNetSpec]:
    """Networks that together have every kind and kernel size of layer that there is, in the least size."""
    feasible = FeasibleSpace(replace(space, fill=(1e-6, 1.0)), NO_LIMIT)
    for point in _points(space):
        spec = feasible.decode({**point, "size": 0.0})
        yield spec
        # Of one width throughout it may have no projection; with another width it has one.
        wider = (near for near in neighbors(space, spec) if near.channels != spec.channels)
        yield from (replace(near, shortcut_kernel=point["shortcut_kernel"]) for near in wider)


def _points(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """Points with every choice that makes another kind of layer, with every kind of block."""
    n = space.stages[1]
    for block in dict.fromkeys(space.block):
        together = [choices_of(space, block, name) for name in ("kernels", "groups", "expansions")]
        for kernel, groups, expansion in product(*together):
            for turn in range(max(len(getattr(space, name)) for name in TURNS)):
                options = {name: getattr(space, name)[turn % len(getattr(space, name))] for name in TURNS}
                stages = {f"kernel_{i}": kernel for i in range(1, n + 1)}
                stages |= {f"expansion_{i}": expansion for i in range(1, n + 1)}
                stages |= {f"growth_{i}": min(max(2.0, space.growth[0]), space.growth[1]) for i in range(2, n + 1)}
                yield {"stages": n, "block": block, "groups": groups, **options, **stages}


def check_timed(space: SearchSpace, model: LatencyModel) -> None:
    """Check that every kind and kernel size of layer that a space needs was timed.

    Raises:
        UsageError: Some were not; the message names each with a layer that needs it.
    """
    timed = {(kind, kernel) for kind, kernel, _ in model.terms}
    needed = {(shape.kind, shape.kernel): shape for spec in _narrowest(space) for shape in cost(spec).timed}
    missing = [shape for key, shape in sorted(needed.items()) if key not in timed]
    if len(missing) == 1:
        model.of(missing[0].kind, missing[0].kernel, missing[0])
    if missing:
        names = "; ".join(map(str, missing))
        raise UsageError(
            f"{model.source}: has no layers like these, which networks of the space have: {names}; time such layers "
            "and add them (nas-budget explore --layers-to-time lists them), or leave them out of the space"
        )


def given_table(section: Mapping[str, Any]) -> LatencyTable | None:
    """The table of latencies that a section `[budget]` names; None where it names none.

    Raises:
        TableError: It cannot be read.
    """
    return read_latency_table(Path(section["latency_table"])) if section.get("latency_table") else None


@dataclass(frozen=True)
class Timing:
    """How layers are timed on this device.

    Attributes:
        device: Where.
        precision: "fp32", "bf16" or "fp16".
        threads: Threads on a CPU.
    """

    device: torch.device
    precision: str = "fp32"
    threads: int = 1


def measured_table(space: AnySpace, section: Mapping[str, Any], timing: Timing) -> LatencyTable:
    """Timed layers of this device, in tune with whole networks that are near the limit of a section `[budget]`.

    Raises:
        UsageError: The space is a family of the user's own.
        NothingFitsError: No network of the space keeps the other limits.
    """
    if not isinstance(space, SearchSpace):
        raise UsageError(OF_FAMILY)
    kept = {key: value for key, value in section.items() if key not in OWN_KEYS}
    limits: dict[str, Any] = {key: None if value == "none" else value for key, value in kept.items()}
    budget = Budget(**limits)
    table = time_layers(layers_to_time(space, budget), timing.device, timing.precision, timing.threads)
    near = replace(budget, latency_ns=section["latency"], latency_model=fit_latency(table))
    networks = _random(_feasible(space, near) or FeasibleSpace(space, budget), N_NETWORKS)
    seconds = partial(network_s, device=timing.device, precision=timing.precision, threads=timing.threads)
    return calibrated(table, dict.fromkeys(networks), seconds)


def _feasible(space: SearchSpace, budget: Budget) -> FeasibleSpace | None:
    """What fits; None where nothing does."""
    try:
        return FeasibleSpace(space, budget)
    except NothingFitsError:
        return None


def is_measured(section: Mapping[str, Any]) -> bool:
    """Whether a section limits the latency on this device, as it names no table."""
    return section.get("latency", "none") != "none" and not section.get("latency_table")


def closed_budget(section: Mapping[str, Any], model: LatencyModel | None) -> dict[str, Any]:
    """The section with the limit and the model as fields of `Budget` in place of time and table."""
    closed = {key: value for key, value in section.items() if key not in OWN_KEYS}
    if model:
        limit = section.get("latency", "none")
        closed |= {"latency_ns": None if limit == "none" else limit, "latency_model": model.to_dict()}
    return closed


def model_for(space: AnySpace, table: LatencyTable | None, recorded: Mapping[str, Any] | None) -> LatencyModel | None:
    """The model of a study: fitted to a table, or else as the study recorded it; None where it has none.

    Raises:
        UsageError: It lacks layers that the space needs, or the space is a family of the user's own.
    """
    kept = (recorded or {}).get("budget", {}).get("latency_model")
    model = fit_latency(table) if table else LatencyModel.from_dict(kept) if isinstance(kept, Mapping) else None
    if model and not isinstance(space, SearchSpace):
        raise UsageError(OF_FAMILY)
    if table and model and isinstance(space, SearchSpace):
        check_timed(space, model)
    return model
