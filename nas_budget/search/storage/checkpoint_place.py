"""`CheckpointPlace`: where checkpoints of trials lie so that workers of all machines find them."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from nas_budget.errors import StorageError, UsageError
from nas_budget.search.storage.optuna_adapter import WORKER
from nas_budget.search.storage.storage import SETTINGS_S

PROBE = "probe"
"""File with a text that the study knows: who reads another one, or none, has not the same folder before it."""
EXAMPLES = "a folder that all machines share, or an address such as s3://bucket/checkpoints"


class CheckpointPlace:
    """A folder that all machines share, or an address that fsspec knows. Each trial has a folder in it.

    Args:
        address: Of the place.
        study: Name of the study.
        text: That the study knows. It is in the name of the study's folder, as studies of one name may share a place.
    """

    def __init__(self, address: str, study: str, text: str) -> None:
        self.address, self.study, self.text = address, study, text

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, and the folder of the study on it."""
        import fsspec

        try:
            files, root = fsspec.core.url_to_fs(self.address)
        except ImportError as error:
            why = (str(error).splitlines() or [""])[0]
            raise UsageError(f"checkpoints: {self.address}: its driver is not installed ({why})") from None
        except ValueError as error:
            raise UsageError(f"checkpoints: {self.address}: {error}; give {EXAMPLES}") from None
        return files, f"{root.rstrip('/')}/{self.study}-{self.text[:8]}"

    @property
    def is_the_one(self) -> bool:
        """Whether the study's probe is there.

        Raises:
            UsageError: No such kind of place is known.
            StorageError: It cannot be read.
        """
        return self._read(PROBE) == self.text.encode()

    def mark(self) -> None:
        """Leave the study's probe.

        Raises:
            StorageError: It cannot be written.
        """
        self._write(PROBE, self.text.encode())

    def keep(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write files of a trial, each whole or not at all.

        Args:
            name: Folder of the trial in that of its study.
            files: Content by name.

        Raises:
            StorageError: They cannot be written.
        """
        for file, content in files.items():
            self._write(f"{name}/{file}", content)

    def kept(self, name: str) -> dict[str, bytes]:
        """The files of a trial; none where none were kept.

        Raises:
            StorageError: They cannot be read.
        """
        files, root = self._opened
        with self._clear_errors("read"):
            if not files.exists(f"{root}/{name}"):
                return {}
            names = [path.rsplit("/", 1)[-1] for path in files.ls(f"{root}/{name}", detail=False)]
        found = {file: self._read(f"{name}/{file}") for file in names if not file.startswith(".")}
        return {file: content for file, content in found.items() if content is not None}

    def drop(self, name: str) -> None:
        """Remove the files of a trial.

        Raises:
            StorageError: They cannot be removed.
        """
        files, root = self._opened
        with self._clear_errors("changed"):
            if files.exists(f"{root}/{name}"):
                files.rm(f"{root}/{name}", recursive=True)

    def drop_others(self, folder: str, kept: Collection[str]) -> None:
        """Remove the files of all trials in a folder, such as "trials", but for those that are kept.

        Raises:
            StorageError: They cannot be read or removed.
        """
        files, root = self._opened
        with self._clear_errors("read"):
            there = files.ls(f"{root}/{folder}", detail=False) if files.exists(f"{root}/{folder}") else []
        for name in {path.rstrip("/").rsplit("/", 1)[-1] for path in there} - {*kept}:
            self.drop(f"{folder}/{name}")

    def _write(self, name: str, content: bytes) -> None:
        import fsspec.implementations.local

        files, root = self._opened
        folder, _, file = f"{root}/{name}".rpartition("/")
        part = f"{folder}/.{file}-{uuid.uuid4().hex}"
        with self._clear_errors("written"):
            files.makedirs(folder, exist_ok=True)
            files.pipe_file(part, content)
            if isinstance(files, fsspec.implementations.local.LocalFileSystem):
                Path(part).replace(f"{folder}/{file}")  # `mv` would first try what Windows refuses
            else:
                files.mv(part, f"{folder}/{file}")

    def _read(self, name: str) -> bytes | None:
        """A file; None where there is none."""
        files, root = self._opened
        with self._clear_errors("read"):
            files.invalidate_cache()
            path = f"{root}/{name}"
            return bytes(files.cat_file(path)) if files.exists(path) else None

    @contextmanager
    def _clear_errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each kind of place has errors of its own
            why = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
            raise StorageError(f"checkpoints: {self.address}: cannot be {verb} ({why})") from None


def check_place(address: str, study: str) -> None:
    """Check that a place can be written, before a study notes it; nothing is left in it.

    Raises:
        UsageError: No such kind of place is known.
        StorageError: It cannot be written or changed.
    """
    place = CheckpointPlace(address, study, uuid.uuid4().hex)
    place.mark()
    place.drop("")


def open_place(address: str, study: Study, joins: bool) -> CheckpointPlace:
    """The place of a study, which is the one that its other machines have before them.

    Whoever names a place first leaves a probe in it, with a text that the study remembers. So does a search that finds
    none, if no other machine trains at the moment: it names another place, or the old one was emptied.

    Args:
        address: Of the place.
        study: The study.
        joins: Whether another command runs the search, so that the probe must be there.

    Raises:
        UsageError: It is another place, the study has none, or no such kind is known.
        StorageError: It cannot be read or written.
    """
    end = time.monotonic() + SETTINGS_S
    while joins and not study.user_attrs.get(PROBE) and time.monotonic() < end:
        time.sleep(0.1)  # whoever began the study is about to note it
    text = study.user_attrs.get(PROBE, "")
    if joins and not text:
        raise UsageError(
            f"checkpoints: study {study.study_name} has none that are shared; give --checkpoints to its search first"
        )
    place = CheckpointPlace(address, study.study_name, text or uuid.uuid4().hex)
    if text and place.is_the_one:
        return place
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    hosts = {trial.user_attrs.get("host") for trial in running if trial.user_attrs.get(WORKER)}
    if joins or (text and hosts - {socket.gethostname()}):
        raise UsageError(
            f"checkpoints: {address} is not the place that the other machines of study {study.study_name} use, or it "
            "was emptied: its probe is not there; mount the same folder, or give another one when they have ended"
        )
    place.mark()
    study.set_user_attr(PROBE, place.text)
    return place
