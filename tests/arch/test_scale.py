from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.arch.cost import cost
from nas_budget.arch.scale import LEAST_WIDTH, scale_widths
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import SpecError
from tests.strategies import specs


@given(spec=specs(), factor=st.floats(0.05, 1.0))
def test_widths_alone_change_and_each_by_less_than_one_channel_from_its_share(spec: ResNetSpec, factor: float) -> None:
    channels = tuple(100 * c for c in spec.channels)
    wide = replace(spec, channels=channels, stem_width=100 * spec.stem_width, head_width=100 * spec.head_width)
    scaled = scale_widths(wide, factor, least=1)
    assert all(abs(after - 100 * c * factor) <= 0.5 for c, after in zip(spec.channels, scaled.channels, strict=True))
    assert abs(scaled.stem_channels - wide.stem_channels * factor) <= 0.5
    assert abs(scaled.head_width - wide.head_width * factor) <= 0.5
    same = {name: v for name, v in spec.to_dict().items() if name not in ("channels", "stem_width", "head_width")}
    assert same.items() <= scaled.to_dict().items()
    assert cost(scaled).depth == cost(spec).depth


def test_the_stem_is_scaled_too() -> None:
    assert scale_widths(ResNetSpec((64, 128), stem_width=32), 1 / 4).stem_width == 8
    assert scale_widths(ResNetSpec((64, 128)), 1 / 4).stem_width == 0
    with pytest.raises(SpecError, match=r"makes 2 channels of 8; .* give 0.4375 or more"):
        scale_widths(ResNetSpec((64, 128), stem_width=8), 1 / 4)


def test_the_head_is_scaled_too_and_groups_stay() -> None:
    spec = ResNetSpec((64, 128), block="bottleneck", groups=8, expansions=0.5, head_width=40)
    scaled = scale_widths(spec, 1 / 4)
    assert isinstance(scaled, ResNetSpec)
    assert (scaled.head_width, scaled.groups, scaled.expansions) == (10, 8, (0.5, 0.5))
    with pytest.raises(SpecError, match="makes 3 channels of 40"):
        scale_widths(replace(spec, channels=(64, 64)), 1 / 16)


@given(width=st.integers(1, 200), factor=st.floats(0.01, 0.99))
def test_the_least_factor_that_is_named_works(width: int, factor: float) -> None:
    try:
        assert min(scale_widths(ResNetSpec((width,)), factor).channels) >= LEAST_WIDTH
    except SpecError as error:
        least = float(str(error).split("give ")[1].split(" ")[0])
        if least < 1:
            assert scale_widths(ResNetSpec((width,)), least).channels == (LEAST_WIDTH,)


def test_a_network_is_its_own_copy_at_full_width() -> None:
    assert scale_widths(ResNetSpec((1, 2)), 1) == ResNetSpec((1, 2))
