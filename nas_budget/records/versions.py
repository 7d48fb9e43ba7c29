"""Versions of the packages that a result depends on."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import version


@cache
def package_versions(*names: str) -> str:
    """This package and others with their versions, as results record them; read once a process.

    A module that is loaded names its build too (`2.14.1+cu130`), so it goes before the installed metadata.

    Raises:
        importlib.metadata.PackageNotFoundError: A package that is not installed.

    Examples:
        >>> package_versions("numpy")  # doctest: +ELLIPSIS
        'nas-budget ..., numpy ...'
    """
    found = (f"{name} {getattr(sys.modules.get(name), '__version__', None) or version(name)}" for name in names)
    return ", ".join((f"nas-budget {version('nas-budget')}", *found))
