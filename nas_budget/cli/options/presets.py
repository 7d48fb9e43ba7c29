"""Study files that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from nas_budget.errors import UsageError

PACKAGE = Path(__file__).parents[2]
FOLDERS = (PACKAGE / "presets", PACKAGE.parent / "studies")
"""Where they lie: in an installed package, and in a clone."""


def presets() -> dict[str, Path]:
    """The study files that come with the package, by name.

    Examples:
        >>> "quickstart" in presets()
        True
    """
    folder = next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def preset(name: str) -> Path:
    """The study file of a name.

    Raises:
        UsageError: There is none of this name.
    """
    known = presets()
    if name not in known:
        raise UsageError(f"preset {name}: there is none; there are {', '.join(known)}")
    return known[name]
