"""Random networks."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from nas_budget.arch.blocks import ACTIVATIONS, FAMILIES
from nas_budget.arch.latency import KINDS, LatencyModel
from nas_budget.arch.spec import ResNetSpec

ODD = st.sampled_from([1, 3, 5, 7])
KERNELS = {kind: (1,) if kind == "linear" else (1, 3, 5, 7) for kind in KINDS}
DEVICE = LatencyModel(
    "a board",
    tuple(
        (kind, kernel, (700.3 + 91.7 * i + kernel, 0.0137 * kernel**2 * (1 + i), 0.211 + 0.1 * i, 0.0731 * kernel))
        for i, kind in enumerate(KINDS)
        for kernel in KERNELS[kind]
    ),
)
"""A device on which every kind of layer was timed."""


@st.composite
def specs(
    draw: st.DrawFn, max_width: int = 24, max_stages: int = 4, image: tuple[int, int, int] | None = None
) -> ResNetSpec:
    """Any valid network that is small enough to build quickly; `image` fixes size, channels and classes."""
    n = draw(st.integers(1, max_stages))
    image = image or draw(st.tuples(st.integers(4, 33), st.integers(1, 4), st.integers(1, 12)))

    def each(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.one_of(values, st.lists(values, min_size=n, max_size=n)))

    strides = draw(st.one_of(st.none(), st.lists(st.integers(1, 3), min_size=n, max_size=n)))
    parts: dict[str, Any] = {
        "channels": draw(st.lists(st.integers(1, max_width), min_size=n, max_size=n)),
        "blocks": each(st.integers(1, 3)),
        "kernels": each(ODD),
        "stem_kernel": draw(ODD),
        "shortcut_kernel": draw(ODD),
        "strides": strides,
        "block": draw(st.sampled_from(sorted(FAMILIES))),
        "se_reduction": draw(st.sampled_from([0, 0, 2, 16])),
        "stem_width": draw(st.sampled_from([0, 0, 5, 16])),
        "dropout": draw(st.sampled_from([0.0, 0.2])),
        "activation": draw(st.sampled_from(ACTIVATIONS)),
        "stem_stride": draw(st.sampled_from([1, 1, 2, 3])),
        "head_width": draw(st.sampled_from([0, 0, 7, 20])),
        **dict(zip(("image_size", "in_channels", "classes"), image, strict=True)),
    }
    family = FAMILIES[parts["block"]]
    if family.expansion:
        expansions = [0, 1, 1.7, 2, 3, *([0.5] if family.least_expansion < 1 else [])]
        parts["expansions"] = each(st.sampled_from(expansions))
    if family.grouped:
        parts["groups"] = draw(st.sampled_from([1, 1, 2, 3, 8]))
    size = ResNetSpec(**parts, pool="global").maps[-1]
    return ResNetSpec(**parts, pool=draw(st.one_of(st.just("global"), st.integers(1, size))))
