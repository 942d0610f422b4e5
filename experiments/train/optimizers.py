"""Optimizers as a recipe names them: dataclasses of their numbers.

``build`` makes the gradient transformation. To add one, write another such class: a
recipe's phase takes it as it is.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import optax
import tyro

import gsm_optax
from experiments.train.fixed import fix_active_set
from experiments.train.gradual import prune_gradually
from experiments.train.kernels import kernel_mask


class Task(NamedTuple):
  """What an optimizer is built for.

  Attributes:
    learning_rate: at each step.
    density: the share of the prunable weights to keep in the end.
    steps_per_epoch: how many steps an epoch has.
  """

  learning_rate: optax.Schedule
  density: float
  steps_per_epoch: int


class Optimizer(ABC):
  """An optimizer's numbers."""

  @abstractmethod
  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""


@dataclass(frozen=True)
class SGD(Optimizer):
  """SGD with momentum; kernels decay, through the momentum."""

  momentum: float = 0.9
  weight_decay: float = 0.0
  nesterov: bool = True

  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""
    return optax.chain(
      optax.add_decayed_weights(self.weight_decay, mask=kernel_mask),
      optax.sgd(task.learning_rate, self.momentum, self.nesterov),
    )


@dataclass(frozen=True)
class GSM(Optimizer):
  """`gsm_optax.gsm`."""

  momentum: float = 0.99
  weight_decay: float = 5e-4
  nesterov: bool = True
  passive_weight_decay: float | None = None
  """Weight decay where a step's gradient was zeroed; the same as elsewhere without."""
  start_density: float | None = None
  """Density at which to begin, if not with the final one."""
  density_epochs: float = 0
  """Epochs over which the density then falls to the final one, geometrically."""
  active_share: float = 1.0
  """Share of the weights to be kept that is active in each of the last steps: less
  than all where batches disagree, so that together they keep more of them alive."""
  smoothing: Annotated[float | None, tyro.conf.arg(aliases=("--smoothing",))] = None
  """Decay rate of an average of the saliencies; by each batch alone without."""

  def density_schedule(self, task: Task) -> optax.ScalarOrSchedule:
    """The density: constant, or falling by the same share at each step at first."""
    steps = round(self.density_epochs * task.steps_per_epoch)
    final = task.density * self.active_share
    if self.start_density is None or not steps:
      return final
    return optax.exponential_decay(
      self.start_density, steps, final / self.start_density, end_value=final
    )

  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""
    return gsm_optax.gsm(
      task.learning_rate,
      self.density_schedule(task),
      self.momentum,
      self.weight_decay,
      nesterov=self.nesterov,
      smoothing=self.smoothing,
      passive_weight_decay=self.passive_weight_decay,
    )


@dataclass(frozen=True)
class FixedGSM(Optimizer):
  """GSM without second chances: the active set stays as it is after some epochs."""

  after_epochs: int
  momentum: float = 0.99
  weight_decay: float = 5e-4
  nesterov: bool = True

  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""
    return optax.chain(
      fix_active_set(task.density, self.after_epochs * task.steps_per_epoch),
      optax.add_decayed_weights(self.weight_decay, mask=kernel_mask),
      optax.trace(self.momentum, self.nesterov),
      optax.scale_by_learning_rate(task.learning_rate),
    )


@dataclass(frozen=True)
class GradualMagnitude(Optimizer):
  """SGD with momentum, under which the smallest weights go step by step for good.

  Global gradual magnitude pruning: the density falls along a cubic (Zhu and Gupta,
  2017), and the smallest weights of the whole model are the ones to go.
  """

  density_epochs: float
  """Epochs over which the density falls from 1 to the final one."""
  momentum: float = 0.9
  weight_decay: float = 0.0
  nesterov: bool = True
  every: int = 100
  """Steps between two choices of what goes."""

  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""
    sgd = SGD(self.momentum, self.weight_decay, self.nesterov).build(task)
    steps = max(round(self.density_epochs * task.steps_per_epoch), 1)
    density = optax.polynomial_schedule(1.0, task.density, 3, steps)
    return optax.chain(sgd, prune_gradually(density, self.every, steps))
