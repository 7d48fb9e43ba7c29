"""Options that set keys of a study file; search, train and explore share them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from nas_budget.arch.budget import WORDS, parse_quantity
from nas_budget.cli.options.completion import (
    ACTIVATIONS,
    AIMS,
    BLOCKS,
    DATA,
    DEVICES,
    PRECISIONS,
    PRUNERS,
    RECIPES,
    SAMPLERS,
)
from nas_budget.cli.options.completion import NUMBER_FORMATS as FORMATS
from nas_budget.cli.options.declare import BUDGET, SEARCH, STORAGE, TRAINING, option
from nas_budget.cli.options.runs import find_spec, run_named
from nas_budget.errors import UsageError
from nas_budget.untrusted import read_json, read_text, read_toml


def toml_value(text: str) -> Any:
    """A command-line text as TOML reads it: 3, 0.5, [3, 5], true; anything else is the text itself."""
    try:
        return read_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def parse_assignment(text: str) -> tuple[str, Any]:
    """Key and value of "section.key=value"."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: write section.key=value, such as --set space.kernels=[3,5]")
    return key.strip(), toml_value(value.strip())


def parse_limit(text: str, option: str, of: str = "bytes") -> int | str:
    """The whole number of a limit of an option, or "none"."""
    return text if text == "none" else parse_quantity(text, option, of)


def parse_fill(text: str) -> list[float]:
    """Least and most of "0.9:1"; a single number is the least."""
    least, _, most = text.partition(":")
    try:
        return [float(least), float(most or 1)]
    except ValueError:
        raise UsageError(f"--fill {text}: write least:most as shares of the budget, such as 0.9:1") from None


def parse_words(text: str) -> list[str]:
    """The words of "basic,inverted"."""
    return [word.strip() for word in text.split(",")]


def parse_seed_spec(text: str) -> dict[str, Any]:
    """The network of a JSON file, of a study or run, or of channels such as "32,64,96"."""
    with suppress(ValueError):
        return {"channels": [int(width) for width in text.split(",")]}
    try:
        path = Path(text)
        values: Any = read_json(read_text(find_spec(path) if run_named(path) else path))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--seed-spec {text}: {getattr(error, 'strerror', None) or 'not JSON'}; "
            "give a file such as runs/quickstart/best.json, or channels such as 32,64,96"
        ) from None
    if not isinstance(values, dict):
        raise UsageError(f"--seed-spec {text}: holds no network; give a file such as runs/quickstart/best.json")
    return values


@dataclass(frozen=True)
class Key:
    """A key of a study file that an option sets.

    Attributes:
        key: "section.key".
        text: Its help.
        panel: Panel of the help.
        default: Its default in words.
        choices: The words it may be, offered in the shell.
        parse: Reads the text that is given.
        repeated: Whether it may be given several times; the value is then a list.
        variable: Of the environment, that has its value where the option is not given.
    """

    key: str
    text: str
    panel: str
    default: str = ""
    choices: tuple[str, ...] = ()
    parse: Callable[[str], Any] = toml_value
    repeated: bool = False
    variable: str = ""

    @property
    def annotation(self) -> Any:
        """The type of the parameter."""
        kind = list[str] if self.repeated else str
        return Annotated[
            kind | None, option(self.text, self.panel, self.default, choices=self.choices, variable=self.variable)
        ]


def _words(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


OPTIONS = {
    "budget": Key(
        "budget.params", "Most parameters, such as 5M, 250k or none.", BUDGET, "5M",
        parse=partial(parse_limit, option="--budget", of=WORDS["params"]),
    ),
    "max_macs": Key(
        "budget.macs", "Most multiply-accumulates for one image, such as 30M, or none.", BUDGET, "none",
        parse=partial(parse_limit, option="--max-macs", of=WORDS["macs"]),
    ),
    "max_weight_bytes": Key(
        "budget.weight_bytes", "Most bytes of weights, such as 250kB.", BUDGET, "none",
        parse=partial(parse_limit, option="--max-weight-bytes"),
    ),
    "weight_format": Key(
        "budget.weight_format", f"Number format of those: {_words(FORMATS)}.", BUDGET, "fp32", FORMATS
    ),
    "max_activation_bytes": Key(
        "budget.activation_bytes", "Most bytes of live elements for one image.", BUDGET, "none",
        parse=partial(parse_limit, option="--max-activation-bytes"),
    ),
    "activation_format": Key(
        "budget.activation_format", f"Number format of those: {_words(FORMATS)}.", BUDGET, "fp32", FORMATS
    ),
    "max_latency": Key(
        "budget.latency", "Most predicted time for one image, such as 5ms or 800us.", BUDGET, "none", parse=str
    ),
    "latency_table": Key(
        "budget.latency_table", "Times of layers on the device it is for: a CSV file.", BUDGET, "this device", parse=str
    ),
    "fill": Key(
        "space.fill", "Share of the budget that networks use, such as 0.9:1 for near it.", BUDGET,
        "by the aim",
        parse=parse_fill,
    ),
    "family": Key(
        "space.family", "Networks of your own: package.module:Family, whose code is run.", SEARCH, "residual networks",
        parse=str,
    ),
    "block": Key(
        "space.block", f"Kinds of block to propose: {', '.join(BLOCKS)}.", SEARCH, "basic", BLOCKS, parse_words
    ),
    "activation": Key(
        "space.activation", f"Activations to propose: {', '.join(ACTIVATIONS)}.", SEARCH, "relu", ACTIVATIONS,
        parse_words,
    ),
    "trials": Key(
        "search.trials", "Trials in all; the same command, run again, resumes up to them.", SEARCH, "50, or by time"
    ),
    "time": Key("search.time", "Time in which the search is to end, such as 20m.", SEARCH, "none"),
    "proxy": Key(
        "search.proxy", "Train copies of this share of the width, such as 1/8, or none.", SEARCH, "by time", parse=str
    ),
    "sampler": Key("search.sampler", f"{_words(SAMPLERS)}.", SEARCH, "bayes", SAMPLERS),
    "aim": Key("search.aim", f"What is looked for: {_words(AIMS)} of all sizes.", SEARCH, "best", AIMS),
    "pruner": Key("search.pruner", f"{_words(PRUNERS)}.", SEARCH, "front", PRUNERS),
    "workers": Key("search.workers", "Processes that train at once.", SEARCH, "by device"),
    "seed_spec": Key(
        "search.queue", "A network to train first: a spec.json, or channels. Repeat it for more.", SEARCH, "auto",
        parse=parse_seed_spec, repeated=True,
    ),
    "finalists": Key("search.finalists", "Best trials that are trained with more seeds.", SEARCH, "0"),
    "seeds": Key("search.finalist_seeds", "Seeds of each finalist.", SEARCH, "3"),
    "timeout": Key("search.timeout", "Time after which no trial starts, such as 2h.", SEARCH, "none"),
    "device_time": Key("search.device_time", "Time of all trials together after which none starts.", SEARCH, "none"),
    "patience": Key("search.patience", "Trials without progress after which none starts.", SEARCH, "none"),
    "target": Key("search.target", "Accuracy that ends the search, such as 0.95.", SEARCH, "none"),
    "storage": Key(
        "search.storage", "journal, or the URL of a database for Optuna; or NAS_BUDGET_STORAGE.", SEARCH, "journal",
        variable=STORAGE,
    ),
    "checkpoints": Key(
        "search.checkpoints", "With a database: a shared folder, or s3://..., for checkpoints.", SEARCH,
        "that of the study", parse=str,
    ),
    "data": Key("data.name", f"{', '.join(DATA)} or a path: images by class, .npz, CSV.", TRAINING, "auto", DATA),
    "images": Key("data.images", "Images to train on, or all.", TRAINING, "by time"),
    "epochs": Key("recipe.epochs", "Passes over the images.", TRAINING, "by recipe"),
    "recipe": Key("recipe.name", f"How to train: {_words(RECIPES)}.", TRAINING, "by device", RECIPES),
    "seed": Key("search.seed", "Fixes proposals, initial weights and order of images.", TRAINING, "0"),
    "device": Key("search.device", f"{', '.join(DEVICES)} or cuda:1.", TRAINING, "auto", DEVICES),
    "precision": Key("search.precision", f"{_words(PRECISIONS)}.", TRAINING, "auto", PRECISIONS),
    "threads": Key("search.threads", "Threads on a CPU.", TRAINING, "by network"),
}  # fmt: skip
"""Every such option by its name."""


class StudyKeys:
    """A group of these options and --set; a command gets their values by "section.key".

    Changes are the fields of a `Key` that are different in this command, by the option's name.
    """

    def __init__(self, *names: str, set_panel: str, **changes: Mapping[str, Any]) -> None:
        self.options = {name: replace(OPTIONS[name], **changes.get(name, {})) for name in names}
        kinds = {name: made.annotation for name, made in self.options.items()}
        text = "Any key of the study file, as section.key=value; repeat it for more."
        kinds["set_"] = Annotated[list[str] | None, option(text, set_panel, flag="--set")]
        parameter = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY, default=None)
        self.__signature__ = inspect.Signature([parameter(name, annotation=kind) for name, kind in kinds.items()])

    def __call__(self, set_: list[str] | None, **given: Any) -> dict[str, Any]:
        """The value of each key that is set; --set goes before the other options."""
        values = {
            made.key: [*map(made.parse, given[name])] if made.repeated else made.parse(given[name])
            for name, made in self.options.items()
            if given[name] not in (None, [])
        }
        return values | dict(map(parse_assignment, set_ or []))
