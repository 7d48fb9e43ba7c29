"""Templates, styles, scripts and small tables that pages are made of."""

from importlib.resources import files


def asset(name: str) -> str:
    """The text of a file of this folder."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
