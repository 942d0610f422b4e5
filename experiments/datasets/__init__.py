"""Data sets, each a module of this package that is found by its name.

A module has one function, ``load(data_dir, held_out=0, **options) -> Dataset``; see
`experiments.datasets.dataset`.
"""

import contextlib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.datasets.dataset import DataError, Dataset


def load(
  name: str, data_dir: Path | None = None, held_out: int = 0, **options: Any
) -> Dataset:
  """The data set `name`: from `data_dir`, or from where it lies by default.

  Args:
    name: a module of this package.
    data_dir: a folder of files.
    held_out: 0, or how many training images take the test images' place, always the
      same ones. To choose a recipe by: the test images are for what was chosen.
    **options: what the module's own ``load`` takes besides.

  Raises:
    DataError: in one sentence, for a data set or an option that there is not, and for
      files that are missing or not what they should be.
  """
  module_load = _loader(name) if name in _modules() else None
  if module_load is None:
    raise DataError(f"There is no data set {name!r}: there are {', '.join(names())}.")
  known = options_of(module_load)
  unknown = [option for option in options if option not in known]
  if unknown:
    offer = f"it has {', '.join(known)}" if known else "it has none"
    raise DataError(f"{name} has no option {', '.join(unknown)}: {offer}.")
  return module_load(data_dir, held_out, **options)


def names() -> list[str]:
  """The data sets that there are, sorted."""
  found: list[str] = []
  for name in _modules():
    # A data set whose own packages are not installed is none that could be named here.
    with contextlib.suppress(ImportError):
      if _loader(name):
        found.append(name)
  return found


def options_of(module_load: Callable[..., Dataset]) -> list[str]:
  """The names of the options of a data set's ``load``."""
  parameters = inspect.signature(module_load).parameters
  return [name for name in parameters if name not in ("data_dir", "held_out")]


def _modules() -> list[str]:
  """The public modules of this package, sorted, with or without a data set."""
  found = [module.name for module in pkgutil.iter_modules(__path__)]
  return sorted(name for name in found if re.fullmatch("[a-z][a-z0-9_]*", name))


def _loader(name: str) -> Callable[..., Dataset] | None:
  """The ``load`` of a module of this package, if it has one."""
  return getattr(importlib.import_module(f"{__name__}.{name}"), "load", None)
