"""Which numbers a recipe may have."""

import math
from collections.abc import Callable
from typing import Any

from experiments.configs.recipe import Phase, Recipe, numbers
from experiments.train.pruners import GSM, Gradual, GradualMagnitude, Sparsify


class ConfigError(Exception):
  """A number that no run can have; the message names it."""


RANGES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
  (
    ("batch_size", "evaluate_every", "every", "after_epochs", "n", "m"),
    lambda value: value >= 1,
    "at least 1",
  ),
  (("checkpoint_every",), lambda value: value is None or value >= 1, "at least 1"),
  (
    (
      *("epochs", "warmup_epochs", "density_epochs", "dense_epochs", "peak"),
      *("weight_decay", "adam_share", "power", "most", "padding", "seed", "held_out"),
    ),
    lambda value: value >= 0,
    "0 or more",
  ),
  (
    ("momentum", "b1", "b2"),
    lambda value: 0 <= value < 1,
    "at least 0 and less than 1",
  ),
  (("prune_from",), lambda value: value is None or 0 <= value <= 1, "from 0 to 1"),
  (("smoothing",), lambda value: value is None or 0 <= value < 1, "0 or more, below 1"),
  (("passive_weight_decay",), lambda value: value is None or value >= 0, "0 or more"),
  (
    ("density", "active_share"),
    lambda value: 0 < value <= 1,
    "above 0 and at most 1",
  ),
  (
    ("after",),
    lambda value: list(value) == sorted(value) and all(0 <= x <= 1 for x in value),
    "shares between 0 and 1, ascending",
  ),
)
"""Names of fields, what their values must be, and that in words."""


def check(recipe: Recipe) -> None:
  """Raises a ConfigError for numbers outside their ranges."""
  for owner, name, value in numbers(recipe):
    for names, fits, words in RANGES:
      if name in names and not fits(value):
        raise ConfigError(f"{_flag(owner, name)} must be {words}, not {value}.")
    _check_size(_flag(owner, name), name, value)
  for owner in ("base", "gsm"):
    phase: Phase = getattr(recipe, owner)
    warmup = getattr(phase.schedule, "warmup_epochs", 0)
    if 0 < phase.epochs < warmup:
      raise ConfigError(
        f"{_flag(f'{owner}.schedule', 'warmup_epochs')} must be at most"
        f" {_flag(owner, 'epochs')}, {phase.epochs}, not {warmup:g}."
      )
    optimizer = phase.optimizer
    if isinstance(optimizer, GSM | Sparsify) and optimizer.start_density is not None:
      if not recipe.density <= optimizer.start_density <= 1:
        raise ConfigError(
          f"{_flag(f'{owner}.optimizer', 'start_density')} must be at least the"
          f" density, and at most 1, not {optimizer.start_density}."
        )
    elif not isinstance(optimizer, Gradual | GradualMagnitude):
      continue
    flag, fall = _flag(f"{owner}.optimizer", "density_epochs"), optimizer.density_epochs
    dense = getattr(optimizer, "dense_epochs", 0)
    if 0 < phase.epochs < dense + fall:
      before = f", less {dense:g} dense ones" if dense else ""
      raise ConfigError(
        f"{flag} must be at most {_flag(owner, 'epochs')}, {phase.epochs}{before}, not"
        f" {fall:g}."
      )


def _check_size(flag: str, name: str, value: Any) -> None:
  """Whole numbers must fit into 32 bits, and others be finite."""
  for part in value if isinstance(value, tuple) else (value,):
    if isinstance(part, float) and not math.isfinite(part):
      raise ConfigError(f"{flag} must be finite, not {part}.")
    if isinstance(part, int) and not isinstance(part, bool):
      # A key has 32 bits of seed.
      most = 2**32 if name == "seed" else 2**31
      if not -(2**31) <= part < most:
        raise ConfigError(f"{flag} must fit into 32 bits, not {part}.")


def _flag(owner: str, name: str) -> str:
  path = f"{owner}.{name}" if owner else name
  return f"--{path.replace('_', '-')}"
