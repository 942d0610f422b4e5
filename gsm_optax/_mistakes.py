"""Trees that are not params, but are given for them by mistake."""

from collections.abc import Mapping
from typing import Any

import jax
import optax


def check_is_params(params: Any) -> None:
  """Raises a ValueError for what holds params, or was made of them, but is not params.

  These are a `TrainState`, Linen's variables with more collections than the params, and
  the state of an optimizer.
  """
  if hasattr(params, "params") and hasattr(params, "opt_state"):
    raise ValueError(
      f"A {type(params).__name__} holds more than the params, such as the state of the"
      " optimizer: pass its `.params`, and put them back with `.replace(params=…)`."
    )
  if isinstance(params, Mapping) and "params" in params and len(params) > 1:
    others = ", ".join(repr(key) for key in params if key != "params")
    raise ValueError(
      f"Beside the params this holds {others}, as a model's variables do: pass the"
      " params alone, as in `variables['params']`."
    )
  nodes = jax.tree.leaves(params, is_leaf=_is_state)
  if states := [type(node).__name__ for node in nodes if _is_state(node)]:
    raise ValueError(
      f"This holds the state of an optimizer ({states[0]}): pass the params that it"
      " trains."
    )


def _is_state(node: Any) -> bool:
  """Whether a node is the state of one of Optax's transformations, or of ours."""
  package = type(node).__module__.partition(".")[0]
  return (
    isinstance(node, tuple)
    and package in ("optax", "gsm_optax")
    and not isinstance(node, optax.MaskedNode)
  )
