"""The model of latencies of this device, for commands that were given a limit on latency and no table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from nas_budget.arch.budget import Budget
from nas_budget.arch.latency_table import fit_latency
from nas_budget.arch.spec import ResNetSpec
from nas_budget.search.config.latency import Timing, measured_table
from nas_budget.space.space import SearchSpace
from nas_budget.train.engine.device import choose_device, choose_precision, inference_precision

WIDEST = 512


def with_model(budget: Budget, specs: Sequence[ResNetSpec], on_message: Callable[[str], None]) -> Budget:
    """The budget with a model of this device's latencies, fitted to layers like those of these networks.

    It is for the device, the precision and the thread that a search would take unasked.
    """
    on_message("timing layers on this device, for some ten seconds (--latency-table would keep them) ...")
    device = choose_device("auto", on_message)
    limits = {key: value for key, value in budget.to_dict().items() if not key.startswith("latency")}
    section = {**limits, "latency": budget.latency_ns}
    precision = inference_precision(choose_precision("auto", device), device)
    table = measured_table(space_like(specs), section, Timing(device, precision))
    return replace(budget, latency_model=fit_latency(table))


def space_like(specs: Sequence[ResNetSpec]) -> SearchSpace:
    """A space with every kind of layer that these networks have, from narrow to wide."""

    def choices(name: str) -> Any:
        return tuple(dict.fromkeys(getattr(spec, name) for spec in specs))

    def of_stages(name: str) -> Any:
        return tuple(dict.fromkeys(value for spec in specs for value in getattr(spec, name)))

    once = ("pool", "stem_kernel", "shortcut_kernel", "block", "se_reduction", "stem_width", "activation", "groups")
    n_stages, n_blocks = [len(spec.channels) for spec in specs], of_stages("blocks")
    widest = max(WIDEST, *(max(spec.channels) for spec in specs))
    return SearchSpace(
        stages=(min(n_stages), max(n_stages)),
        blocks=(min(n_blocks), max(n_blocks)),
        kernels=of_stages("kernels"),
        expansions=of_stages("expansions"),
        strides=tuple({stride for spec in specs for stride in spec.strides[1:]}) or (2,),
        first_stride=tuple({spec.strides[0] for spec in specs}),
        width=(min(8, *(min(spec.channels) for spec in specs)), widest),
        growth=(0.1, 10.0),
        image_size=specs[0].image_size,
        in_channels=specs[0].in_channels,
        classes=specs[0].classes,
        **{name: choices(name) for name in (*once, "stem_stride", "head_width")},
    )
