"""Study files: TOML read and checked in one place, every mistake reported at once."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from nas_budget.arch.budget import parse_quantity
from nas_budget.errors import QuantityError, SettingsError, StudyFileError
from nas_budget.space.space import SearchSpace
from nas_budget.train.optim.recipe import RECIPES, Recipe

FORBID = ConfigDict(extra="forbid")
COMMAND_LINE = "command line"

Sections = dict[str, dict[str, Any]]
"""A study's settings by section and key, as plain values; "auto" where the device is to decide."""

Auto = Literal["auto"]


def _quantity(value: Any) -> Any:
    if value in ("auto", "none"):
        return value
    try:
        return parse_quantity(value)
    except QuantityError as error:
        raise ValueError(str(error).removeprefix("limit: ")) from None


def _listed(kind: Any) -> Any:
    """The type, taking a single value for a list of one, or for a range of one value."""
    if get_origin(kind) is not tuple:
        return kind
    times = 1 if Ellipsis in get_args(kind) else 2
    return Annotated[
        kind, BeforeValidator(lambda v: [v] * times if isinstance(v, (int, float, str)) and v != "auto" else v)
    ]


SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def _duration(value: Any) -> Any:
    """Seconds of a number or of a text such as "90s", "45m", "2h", "1.5h" or "1d"."""
    if not isinstance(value, str) or value == "none":
        return value
    found = re.fullmatch(r"([\d.]+)\s*([a-z]*)", value.strip())
    try:
        number, unit = found.groups() if found else ("", "")
        return float(number) * SECONDS[unit or "s"]
    except (ValueError, KeyError):
        raise ValueError(f'{value!r} is not a time; write "90s", "45m", "2h" or a number of seconds') from None


Limit = Annotated[int | Literal["none"], BeforeValidator(_quantity)]
Count = Annotated[int, BeforeValidator(_quantity), Field(ge=1)]
Duration = Annotated[float, Field(gt=0)]
Open = Annotated[Duration | Literal["none"], BeforeValidator(_duration)]


class BudgetSection(BaseModel):
    """`[budget]`: limits as numbers or as "5M", "250k", "64KiB"; "none" is no limit."""

    model_config = FORBID
    params: Limit = 5_000_000
    macs: Limit | Auto = "auto"
    weight_bytes: Limit = "none"
    activation_bytes: Limit = "none"
    weight_format: Literal["fp32", "fp16", "int8"] = "fp32"


class DataSection(BaseModel):
    """`[data]`: which images, and how many of them."""

    model_config = FORBID
    name: str = "auto"
    images: Count | Literal["auto", "all"] = "auto"
    validation_images: Count | Auto = "auto"


class SearchSection(BaseModel):
    """`[search]`: how networks are proposed, stopped early and kept."""

    model_config = FORBID
    trials: Count = 50
    timeout: Open = "none"
    device_time: Open = "none"
    patience: Count | Literal["none"] = "none"
    target: Annotated[float, Field(gt=0, le=1)] | Literal["none"] = "none"
    sampler: Literal["tpe", "gp", "nsga2", "cmaes", "evolution", "random"] = "tpe"
    n_startup_trials: Count | Auto = "auto"
    pruner: Literal["front", "halving", "hyperband", "median", "none"] = "front"
    pruner_metric: Literal["loss", "accuracy"] = "loss"
    rungs: tuple[Annotated[int, Field(ge=1)], ...] | Auto = "auto"
    trial_seeds: Count = 1
    finalists: Annotated[int, Field(ge=0)] = 0
    finalist_seeds: Count = 3
    finalist_epochs: Count | Auto = "auto"
    workers: Count = 1
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: Count | Auto = "auto"
    graph: bool = False
    storage: str = "journal"
    queue: list[dict[str, Any]] | Auto = "auto"


def _section(
    title: str, source: type, left_out: tuple[str, ...], optional: bool = False, **special: Any
) -> type[BaseModel]:
    """A section with the fields of a dataclass, so that they are declared once; None stands for not given."""
    hints = get_type_hints(source)
    fields: dict[str, Any] = {
        f.name: (hints[f.name] | None, None) if optional else (_listed(hints[f.name]), f.default)
        for f in dataclasses.fields(source)
        if f.name not in left_out
    }
    return create_model(title, __config__=FORBID, **(fields | special))


FROM_DATA = ("image_size", "in_channels", "classes")
SpaceSection = _section(
    "SpaceSection", SearchSpace, FROM_DATA,
    blocks=(Auto | _listed(tuple[int, int]), "auto"), first_stride=(Auto | _listed(tuple[int, ...]), "auto"),
)  # fmt: skip
RecipeSection = _section(
    "RecipeSection", Recipe, (), optional=True, name=(Literal[("auto", *RECIPES)], "auto"),
    learning_rate=(float | tuple[float, float] | None, None), weight_decay=(float | tuple[float, float] | None, None),
    batch_size=(int | tuple[int, ...] | None, None), optimizer=(str | tuple[str, ...] | None, None),
)  # fmt: skip
SECTIONS: dict[str, type[BaseModel]] = {
    "budget": BudgetSection,
    "space": SpaceSection,
    "data": DataSection,
    "recipe": RecipeSection,
    "search": SearchSection,
}


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
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyFileError([f"{path}: cannot be read ({error.strerror}); give the path of a .toml file"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
        k: tuple(v) if isinstance(v, list) else v for k, v in checked.items() if k != "name" and v != "auto"
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
