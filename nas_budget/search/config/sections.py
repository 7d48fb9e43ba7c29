"""The keys of a study file: the type, default and description of each, by section."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from nas_budget.arch.budget import LATENCY, WORDS, Budget, parse_quantity
from nas_budget.arch.cost import BYTES_PER_NUMBER
from nas_budget.arch.latency import parse_latency
from nas_budget.errors import QuantityError
from nas_budget.space.space import SearchSpace
from nas_budget.train.optim.recipe import RECIPES, Recipe
from nas_budget.untrusted import read_factor

CLOSED = ConfigDict(extra="forbid", use_attribute_docstrings=True)
NUMBER_FORMATS = tuple(BYTES_PER_NUMBER)

Auto = Literal["auto"]


def _quantity_of(of: str) -> BeforeValidator:
    """What reads a quantity of parameters, MACs, bytes or anything else that is counted."""

    def read(value: Any) -> Any:
        if value in ("auto", "none"):
            return value
        try:
            return parse_quantity(value, of=of)
        except QuantityError as error:
            raise ValueError(str(error).removeprefix("limit: ")) from None

    return BeforeValidator(read)


def _listed(kind: Any) -> Any:
    """The type, taking a single value for a list of one, or for a range of one value."""
    if get_origin(kind) is not tuple:
        return kind
    times = 1 if Ellipsis in get_args(kind) else 2
    return Annotated[
        kind, BeforeValidator(lambda v: [v] * times if isinstance(v, (int, float, str)) and v != "auto" else v)
    ]


SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def parse_time(text: str) -> float:
    """Seconds of a text such as "90s", "45m", "2h", "1.5h", "1d" or "90"; `ValueError` where it is no time."""
    found = re.fullmatch(r"([\d.]+)\s*([a-z]*)", text.strip())
    try:
        number, unit = found.groups() if found else ("", "")
        return float(number) * SECONDS[unit or "s"]
    except (ValueError, KeyError):
        raise ValueError(f'{text!r} is not a time; write "90s", "45m", "2h" or a number of seconds') from None


def _duration(value: Any) -> Any:
    return parse_time(value) if isinstance(value, str) and value != "none" else value


def _factor(value: Any) -> Any:
    """A number of a text such as "1/8" or "0.125"; 1.0 for "none"."""
    if not isinstance(value, str) or value == "auto":
        return value
    try:
        return 1.0 if value == "none" else read_factor(value)
    except ValueError:
        raise ValueError(f'{value!r} is no factor; write "1/8", 0.125, "none" or "auto"') from None


def _latency(value: Any) -> Any:
    """Nanoseconds of a text such as "5ms"."""
    try:
        return value if value == "none" else parse_latency(value)
    except QuantityError as error:
        raise ValueError(str(error).removeprefix("latency: ")) from None


def absolute_place(place: str) -> str:
    """A folder with its whole path; any other address as it is.

    Examples:
        >>> absolute_place("s3://bucket/checkpoints")
        's3://bucket/checkpoints'
    """
    is_word = place in ("", "auto", "none")
    return place if is_word or "://" in place else str(Path(place).expanduser().absolute())


Factor = Annotated[Annotated[float, Field(gt=0, le=1)] | Auto, BeforeValidator(_factor)]
Limit = int | Literal["none"]
Count = Annotated[int, _quantity_of("no bytes"), Field(ge=1)]
Duration = Annotated[float, Field(gt=0)]
Open = Annotated[Duration | Literal["none"], BeforeValidator(_duration)]


class DataSection(BaseModel):
    """`[data]`: which images, and how many of them."""

    model_config = CLOSED
    name: str = "auto"
    """Data set: a known name, or the path of images; auto: CIFAR-10 where it can be had, else shapes."""
    images: Count | Literal["auto", "all"] = "auto"
    """Images to train on, or all; auto: as many as the time of the search allows."""
    validation_images: Count | Auto = "auto"
    """Training images set aside to measure accuracy; auto: a tenth on a GPU, 1,000 on a CPU."""


class SearchSection(BaseModel):
    """`[search]`: how networks are proposed, pruned and kept."""

    model_config = CLOSED
    trials: Count | Auto = "auto"
    """Complete or pruned trials in all; running the study again resumes it up to them; auto: 50, or as time allows."""
    time: Open = "none"
    """Time, such as 20m, in which the search is planned to end: proxy, images and trials are chosen by it."""
    proxy: Factor = "auto"
    """What widths are multiplied by for training, such as 1/8; none trains networks themselves; auto: by time."""
    ladder: tuple[Annotated[int, Field(ge=1)], ...] | Auto = "auto"
    """How many of the best train again at twice the proxy's width, and at four times; auto: [5, 2], or by time."""
    timeout: Open = "none"
    """Time, such as 2h or 90m, after which no trial starts; those under way are finished."""
    device_time: Open = "none"
    """Training time of all trials together, over all workers, after which no trial starts."""
    patience: Count | Literal["none"] = "none"
    """Trials in a row without a new one on the Pareto front after which no trial starts."""
    target: Annotated[float, Field(gt=0, le=1)] | Literal["none"] = "none"
    """Validation accuracy, such as 0.95, that ends the search when a trial reaches it."""
    sampler: Literal["bayes", "tpe", "gp", "nsga2", "cmaes", "evolution", "random"] = "bayes"
    """What proposes networks after the startup trials."""
    aim: Literal["best", "front"] = "best"
    """What is looked for: the most accurate network, or the best of every size."""
    n_startup_trials: Annotated[int, Field(ge=0)] | Auto = "auto"
    """Trials of all sizes before the sampler is asked; auto: 4 with bayes, else 10."""
    pruner: Literal["front", "halving", "hyperband", "median", "none"] = "front"
    """What stops a trial early; front compares it only with trials of at most its size."""
    pruner_metric: Literal["loss", "accuracy"] = "loss"
    """What the front pruner compares: training loss or validation accuracy."""
    rungs: tuple[Annotated[int, Field(ge=1)], ...] | Auto = "auto"
    """Epochs at which trials are compared; auto: 3 and 5 eighths of the epochs."""
    trial_seeds: Count = 1
    """Trainings of each trial, each with its own seed; their mean counts."""
    finalists: Annotated[int, Field(ge=0)] = 0
    """Best trials that are trained again at the end, with other seeds."""
    finalist_seeds: Count = 3
    """Seeds that each finalist is trained with."""
    finalist_epochs: Count | Auto = "auto"
    """Epochs of a finalist's training; auto: those of a trial."""
    workers: Count | Auto = "auto"
    """Processes that train at once, sharing the GPUs or cores; auto: 1, and one a core for proxies on a CPU."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Fixes the proposals, the initial weights and the order of the images."""
    device: str = "auto"
    """Where to train: cpu, cuda, cuda:1 or mps; auto: a CUDA GPU if one computes."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of training; auto: bf16 on a GPU or CPU that has it, fp16 on an older GPU, fp32 elsewhere."""
    threads: Count | Auto = "auto"
    """Threads of a training on a CPU; auto: one for proxies and up to 10 M MACs, else all, shared."""
    graph: bool | Auto = "auto"
    """Whether a GPU replays training steps from a CUDA graph; auto: where that is faster."""
    storage: str = "journal"
    """Where the study is kept: a journal in the run folder, or the URL of a database."""
    checkpoints: Annotated[str, AfterValidator(absolute_place)] = "auto"
    """With a database: a folder that all machines share, or s3://..., for checkpoints; auto: as the study has it."""
    queue: list[dict[str, Any]] | Auto = "auto"
    """Networks to train first; auto: the reference network, if it fits and the space holds it."""


def _section(
    title: str, source: type, special: Mapping[str, tuple[Any, Any]], left_out: Collection[str] = ()
) -> type[BaseModel]:
    """A section with the fields of a dataclass, each described as the dataclass's docstring describes it.

    Args:
        title: Name of the model.
        source: The dataclass.
        special: Type and default of fields that a study file takes in another form, and of those only it has.
        left_out: Fields of the dataclass that no study file has.
    """
    hints, described = get_type_hints(source), described_attributes(source)
    fields = {f.name: (_listed(hints[f.name]), f.default) for f in dataclasses.fields(source)} | {**special}
    kept: dict[str, Any] = {
        name: (kind, Field(default, description=described[name]) if name in described else default)
        for name, (kind, default) in fields.items()
        if name not in left_out
    }
    return create_model(title, __config__=CLOSED, **kept)


def described_attributes(source: type) -> dict[str, str]:
    """What the "Attributes" part of a class's docstring says of each, in one line."""
    _, _, rest = inspect.cleandoc(source.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", re.split(r"\n(?=\S)", rest)[0], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


FROM_DATA = ("image_size", "in_channels", "classes")
"""What a space knows from the images."""
Latency: Any = Annotated[
    Limit,
    BeforeValidator(_latency),
    Field(description="Time of one image, such as 5ms, as predicted from timed layers of this device, or of a table."),
]
LatencyTable: Any = Annotated[
    str, Field(description="CSV file with times of layers on the device that the networks are for.")
]
BudgetSection = _section(
    "BudgetSection",
    Budget,
    {
        "params": (Annotated[Limit, _quantity_of(WORDS["params"])], 5_000_000),
        "macs": (Annotated[Limit, _quantity_of(WORDS["macs"])], "none"),
        "weight_bytes": (Annotated[Limit, _quantity_of("bytes")], "none"),
        "activation_bytes": (Annotated[Limit, _quantity_of("bytes")], "none"),
        "weight_format": (Literal[*NUMBER_FORMATS], NUMBER_FORMATS[0]),
        "activation_format": (Literal[*NUMBER_FORMATS], NUMBER_FORMATS[0]),
        "latency": (Latency, "none"),
        "latency_table": (LatencyTable, ""),
    },
    LATENCY,
)
FamilyTarget: Any = Annotated[
    str, Field(description="Networks of your own instead, as package.module:Family; the other keys do not go with it.")
]
SpaceSection = _section(
    "SpaceSection",
    SearchSpace,
    {
        "family": (FamilyTarget, ""),
        "first_stride": (_listed(tuple[int, ...]), (1, 2)),
        "width": (Auto | _listed(tuple[int, int]), "auto"),
        "fill": (Auto | _listed(tuple[float, float]), "auto"),
    },
    FROM_DATA,
)
RecipeName: Any = Annotated[
    Literal["auto", *RECIPES],
    Field(description="Named recipe that the other keys change; auto: fast on a GPU, brief on a CPU."),
]
OPEN_TO_SEARCH = {
    "learning_rate": float | tuple[float, float],
    "weight_decay": float | tuple[float, float],
    "batch_size": int | tuple[int, ...],
    "optimizer": str | tuple[str, ...],
}
"""What a recipe may leave open: a range of numbers, or choices."""
RecipeSection = _section(
    "RecipeSection",
    Recipe,
    {name: (kind | None, None) for name, kind in (get_type_hints(Recipe) | OPEN_TO_SEARCH).items()}
    | {"name": (RecipeName, "auto")},
)
SECTIONS: dict[str, type[BaseModel]] = {
    "budget": BudgetSection,
    "space": SpaceSection,
    "data": DataSection,
    "recipe": RecipeSection,
    "search": SearchSection,
}


@dataclasses.dataclass(frozen=True)
class KeyHelp:
    """What a person is told of a key of a study file.

    Attributes:
        description: One line.
        default: Its default; None where the recipe gives it.
        choices: The words it may be; empty where it is a number, a list or any text.
    """

    description: str
    default: Any
    choices: tuple[str, ...] = ()


def key_help(key: str) -> KeyHelp:
    """Description, default and choices of a "section.key", for help texts and tables.

    Examples:
        >>> key_help("search.pruner_metric").choices
        ('loss', 'accuracy')
        >>> key_help("search.trial_seeds").default
        1
    """
    section, _, name = key.partition(".")
    known = SECTIONS[section].model_fields[name]
    literal = get_origin(known.annotation) is Literal
    return KeyHelp(known.description or "", known.default, get_args(known.annotation) if literal else ())
