"""Names and texts as strangers may write them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_budget.errors import StudyFileError, UsageError
from nas_budget.search.config.study_file import read_study_file
from nas_budget.untrusted import LONGEST, check_name, name_from, read_json, read_toml

DEEP = 100_000


@pytest.mark.parametrize("name", ["quickstart", "mine-2", "größe_5M.v2", "研究", "मेरा", "7", "a" * LONGEST])
def test_names_of_any_alphabet_are_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../evil", "a/b", "a\\b", "C:x", "=cmd", "-x", "+1", "@x", "a b", "<b>", "a=b", "a\x00", "a\n",
     "a\u202e", "a" * (LONGEST + 1), "ä" * LONGEST, "a\ud800"],
    ids=ascii,
)  # fmt: skip
def test_other_names_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_name(name)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 200


@given(st.text())
def test_a_name_made_from_any_text_is_one(text: str) -> None:
    assert check_name(name_from(text))


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20))
def test_a_name_stays_as_it_is(text: str) -> None:
    assert name_from(text) == text


@given(st.text(min_size=1))
def test_what_is_taken_is_one_folder_below(name: str) -> None:
    try:
        check_name(name)
    except UsageError:
        return
    assert Path("runs", name).parent == Path("runs")
    assert not any(unicodedata.category(character)[0] in "CZS" for character in name)


@pytest.mark.parametrize("text", ["[" * DEEP, '{"a":' * DEEP, "{"])
def test_json_that_cannot_be_read_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="nested too deeply|Expecting"):
        read_json(text)


def test_deep_toml_is_a_value_error_and_a_study_file_says_so(tmp_path: Path) -> None:
    text = f"a = {'[' * DEEP}"
    with pytest.raises(ValueError, match="nested too deeply"):
        read_toml(text)
    (path := tmp_path / "deep.toml").write_text(text)
    with pytest.raises(StudyFileError, match="not TOML: nested too deeply"):
        read_study_file(path)


def test_many_mistakes_show_the_first_twenty_and_how_many_others(tmp_path: Path) -> None:
    (path := tmp_path / "wrong.toml").write_text("[search]\n" + "".join(f"key{i} = 1\n" for i in range(5_000)))
    with pytest.raises(StudyFileError) as caught:
        read_study_file(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "... and 4,980 more"
    assert len(caught.value.problems) == 5_000
