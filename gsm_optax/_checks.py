"""Checks of numeric arguments whose values are known before tracing."""

from typing import Any

import jax
import jax.core
import numpy as np


def is_known(array: Any) -> bool:
  """Whether the value is known now: a tracer's is known only at run time."""
  return not isinstance(array, jax.core.Tracer)


def known_number(name: str, value: Any, meaning: str) -> float | None:
  """The value as a Python number, or None for a schedule, a tracer or None.

  Raises:
    ValueError: if it is anything else.
  """
  if value is None or callable(value):
    return None
  is_number = isinstance(value, int | float | np.number | np.ndarray | jax.Array)
  if isinstance(value, bool) or not is_number or np.shape(value):
    raise ValueError(f"`{name}` must be {meaning}, not {value!r}.")
  return float(value) if is_known(value) else None


def check_share(name: str, value: Any, advice: str = "") -> None:
  """Raises a ValueError unless the value is None, unknown, or in [0, 1)."""
  number = known_number(name, value, "a number in [0, 1)")
  if number is not None and not 0 <= number < 1:
    message = f"`{name}` must be in [0, 1), but it is {value}. {advice}"
    raise ValueError(message.rstrip())


def check_rate(name: str, value: Any, optional: bool = False) -> None:
  """Raises a ValueError unless the value is unknown, or finite and at least 0.

  Args:
    name: of the argument.
    value: of the argument.
    optional: whether it may be None.
  """
  meaning = "a non-negative number or a schedule"
  if value is None and not optional:
    raise ValueError(f"`{name}` must be {meaning}, not None.")
  number = known_number(name, value, meaning)
  if number is not None and not 0 <= number < float("inf"):
    raise ValueError(f"`{name}` must be finite and not negative, but it is {value}.")


def check_step(name: str, value: Any) -> None:
  """Raises a ValueError unless the value is None, unknown, or a step's number."""
  meaning = "the number of a step, from 0, or None"
  if callable(value):
    raise ValueError(f"`{name}` must be {meaning}, not a function.")
  number = known_number(name, value, meaning)
  if number is not None and not (0 <= number < 2**31 and number == int(number)):
    raise ValueError(f"`{name}` must be {meaning}, not {value!r}.")
