"""Recipes, found by name through import.

A recipe is a `Recipe` at the top of a module of this package, in capitals:
``LENET300_MNIST`` is called ``lenet300-mnist``. Nothing else needs to know of it.
"""

import importlib
import pkgutil
from functools import cache

from experiments.configs.check import ConfigError
from experiments.configs.recipe import Recipe


@cache
def recipes() -> dict[str, Recipe]:
  """Every recipe by its name.

  Raises:
    ConfigError: if two have one name.
  """
  found: dict[str, Recipe] = {}
  for module in pkgutil.iter_modules(__path__):
    variables = vars(importlib.import_module(f"{__name__}.{module.name}"))
    for variable, value in variables.items():
      if variable.isupper() and isinstance(value, Recipe):
        name = variable.lower().replace("_", "-")
        if found.setdefault(name, value) is not value:
          raise ConfigError(
            f"Two recipes are called {name}; {module.name}.py has one of them."
          )
  return found
