"""A conditional that costs nothing where its condition is known."""

from collections.abc import Callable
from typing import Any

import jax

from gsm_optax._checks import is_known


def either(
  condition: jax.Array, if_true: Callable[[], Any], if_false: Callable[[], Any]
) -> Any:
  """`jax.lax.cond`; outside of `jax.jit`, where that compiles at each call, an `if`."""
  if is_known(condition):
    return if_true() if condition else if_false()
  return jax.lax.cond(condition, if_true, if_false)
