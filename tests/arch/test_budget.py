import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.arch.budget import Budget, parse_quantity
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import QuantityError

REFERENCE = ResNetSpec((32, 64, 96, 128, 185))


def test_the_reference_fits_five_million_with_its_margin() -> None:
    verdict = Budget().check(REFERENCE)
    assert verdict.fits
    assert verdict.to_dict()["margins"]["params"] == {"limit": 5_000_000, "used": 4_907_445, "margin": 92_555}


def test_a_limit_may_be_used_up_but_not_passed() -> None:
    assert Budget(params=4_907_445).check(REFERENCE).fits
    assert not Budget(params=4_907_444).check(REFERENCE).fits


def test_every_limit_is_checked_in_its_own_unit() -> None:
    used = cost(REFERENCE)
    exact = Budget(used.params, used.macs, used.weight_bytes["int8"], used.activation_bytes, "int8")
    assert [m.margin for m in exact.check(used).margins] == [0, 0, 0, 0]
    assert not Budget(None, used.macs - 1).check(used).fits
    assert not Budget(None, weight_bytes=used.weight_bytes["int8"], weight_format="fp16").check(used).fits
    assert not Budget(None, activation_bytes=used.activation_bytes - 1).check(used).fits
    for name, share in ("fp16", 2), ("int8", 4):
        least = used.activation_bytes // share
        assert Budget(None, activation_bytes=least, activation_format=name).check(used).margins[0].margin == 0
        assert not Budget(None, activation_bytes=least - 1, activation_format=name).check(used).fits
    assert str(Budget(None, activation_bytes=9, activation_format="int8")) == "9 bytes of int8 activations"
    assert Budget(None).check(used).fits


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "5M"])
def test_a_limit_must_be_a_whole_number_above_zero(limit: object) -> None:
    with pytest.raises(QuantityError, match="params: .* give a whole number of 1 or more, such as 5_000_000"):
        Budget(params=limit)  # type: ignore[arg-type]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(QuantityError, match="int8"):
        Budget(weight_format="int4")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5M", 5_000_000),
        ("4,907,445", 4_907_445),
        ("5_000_000", 5_000_000),
        ("250k", 250_000),
        ("250kB", 250_000),
        ("64 KiB", 65_536),
        ("1.5MB", 1_500_000),
        ("5e6", 5_000_000),
        ("2G", 2_000_000_000),
        (7, 7),
    ],
)
def test_quantities(text: str | int, number: int) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize("text", ["", "5Q", "0", "-5", "0.5", "1.0005k", "k", "5 M M", "nan", "five", True])
def test_what_is_no_quantity_is_refused_with_what_was_given(text: str) -> None:
    with pytest.raises(QuantityError, match="--budget"):
        parse_quantity(text, "--budget")


@pytest.mark.parametrize(("of", "such"), [("MACs", "5M or 250k$"), ("bytes", "250kB or 64KiB$")])
def test_the_numbers_to_write_are_such_as_are_read(of: str, such: str) -> None:
    with pytest.raises(QuantityError, match=such):
        parse_quantity("30MMACs", "--max-macs", of)


@given(st.integers(1, 10**15))
def test_numbers_are_read_as_they_are_printed(number: int) -> None:
    assert parse_quantity(f"{number:,}") == parse_quantity(str(number)) == number


@pytest.mark.parametrize(
    ("text", "of", "said"),
    [
        (
            "250kB",
            "parameters",
            "this counts parameters; write 250k, or .*--max-weight-bytes 250kB",
        ),
        ("1 MiB", "parameters", "write 1 Mi, or for bytes of weights --max-weight-bytes 1MiB"),
        ("30MB", "MACs", r"write 30M, or .* \(budget.weight_bytes in a study file\)"),
        ("5b", "no bytes", "'5b' is in bytes and this counts no bytes; write 5$"),
    ],
)
def test_bytes_are_no_parameters(text: str, of: str, said: str) -> None:
    with pytest.raises(QuantityError, match=said) as caught:
        parse_quantity(text, "--budget", of)
    assert "\n" not in str(caught.value)
    assert parse_quantity(text, of="bytes") == parse_quantity(text.rstrip("bB"), of=of)
