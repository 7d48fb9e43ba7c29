import json

import numpy as np
import pytest
from hypothesis import given

from nas_budget.arch.blocks import FAMILIES
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import SpecError
from tests.strategies import specs

REFERENCE = ResNetSpec((32, 64, 96, 128, 185))


def test_one_number_stands_for_every_stage() -> None:
    spec = ResNetSpec((8, 16, 32), blocks=2, kernels=5)
    assert (spec.blocks, spec.kernels, spec.strides) == ((2, 2, 2), (5, 5, 5), (1, 2, 2))


@given(specs())
def test_json_gives_back_an_equal_spec(spec: ResNetSpec) -> None:
    again = ResNetSpec.from_json(spec.to_json())
    assert again == spec
    assert hash(again) == hash(spec)


def test_numpy_numbers_are_plain_numbers() -> None:
    widths = np.array([8, 16])
    spec = ResNetSpec(list(widths), blocks=widths[0] // 8, pool=np.int64(2))  # type: ignore[arg-type]
    assert ResNetSpec.from_json(spec.to_json()) == spec == ResNetSpec((8, 16), blocks=1, pool=2)


def test_fields_that_came_later_are_left_out_of_texts_where_they_say_nothing() -> None:
    known = {
        "channels", "blocks", "kernels", "pool", "stem_kernel", "shortcut_kernel", "strides", "block", "se_reduction",
        "stem_width", "dropout", "image_size", "in_channels", "classes",
    }  # fmt: skip
    for block in FAMILIES:
        assert set(ResNetSpec((8, 9), block=block).to_dict()) == known
    assert ResNetSpec((8,), activation="silu", head_width=9).to_dict().keys() - known == {"activation", "head_width"}
    assert ResNetSpec((8,), block="inverted", expansions=3).to_dict()["expansions"] == [3]


def test_the_usual_expansion_has_one_spelling() -> None:
    usual = ResNetSpec((8, 9), block="inverted")
    assert usual == ResNetSpec((8, 9), block="inverted", expansions=(0, 6.0)) != ResNetSpec((8, 9))
    assert json.loads(ResNetSpec((8,), block="inverted", expansions=np.float64(2)).to_json())["expansions"] == [2]
    assert ResNetSpec((8, 9), block="bottleneck").expansions == (0.25, 0.25)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        ResNetSpec((0, 8), blocks=(1, 2, 3), kernels=4, dropout=1.0, pool=-1)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "channels",
        "blocks",
        "kernels",
        "dropout",
        "pool",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"channels": ()}, "channels"),
        ({"channels": "abc"}, "channels"),
        ({"channels": [[8], [9]]}, "channels"),
        ({"channels": 8}, "channels"),
        ({"channels": (8.5,)}, "8.5"),
        ({"channels": (True,)}, "True"),
        ({"channels": (8, 8), "pool": 17}, "16x16"),
        ({"channels": (8,), "stem_kernel": 2}, "odd"),
        ({"channels": (8,), "pool": "all"}, "global"),
        ({"channels": (8,), "dropout": float("nan")}, "dropout"),
        ({"channels": (8,), "blocks": 10**9}, "1,000"),
        ({"channels": (8,), "activation": "gelu"}, "silu"),
        ({"channels": (8,), "activation": ["relu"]}, "silu"),
        ({"channels": (8,), "groups": 2}, "another block \\(bottleneck\\)"),
        ({"channels": (8,), "block": "bottleneck", "groups": 0}, "groups: 0"),
        ({"channels": (8,), "expansions": 2}, "bottleneck, inverted"),
        ({"channels": (8,), "block": "inverted", "expansions": 0.5}, "numbers from 1 to 64"),
        ({"channels": (8,), "block": "inverted", "expansions": float("nan")}, "nan"),
        ({"channels": (8,), "block": "inverted", "expansions": "6"}, "'6'"),
        ({"channels": (8, 9), "block": "inverted", "expansions": (6, 6, 6)}, "3 values for 2 stages"),
        ({"channels": (8,), "stem_stride": 0}, "stem_stride"),
        ({"channels": (8,), "stem_stride": 2, "pool": 17}, "16x16"),
        ({"channels": (8,), "head_width": -1}, "head_width"),
    ],
)
def test_a_network_that_cannot_be_built_says_what_is_allowed(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        ResNetSpec(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"blocks": 3}', '{"channels": [8], "widths": 3}', '{"channels": null}']
)
def test_json_that_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        ResNetSpec.from_json(text)


def test_a_global_pool_is_the_whole_map() -> None:
    assert ResNetSpec((8, 8, 8), pool="global").pool_size == 8
    assert REFERENCE.maps == (32, 16, 8, 4, 2)
