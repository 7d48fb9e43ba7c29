"""Study files: TOML read and checked in one place, every mistake reported at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nas_budget.errors import SettingsError, StudyFileError
from nas_budget.search.config.sections import SECTIONS
from nas_budget.space.space import SearchSpace
from nas_budget.train.optim.recipe import RECIPES, Recipe
from nas_budget.untrusted import read_text, read_toml

COMMAND_LINE = "command line"
MOST_BYTES = 2**20
"""Of a study file, which is read slowly."""

Sections = dict[str, dict[str, Any]]
"""A study's settings by section and key, as plain values; "auto" where the device is to decide."""


def read_study_file(
    path: Path | None, overrides: Mapping[str, Any] | None = None, defaults: Mapping[str, Any] | None = None
) -> Sections:
    """The settings of a study file (None: the defaults), with single keys replaced.

    Args:
        path: The TOML file.
        overrides: Values by "section.key"; they go before those of the file.
        defaults: Values for keys that neither has, likewise.

    Raises:
        StudyFileError: Every mistake as `file:key: problem`.
    """
    content: dict[str, Any] = _parse(path) if path else {}
    overrides = overrides or {}
    where = str(path) if path else COMMAND_LINE
    problems = [f"{where}:{name}: {_unknown(name, SECTIONS)}" for name in content if name not in SECTIONS]
    for name, section in content.items():
        if name in SECTIONS and not isinstance(section, dict):
            problems.append(f"{where}:{name}: {section!r} is not a section; write [{name}] and its keys below")
            content[name] = {}
    for key, value in overrides.items():
        name, _, field = key.partition(".")
        if name not in SECTIONS or not field:
            problems.append(f"{COMMAND_LINE}:{key}: {_unknown(name, SECTIONS)}")
        else:
            content[name] = {**content.get(name, {}), field: value}
    for name, _, field in (key.partition(".") for key in defaults or {}):
        content[name] = {field: (defaults or {})[f"{name}.{field}"], **content.get(name, {})}
    sections: Sections = {}
    for name in SECTIONS:
        sections[name], wrong = _check(name, content.get(name, {}))
        problems += [f"{COMMAND_LINE if k in overrides else where}:{k}: {problem}" for k, problem in wrong]
    if problems:
        raise StudyFileError(problems)
    return sections


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StudyFileError([f"{path}: cannot be read ({reason}); give the path of a .toml file"]) from None
    try:
        return read_toml(text)
    except ValueError as error:
        raise StudyFileError([f"{path}: not TOML: {error}"]) from None


def _check(name: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The checked values of a section, and each mistake with its key; one wrong value does not hide another."""
    model, wrong = SECTIONS[name], dict[str, list[Any]]()
    try:
        checked = model.model_validate(values)
    except ValidationError as error:
        for issue in error.errors(include_url=False):
            wrong.setdefault(str(issue["loc"][0]), []).append(issue)
        checked = model.model_validate({key: value for key, value in values.items() if key not in wrong})
    known = model.model_fields
    problems = [(f"{name}.{k}", _problem(found) if k in known else _unknown(k, known)) for k, found in wrong.items()]
    plain = checked.model_dump(mode="json", exclude_none=True)
    try:
        _check_values(name, plain)
    except SettingsError as error:
        problems += [(f"{name}.{key}", rest) for key, _, rest in (p.partition(": ") for p in error.problems)]
    return plain, problems


def _check_values(name: str, checked: Mapping[str, Any]) -> None:
    """What the dataclass of a section has against its values; those left to the device are not looked at."""
    given: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in checked.items()
        if k not in ("name", "family") and v != "auto"
    }
    if name == "space":
        SearchSpace(**given)
    if name == "recipe":
        base = RECIPES.get(checked["name"], Recipe())
        for values in product(*(value if isinstance(value, tuple) else (value,) for value in given.values())):
            dataclasses.replace(base, **dict(zip(given, values, strict=True)))


def _problem(issues: list[Any]) -> str:
    """What is wrong with one value, in one line; words it may be instead come last."""
    words = [i["ctx"]["expected"] for i in issues if i["type"] == "literal_error"]
    others = [i for i in issues if i["type"] != "literal_error"] or issues[:1]
    message = str(others[0]["msg"]).removeprefix("Value error, ").replace("a valid tuple", "a list")
    if repr(others[0]["input"]) not in message:
        message = f"{others[0]['input']!r}: {message[0].lower()}{message[1:]}"
    return " or ".join([message, *words]) if others[0]["type"] != "literal_error" else message


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    return f"{name!r} is unknown; known are {', '.join(known)}"
