"""Every error a user can cause, each with one clear line, and the exit codes of every command.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | something went wrong on the way: a full disk, a database that is down, a training that diverged |
| 2 | what was asked makes no sense, or an input that it names is missing, damaged or of another version |
| 3 | no network is inside the budget, or the one that was named is not |
| 4 | the search ended, and some of what was asked for is missing |
| 128 + N | stopped by signal N, and resumable: 129 terminal closed, 130 Ctrl-C, 143 `kill` |
| 141 | whoever read the output has closed it, such as `head` |

NasBudgetError          1
├── UsageError          2  what was asked for makes no sense
│   ├── SettingsError      values out of range, all of them listed
│   │   └── SpecError          a network that cannot be built
│   ├── SpaceTooLargeError a space with too many networks to count in reasonable time
│   ├── QuantityError      a limit or number that cannot be read
│   └── StudyFileError     a study file with mistakes, all of them listed
├── InputError          2  something named cannot be used: missing, damaged, of another version or with other settings
│   ├── StudyError         a study
│   ├── ModelError         weights, a checkpoint or a run of train
│   ├── TableError         a table of trials, or of latencies
│   │   └── NoTrialsError      a table without trials
│   └── DataError          images
│       └── DownloadError  1  images that cannot be fetched
├── StorageError        1  a file, folder or database that cannot be written or reached, or that another process uses
├── TrainingError       1  a training that cannot go on: a loss that is no number, too little memory
├── NothingFitsError    3
├── UnfinishedError     4
├── StoppedError      130
└── NoReaderError     141
"""

from __future__ import annotations

from collections.abc import Sequence

N_SHOWN = 20
"""Mistakes of a study file that its error shows; the others are counted."""
LONGEST, N_FIRST, N_LAST = 900, 600, 200
"""Characters of a line of an error, and those that are left of a longer one at its beginning and end."""


class NasBudgetError(Exception):
    """Base of all errors of this package; `str(error)` is made for the user.

    What of a file is repeated in it may be of any length, so the middle of long lines is left out.
    """

    exit_code = 1

    def __str__(self) -> str:
        """The message, each line of it short enough to be read."""
        return "\n".join(_shortened(line) for line in super().__str__().splitlines())


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST else f"{line[:N_FIRST]} ... {line[-N_LAST:]}"


class UsageError(NasBudgetError):
    """What was asked for makes no sense."""

    exit_code = 2


class SettingsError(UsageError):
    """Values out of range; `problems` holds every one as `name: problem`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))

    def __reduce__(self) -> tuple[type[SettingsError], tuple[tuple[str, ...]]]:
        """Made again from its problems where it crosses to another process."""
        return type(self), (self.problems,)


class SpecError(SettingsError):
    """A network that cannot be built."""


class SpaceTooLargeError(UsageError):
    """A space with too many networks to count in reasonable time."""


class QuantityError(UsageError):
    """A limit or number that cannot be read."""


class StudyFileError(UsageError):
    """A study file with mistakes; `problems` holds every one as `file:key: problem`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        shown, n_others = self.problems[:N_SHOWN], len(self.problems) - N_SHOWN
        super().__init__("\n".join([*shown, *([f"... and {n_others:,} more"] if n_others > 0 else [])]))

    def __reduce__(self) -> tuple[type[StudyFileError], tuple[tuple[str, ...]]]:
        """Made again from its problems where it crosses to another process."""
        return type(self), (self.problems,)


class InputError(NasBudgetError):
    """Something that was named cannot be used: it is missing, damaged, of another version or with other settings."""

    exit_code = 2


class StudyError(InputError):
    """A study that cannot be opened or resumed."""


class ModelError(InputError):
    """Weights, a checkpoint or a run folder that cannot be used."""


class TableError(InputError):
    """A table that cannot be read."""


class NoTrialsError(TableError):
    """A table of trials that has none yet."""


class DataError(InputError):
    """Images that are missing or damaged."""


class DownloadError(DataError):
    """Images that cannot be fetched."""

    exit_code = 1


class StorageError(NasBudgetError):
    """A file, folder or database that cannot be written or reached, or that another process uses."""


class TrainingError(NasBudgetError):
    """A training that cannot go on."""


class SpoiledDeviceError(TrainingError):
    """This process can no longer use its GPU, since an error spoiled it; another process can."""


class NothingFitsError(NasBudgetError):
    """No network of the space is inside the budget."""

    exit_code = 3


class TrialLostError(StorageError):
    """A trial is no longer this worker's: another one has taken it over."""


class UnfinishedError(NasBudgetError):
    """The search ended, and some of what was asked for is missing; the same command tries it again."""

    exit_code = 4


class StoppedError(NasBudgetError):
    """Stopped by the user; everything finished so far is kept."""

    exit_code = 130


class NoReaderError(NasBudgetError):
    """Whoever read the output has closed it, and wants no more of it."""

    exit_code = 141
