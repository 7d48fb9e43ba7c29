"""Print the oldest versions that pyproject.toml allows, as constraints for pip: `make oldest` installs them."""

import re
import tomllib
from pathlib import Path


def constraints(pyproject: Path) -> list[str]:
    """Each package that the project and its extras need, at its lower bound; tools of developers stay as they are."""
    project = tomllib.loads(pyproject.read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [re.sub(r"^([\w-]+)(\[\w+\])?>=", r"\1==", text) for wanted in lists for text in wanted]


if __name__ == "__main__":
    print("\n".join(constraints(Path(__file__).parents[1] / "pyproject.toml")))  # noqa: T201
