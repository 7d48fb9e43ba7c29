"""Every error a user can cause, each with one clear line and an exit code.

NasBudgetError          1  something went wrong
├── UsageError          2  what was asked for makes no sense
│   ├── SettingsError      values out of range, all of them listed
│   │   └── SpecError          a network that cannot be built
│   ├── SpaceTooLargeError a space with too many networks to count in reasonable time
│   ├── QuantityError      a limit or number that cannot be read
│   └── StudyFileError     a study file with mistakes, all of them listed
├── StudyError          1  a study that cannot be opened or continued
│   └── StorageError       a database that cannot be reached or used
├── ModelError          1  weights, a checkpoint or a run folder that cannot be used
├── TrainingError       1  a training that cannot go on: a loss that is no number, too little memory
├── TableError          1  a trials table that cannot be read or written
├── DataError           1  images that are missing, damaged or cannot be written
│   └── DownloadError      images that cannot be fetched
├── NothingFitsError    3  no network of the space is inside the budget
└── StoppedError      130  stopped by the user; everything so far is kept
"""

from __future__ import annotations

from collections.abc import Sequence

N_SHOWN = 20
"""Mistakes of a study file that its error shows; the others are counted."""


class NasBudgetError(Exception):
    """Base of all errors of this package; `str(error)` is made for the user."""

    exit_code = 1


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


class StudyError(NasBudgetError):
    """A study that cannot be opened or continued."""


class StorageError(StudyError):
    """A database that cannot be reached or used, also after a wait."""


class SpoiledDeviceError(StudyError):
    """This process can no longer use its GPU, since an error spoiled it; another process can."""


class ModelError(NasBudgetError):
    """Weights, a checkpoint or a run folder that cannot be used."""


class TrainingError(NasBudgetError):
    """A training that cannot go on."""


class TableError(NasBudgetError):
    """A trials table that cannot be read or written."""


class DataError(NasBudgetError):
    """Images that are missing, damaged or cannot be written."""


class DownloadError(DataError):
    """Images that cannot be fetched."""


class NothingFitsError(NasBudgetError):
    """No network of the space is inside the budget."""

    exit_code = 3


class StoppedError(NasBudgetError):
    """Stopped by the user; everything finished so far is kept."""

    exit_code = 130
