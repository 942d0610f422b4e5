"""The exact number Q of weights to keep at a given density."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsm_optax._checks import is_known
from gsm_optax._threshold._wide_int import WideInt, floor_of_share


def check_density(
  density: Any, n: int | None = None, of: str = "prunable weight"
) -> None:
  """Raises a ValueError if the value is known not to be a density.

  A traced scalar or a schedule cannot be checked; `quota` clips its value.

  Args:
    density: the value to check.
    n: the number of prunable weights, if known; a Python number must keep at least one.
    of: what one of them is called.
  """
  if callable(density):
    return
  is_array = isinstance(density, jax.Array | np.ndarray)
  if is_array:
    if density.shape:
      raise ValueError(f"`density` must be a scalar, but has shape {density.shape}.")
    if not is_known(density):
      return
    density = density.item()
  if isinstance(density, bool) or not isinstance(density, int | float | np.number):
    raise ValueError(
      f"`density` must be the share of the {of}s to keep, a number in (0, 1] or a"
      f" schedule, not {density!r}."
    )
  if not 0 < density <= 1:
    raise ValueError(
      f"`density` must be in (0, 1], but it is {density}. It is the share of the {of}s"
      " to keep: 0.1 keeps a tenth of them, a compression of 10."
    )
  if n is not None and not is_array and not floor_of_share(density, n):
    raise ValueError(
      f"`density` {density} of {n} {of}s is less than one {of.split()[-1]}. Use at"
      f" least 1/{n} = {1 / n:.3g}."
    )


def quota(density: Any, n: int) -> WideInt:
  r"""Q, the number of weights to keep: :math:`\lfloor density \cdot n \rfloor`.

  Args:
    density: a Python number, for which Q is exact, or a scalar array that may be
      traced, for which Q is as exact as the array's type allows, and is clipped to
      1 <= Q <= n.
    n: the number of prunable weights.

  Raises:
    ValueError: for a Python number outside (0, 1], or so small that Q would be 0.
  """
  if callable(density):
    raise ValueError("`density` is a schedule; pass its value at one step.")
  if not isinstance(density, jax.Array | np.ndarray):
    check_density(density, n)
    return WideInt.of(floor_of_share(density, n))
  density = jnp.asarray(density)
  if density.shape:
    raise ValueError(f"`density` must be a scalar, but has shape {density.shape}.")
  if not jnp.issubdtype(density.dtype, jnp.floating):
    density = density.astype(jnp.float32)
  q = WideInt.of(floor_of_share(density, n))
  is_zero = (q.high == 0) & (q.low == 0)
  return WideInt(q.high, jnp.where(is_zero, 1, q.low))
