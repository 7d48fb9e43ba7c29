"""How long layers take on a device, for a model that predicts the latency of networks made of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import median

import torch
from torch import nn

from nas_budget.arch.cost import cost
from nas_budget.arch.latency import LatencyModel, LayerShape
from nas_budget.arch.latency_table import LatencyTable, TimedLayer, fit_latency
from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.engine.device import autocast, describe_device, memory_format, torch_threads, wait_for
from nas_budget.train.profile.benchmark import prepare

LAYER_S, NETWORK_S = 0.03, 0.25
"""Seconds for which a layer and a network are repeated; of each the least time counts."""
FEWEST, WARM_UP, N_ROUNDS = 5, 2, 2


def time_layers(
    shapes: Sequence[LayerShape], device: torch.device, precision: str = "fp32", threads: int = 1
) -> LatencyTable:
    """The least time of each layer for one image.

    A convolution has its batch norm and activation with it, as in a network. Layers are timed in rounds: other work
    on the machine only adds, so of the rounds the least counts.

    Args:
        shapes: The layers.
        device: Where.
        precision: "fp32", "bf16" or "fp16".
        threads: Threads on a CPU.
    """
    best, clock = dict.fromkeys(shapes, float("inf")), _clock(device, threads)
    with torch_threads(threads if device.type == "cpu" else None):
        for shape in [*shapes] * N_ROUNDS:
            best[shape] = min(best[shape], _least(_layer(shape, device, precision), LAYER_S, clock))
        source = f"{describe_device(device)}, {precision}"
    return LatencyTable(source, tuple(TimedLayer(shape, 1e3 * seconds) for shape, seconds in best.items()))


def network_s(spec: ResNetSpec, device: torch.device, precision: str = "fp32", threads: int = 1) -> float:
    """The least seconds of one image through a network with fresh weights."""
    with torch_threads(threads if device.type == "cpu" else None):
        run = prepare(spec, device, precision, training=False, batch=1)
        return _least(run, NETWORK_S, _clock(device, threads))


def calibrated(
    table: LatencyTable, specs: Iterable[ResNetSpec], seconds: Callable[[ResNetSpec], float]
) -> LatencyTable:
    """The table with its times multiplied by one factor, so that whole networks take what is predicted in the median.

    What stands between layers (additions, pools, the calls themselves) takes time too, and a layer alone finds more
    in the cache than one in a network. The factor makes up for both.

    Args:
        table: Layers that were timed one by one.
        specs: Networks like those that are to be predicted.
        seconds: Measures one of them.
    """
    model = fit_latency(table)
    ratios = [1e9 * seconds(spec) / predicted_ns(model, spec) for spec in specs]
    if not ratios:
        return table
    factor = median(ratios)
    layers = tuple(replace(one, milliseconds=factor * one.milliseconds) for one in table.layers)
    return LatencyTable(f"{table.source}; times {factor:.3g}, as {len(ratios)} networks take", layers)


def predicted_ns(model: LatencyModel, spec: ResNetSpec) -> int:
    """What a model predicts for a network."""
    return model.network_ns(cost(spec).timed)


def _layer(shape: LayerShape, device: torch.device, precision: str) -> Callable[[], None]:
    """A function that runs the layer and waits for the device."""
    kept = memory_format(device)
    n_in, n_out = shape.in_channels, shape.out_channels
    module: nn.Module = nn.Linear(n_in, n_out)
    size: tuple[int, ...] = (1, n_in)
    if shape.kind != "linear":
        padding = shape.kernel // 2
        conv = nn.Conv2d(n_in, n_out, shape.kernel, shape.stride, padding, groups=shape.groups, bias=False)
        module = nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))
        module, size = module.to(memory_format=kept), (1, n_in, shape.size, shape.size)
    module = module.to(device).eval()
    image = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(device)
    image = image if shape.kind == "linear" else image.contiguous(memory_format=kept)

    def run() -> None:
        with torch.inference_mode(), autocast(device, precision):
            module(image)
        wait_for(device)

    return run


def _clock(device: torch.device, threads: int) -> Callable[[], float]:
    """A clock: of one thread on a CPU that of its own computing, which stands while other programs have the core."""
    return time.thread_time if device.type == "cpu" and threads == 1 else time.perf_counter


def _least(run: Callable[[], None], time_s: float, clock: Callable[[], float]) -> float:
    """The least seconds of a call, of as many as there is time for."""
    for _ in range(WARM_UP):
        run()
    found: list[float] = []
    deadline = time.perf_counter() + time_s
    while len(found) < FEWEST or time.perf_counter() < deadline:
        start = clock()
        run()
        found.append(clock() - start)
    return min(found)
