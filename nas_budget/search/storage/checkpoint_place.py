"""`CheckpointPlace`: where checkpoints of trials lie so that workers of all machines find them."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from optuna.study import Study

from nas_budget.errors import StorageError, UsageError

PROBE = "probe"
"""File with a text that the study knows: who reads another one, or none, has not the same folder before it."""
EXAMPLES = "a folder that all machines share, or an address such as s3://bucket/checkpoints"


class CheckpointPlace:
    """A folder that all machines share, or an address that fsspec knows. Each trial has a folder in it.

    Args:
        address: Of the place.
        study: Name of the study.
    """

    def __init__(self, address: str, study: str) -> None:
        self.address, self.study = address, study

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
        return files, f"{root.rstrip('/')}/{self.study}"

    def begin(self, study: Study, joins: bool) -> None:
        """Check that the place is the one that the other machines of a study have before them.

        Whoever names a place first leaves a probe in it, and the study remembers what that holds.

        Args:
            study: The study.
            joins: Whether another command runs the search, so that the place must be known.

        Raises:
            UsageError: It is another place, or the study has none.
            StorageError: It cannot be read or written.
        """
        place, text = study.user_attrs.get(PROBE, ("", ""))
        if joins and not text:
            raise UsageError(
                f"checkpoints: study {self.study} has none that are shared; give --checkpoints to its search first"
            )
        if not joins and place != self.address:
            text = uuid.uuid4().hex
            self._write(PROBE, text.encode())
            study.set_user_attr(PROBE, [self.address, text])
        if self._read(PROBE) != text.encode():
            raise UsageError(
                f"checkpoints: {self.address} is not the place that the other machines of study {self.study} use, or "
                "it was emptied: its probe is not there; mount the same folder, or give another one to the search"
            )

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
        files, root = self._opened
        folder, _, file = f"{root}/{name}".rpartition("/")
        part = f"{folder}/.{file}-{uuid.uuid4().hex}"
        with self._clear_errors("written"):
            files.makedirs(folder, exist_ok=True)
            files.pipe_file(part, content)
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
