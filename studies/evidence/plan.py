"""The steps of the evidence, and notes of how far each is."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nas_budget.errors import NasBudgetError
from nas_budget.records.atomic_write import write_whole

PLAN = Path(__file__).with_name("gpu.toml")
NOTES = "evidence.json"


@dataclass(frozen=True)
class Step:
    """A command of the plan, and what it is to show."""

    name: str
    shows: str
    command: str

    @property
    def needs(self) -> list[str]:
        """The steps whose studies it takes its network from."""
        return re.findall(r"--study \{runs\}/(\S+)", self.command)

    def words(self, runs: Path) -> list[str]:
        """The command as a shell would take it, with the folder of runs in its place."""
        words = [word.replace("{runs}", str(runs)) for word in shlex.split(self.command)]
        return [*words, "--runs-dir", str(runs)] if words[0] == "nas-budget" else words

    def process(self, runs: Path) -> list[str]:
        """The same in this environment, whatever the PATH."""
        program, *rest = self.words(runs)
        return [sys.executable, *(["-m", "nas_budget"] if program == "nas-budget" else []), *rest]


def read_plan(path: Path) -> list[Step]:
    """The steps of a plan, in order.

    Raises:
        NasBudgetError: It cannot be read, or holds something else.
    """
    try:
        steps = [Step(**values) for values in tomllib.loads(path.read_text(encoding="utf-8"))["step"]]
    except OSError as error:
        raise NasBudgetError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise NasBudgetError(f"{path}: no plan: each [[step]] has name, shows and command ({error})") from None
    if empty := [step.name for step in steps if not step.command.strip()]:
        raise NasBudgetError(f"{path}: the command of {empty[0]} is empty")
    return steps


@dataclass
class Note:
    """How far a step is: "to do", "under way", "failed" or "done"."""

    state: str = "to do"
    calls: int = 0
    seconds: float = 0.0


@dataclass
class Notes:
    """What is known of each step, and every call of one so far, each by a name of its own."""

    steps: dict[str, Note] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, content: bytes, where: Path) -> Notes:
        """The notes of a file's content.

        Raises:
            NasBudgetError: It is damaged.
        """
        try:
            known = json.loads(content)
            return cls({name: Note(**values) for name, values in known["steps"].items()}, list(known["history"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NasBudgetError(f"{where}: is damaged ({error}); put back a copy, or remove its folder") from None

    @classmethod
    def of_runs(cls, runs: Path) -> Notes:
        """The notes in a folder of runs; empty where there are none."""
        path = runs / NOTES
        return cls.read(path.read_bytes(), path) if path.exists() else cls()

    def of(self, step: Step) -> Note:
        """The note of a step."""
        return self.steps.setdefault(step.name, Note())

    def state(self, name: str) -> str:
        """How far the step of a name is."""
        return self.steps.get(name, Note()).state

    def begin(self, step: Step) -> None:
        """A step is gone on with."""
        note = self.of(step)
        note.state, note.calls = "under way", note.calls + 1
        self.history.append(uuid.uuid4().hex[:12])

    def write(self, runs: Path) -> None:
        """Write them to the folder of runs."""
        write_whole(runs / NOTES, json.dumps(asdict(self), indent=2) + "\n")
