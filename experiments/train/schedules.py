"""Learning rates: a linear warm-up, then tenfold drops, a cosine or a linear decay.

A schedule is a dataclass, so that a recipe can name it with its numbers; ``build``
makes it a function of the step.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import jax.numpy as jnp
import optax


class Schedule(ABC):
  """A learning rate over some epochs."""

  @abstractmethod
  def build(self, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """``step -> learning rate``."""


@dataclass(frozen=True)
class Drops(Schedule):
  """Drops tenfold after each of some shares of the epochs."""

  peak: float
  """The learning rate after the warm-up."""
  after: tuple[float, ...] = (2 / 3, 5 / 6)
  """Shares of the epochs after which it drops."""
  warmup_epochs: float = 0
  """Epochs over which it rises from zero, linearly."""

  def build(self, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """``step -> learning rate``."""
    steps = epochs * steps_per_epoch
    dropping = optax.piecewise_constant_schedule(
      self.peak, {round(share * steps): 0.1 for share in self.after}
    )
    return _warmed_up(dropping, self.warmup_epochs, steps_per_epoch)


@dataclass(frozen=True)
class _ToZero(Schedule):
  """Falls to zero, along a curve that the classes below choose."""

  peak: float
  """The learning rate after the warm-up."""
  warmup_epochs: float = 0
  """Epochs over which it rises from zero, linearly."""

  def build(self, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """``step -> learning rate``."""
    falling = self._falling(max(epochs * steps_per_epoch, 1))
    return _warmed_up(falling, self.warmup_epochs, steps_per_epoch)

  @abstractmethod
  def _falling(self, steps: int) -> optax.Schedule:
    """Without the warm-up."""


class Cosine(_ToZero):
  """Falls along half a cosine to zero."""

  def _falling(self, steps: int) -> optax.Schedule:
    return optax.cosine_decay_schedule(self.peak, steps)


class Linear(_ToZero):
  """Falls linearly to zero."""

  def _falling(self, steps: int) -> optax.Schedule:
    return optax.linear_schedule(self.peak, 0.0, steps)


def _warmed_up(
  schedule: optax.Schedule, warmup_epochs: float, steps_per_epoch: int
) -> optax.Schedule:
  warmup = round(warmup_epochs * steps_per_epoch)
  if not warmup:
    return schedule
  return lambda count: schedule(count) * jnp.minimum((count + 1) / warmup, 1)
