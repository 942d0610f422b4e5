"""What training leaves of a weight that is passive throughout."""

from collections.abc import Sequence
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from gsm_optax._checks import check_rate, check_share


@overload
def share_left(
  learning_rate: optax.ScalarOrSchedule,
  steps: int,
  momentum: optax.ScalarOrSchedule | None = ...,
  weight_decay: optax.ScalarOrSchedule = ...,
  *,
  nesterov: bool = ...,
) -> float: ...


@overload
def share_left(
  learning_rate: optax.ScalarOrSchedule,
  steps: Sequence[int] | npt.NDArray[Any],
  momentum: optax.ScalarOrSchedule | None = ...,
  weight_decay: optax.ScalarOrSchedule = ...,
  *,
  nesterov: bool = ...,
) -> npt.NDArray[np.float64]: ...


def share_left(
  learning_rate: optax.ScalarOrSchedule,
  steps: int | Sequence[int] | npt.NDArray[Any],
  momentum: optax.ScalarOrSchedule | None = 0.98,
  weight_decay: optax.ScalarOrSchedule = 1e-4,
  *,
  nesterov: bool = False,
) -> Any:
  r"""The share of itself that `gsm` leaves of a weight that is passive at every step.

  Iterates, from :math:`w = 1` and :math:`z = 0`,

  .. math::
    z \leftarrow \beta z + \eta w, \qquad w \leftarrow w - \alpha z,

  in double precision. At constant rates this is nearly :math:`\exp(-\alpha \eta t / (1
  - \beta))` after :math:`t` steps. Before a training, see that it leaves less than
  1e-3: otherwise passive weights do not vanish, and pruning changes what the network
  computes.

  Args:
    learning_rate: as for `gsm`: a scalar, or a schedule of the step count.
    steps: how many steps there are, or several such numbers.
    momentum: as for `gsm`.
    weight_decay: the decay of passive weights: `gsm`'s ``passive_weight_decay``, or its
      ``weight_decay`` where that is not given. For `sparsify` let the learning rate be
      1, the momentum ``None`` and this its ``passive_weight_decay``.
    nesterov: as for `gsm`.

  Returns:
    A float; for several numbers of steps, a float64 array of as many.

  Raises:
    ValueError: if a number of steps is negative or not whole, or a rate is as `gsm`
      does not take it.

  Example:
    >>> import optax
    >>> import gsm_optax
    >>> print(f"{gsm_optax.share_left(0.03, 2000, 0.98, 1e-4):.2f}")
    0.74
    >>> cosine = optax.cosine_decay_schedule(0.1, 2000)
    >>> print(f"{gsm_optax.share_left(cosine, 2000, 0.95, 5e-3):.1e}")
    6.1e-06

  References:
    Ding et al., `Global Sparse Momentum SGD for Pruning Very Deep Neural Networks
    <https://arxiv.org/abs/1909.12778>`_, 2019, section 3.3.
  """
  check_rate("learning_rate", learning_rate)
  check_share("momentum", momentum)
  check_rate("weight_decay", weight_decay)
  wanted = np.asarray(steps)
  wanted = wanted if wanted.size else wanted.astype(int)
  if not np.issubdtype(wanted.dtype, np.integer) or wanted.min(initial=0) < 0:
    raise ValueError(f"`steps` must be a number of steps, or several, not {steps!r}.")
  total = int(wanted.max(initial=0))
  momentum = 0.0 if momentum is None else momentum
  rates = [
    _at_each_step(rate, total) for rate in (learning_rate, momentum, weight_decay)
  ]
  weight, velocity, shares = 1.0, 0.0, [1.0]
  for alpha, beta, eta in zip(*rates, strict=True):
    velocity = beta * velocity + eta * weight
    weight -= alpha * (eta * weight + beta * velocity if nesterov else velocity)
    shares.append(weight)
  left = np.abs(np.array(shares))[wanted]
  return float(left) if left.ndim == 0 else left


def _at_each_step(rate: Any, steps: int) -> list[float]:
  if not callable(rate):
    return [float(rate)] * steps
  values = jax.vmap(lambda step: jnp.asarray(rate(step), float))(jnp.arange(steps))
  return np.asarray(values, np.float64).tolist()
