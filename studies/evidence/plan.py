"""The steps of the evidence, and notes of how far each is."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from nas_budget.files import write_whole

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
    """The steps of a plan, in order."""
    return [Step(**values) for values in tomllib.loads(path.read_text(encoding="utf-8"))["step"]]


@dataclass
class Note:
    """How far a step is: "to do", "under way", "failed" or "done"."""

    state: str = "to do"
    calls: int = 0
    seconds: float = 0.0


class Notes:
    """What is known of each step, kept in the folder of runs."""

    def __init__(self, runs: Path) -> None:
        self.path = runs / NOTES
        known = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.steps = {name: Note(**values) for name, values in known.items()}

    def of(self, step: Step) -> Note:
        """The note of a step."""
        return self.steps.setdefault(step.name, Note())

    def state(self, name: str) -> str:
        """How far the step of a name is."""
        return self.steps.get(name, Note()).state

    def begin(self, step: Step) -> None:
        """Note that a step is gone on with."""
        note = self.of(step)
        note.state, note.calls = "under way", note.calls + 1
        self._write()

    def end(self, step: Step, state: str, seconds: float) -> None:
        """Note how that ended."""
        note = self.of(step)
        note.state, note.seconds = state, round(note.seconds + seconds, 1)
        self._write()

    def _write(self) -> None:
        write_whole(self.path, json.dumps({name: asdict(note) for name, note in self.steps.items()}, indent=2) + "\n")
