"""Presets: every number of a run, in one dataclass."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import optax


@dataclass(frozen=True)
class Config:
  """One run: train a base model, train it on with GSM, prune.

  Both parts drop their learning rate tenfold at the same shares of their epochs.
  """

  dataset: Literal["digits", "mnist"]
  model: Literal["lenet300", "lenet5"]
  density: float
  """Share of the prunable weights to keep."""
  seed: int = 0
  batch_size: int = 256
  drops: tuple[float, float] = (2 / 3, 5 / 6)
  """Shares of the epochs after which the learning rate drops tenfold."""
  base_epochs: int = 40
  base_learning_rate: float = 3e-2
  base_momentum: float = 0.9
  base_weight_decay: float = 0.0
  gsm_epochs: int = 240
  learning_rate: float = 3e-2
  """Learning rate of GSM at its start."""
  warmup_epochs: float = 5
  """Epochs over which GSM's learning rate rises from zero."""
  momentum: float = 0.99
  weight_decay: float = 5e-4
  nesterov: bool = True
  evaluate_every: int = 5
  """Epochs between evaluations, each of which is also a checkpoint."""


# python -m experiments.prune
# 20 seconds on two CPU cores.
DIGITS = Config(
  dataset="digits",
  model="lenet300",
  density=1 / 20,
  batch_size=64,
  drops=(0.57, 0.8),
  base_epochs=100,
  gsm_epochs=600,
  warmup_epochs=0,
  evaluate_every=20,
)

# python -m experiments.prune lenet300-mnist --data-dir FOLDER
LENET300_MNIST = Config(dataset="mnist", model="lenet300", density=1 / 60)

# python -m experiments.prune lenet5-mnist --data-dir FOLDER
LENET5_MNIST = Config(dataset="mnist", model="lenet5", density=1 / 125)

PRESETS = {
  "digits": DIGITS,
  "lenet300-mnist": LENET300_MNIST,
  "lenet5-mnist": LENET5_MNIST,
}


def learning_rate_schedule(
  peak: float,
  epochs: int,
  steps_per_epoch: int,
  drops: tuple[float, ...],
  warmup_epochs: float = 0,
) -> optax.Schedule:
  """Linear warm-up to `peak`, then a tenfold drop at each share of the epochs."""
  steps = epochs * steps_per_epoch
  dropping = optax.piecewise_constant_schedule(
    peak, {round(share * steps): 0.1 for share in drops}
  )
  warmup = round(warmup_epochs * steps_per_epoch)
  if not warmup:
    return dropping
  return lambda count: dropping(count) * jnp.minimum((count + 1) / warmup, 1)
