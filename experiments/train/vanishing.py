"""What becomes of a weight that is passive throughout."""

from collections.abc import Iterable, Iterator

VANISHED = 1e-3
"""Shrinkage below which a passive weight may be called vanished."""


def passive_sizes(
  learning_rates: Iterable[float],
  momentum: float,
  weight_decay: float,
  nesterov: bool = False,
) -> Iterator[float]:
  r"""The sizes after each step of a weight of 1 that is passive throughout.

  Iterates :math:`z \leftarrow \beta z + \eta w, \; w \leftarrow w - \alpha z`; while
  :math:`\alpha` is constant this is nearly
  :math:`\exp(-\alpha \eta t / (1 - \beta))`.
  """
  weight, velocity = 1.0, 0.0
  for learning_rate in map(float, learning_rates):
    velocity = momentum * velocity + weight_decay * weight
    step = weight_decay * weight + momentum * velocity if nesterov else velocity
    weight -= learning_rate * step
    yield abs(weight)


def shrinkage(
  learning_rates: Iterable[float],
  momentum: float,
  weight_decay: float,
  nesterov: bool = False,
) -> float:
  """What is left at the end of a weight of 1 that is passive throughout."""
  sizes = passive_sizes(learning_rates, momentum, weight_decay, nesterov)
  return [1.0, *sizes][-1]


def vanishing_warning(left: float) -> str | None:
  """A warning in words, if a passive weight keeps the share `left` of its size."""
  if left <= VANISHED:
    return None
  return (
    "These weights will not vanish: over the whole run, schedule, decay and momentum"
    f" leave {left:.2g} of a passive weight, and pruning it will hurt. Train longer, or"
    " raise the learning rate, the momentum or the weight decay, until less than"
    f" {VANISHED:g} is left."
  )
