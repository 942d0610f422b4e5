"""Studies: sets of runs, what they are compared with, and what is made of them.

A study is a `Study` called ``STUDY`` in a module of this package, by whose name
`experiments.paper` finds it.
"""

import importlib
import pkgutil
from functools import cache

from experiments.studies.study import Study


@cache
def studies() -> dict[str, Study]:
  """Every study by its name."""
  found: dict[str, Study] = {}
  for module in pkgutil.iter_modules(__path__):
    study = getattr(importlib.import_module(f"{__name__}.{module.name}"), "STUDY", None)
    if isinstance(study, Study):
      found[module.name] = study
  return found
