"""The networks next to a network: one change away, and still in the space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import SpecError
from nas_budget.space.space import OPTIONS, SearchSpace
from nas_budget.space.spec_factory import choices_of, contains, make_spec, parts_of


def neighbors(space: SearchSpace, spec: ResNetSpec) -> Iterator[ResNetSpec]:
    """Every spec of the space that differs in one number of one stage, or in one other choice."""
    for stage, (width, blocks) in enumerate(zip(spec.channels, spec.blocks, strict=True)):
        choices = {
            "channels": (width + space.width_step, width - space.width_step),
            "blocks": (blocks + 1, blocks - 1),
            "kernels": space.kernels,
            "expansions": choices_of(space, spec.block, "expansions"),
            "strides": space.strides if stage else space.first_stride,
        }
        for name, values in choices.items():
            for value in values:
                yield from _changed(space, spec, name, stage, value)
    for name in OPTIONS:
        for value in choices_of(space, spec.block, name):
            yield from _changed(space, spec, name, None, value)


def _changed(space: SearchSpace, spec: ResNetSpec, name: str, stage: int | None, value: Any) -> Iterator[ResNetSpec]:
    parts = parts_of(spec)
    if stage is None:
        parts["options"][name] = value
    else:
        parts[name] = (*parts[name][:stage], value, *parts[name][stage + 1 :])
    try:
        changed = make_spec(space, **parts)
    except SpecError:
        return
    if changed != spec and contains(space, changed):
        yield changed
