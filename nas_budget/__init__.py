"""Find the most accurate neural network under a hard budget.

    >>> from nas_budget import Budget, ResNetSpec, cost
    >>> spec = ResNetSpec(channels=(32, 64, 96, 128, 185))
    >>> cost(spec).params
    4907445
    >>> Budget(params=5_000_000).check(spec).fits
    True

Names are loaded when first used, so that counting does not wait for torch. `__init__.pyi` lists them, once:
for type checkers, and for the loader below.
"""

import ast
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

_LISTED = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
_MODULES = {name.name: found.module for found in _LISTED if isinstance(found, ast.ImportFrom) for name in found.names}

__all__ = sorted(_MODULES)


if _IPYTHON := sys.modules.get("IPython"):  # a notebook, or a shell: specs and search results show as drawings
    import_module("nas_budget.report.notebook").load_ipython_extension(_IPYTHON.get_ipython())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("nas-budget")
    if module := _MODULES.get(name):
        return getattr(import_module(module), name)
    raise AttributeError(f"module 'nas_budget' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
