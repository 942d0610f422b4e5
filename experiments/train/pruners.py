"""Optimizers that prune, as a recipe names them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
import tyro

import gsm_optax
from experiments.train.fixed import fix_active_set
from experiments.train.kernels import kernel_mask
from experiments.train.optimizers import SGD, Optimizer, Task

Saliency = Callable[[jax.Array, jax.Array], jax.Array]


def falling_density(
  task: Task,
  start: float | None,
  epochs: float,
  share: float = 1.0,
  dense_epochs: float = 0,
) -> optax.ScalarOrSchedule:
  """The density: constant, or falling by the same share at each step at first.

  Args:
    task: has the density to keep.
    start: the density at first; ``None``: the final one.
    epochs: over which it falls.
    share: of the density to keep, that is the final one.
    dense_epochs: epochs before it begins to fall.
  """
  steps, final = round(epochs * task.steps_per_epoch), task.density * share
  if start is None or not steps:
    return final
  begin = round(dense_epochs * task.steps_per_epoch)
  return optax.exponential_decay(start, steps, final / start, begin, end_value=final)


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

  prune_from: float | None = None
  """Share of the steps after which the network is pruned, and what is left goes on
  alone; ``None``: after all of them."""

  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""
    return gsm_optax.gsm(
      task.learning_rate,
      falling_density(task, self.start_density, self.density_epochs, self.active_share),
      self.momentum,
      self.weight_decay,
      nesterov=self.nesterov,
      smoothing=self.smoothing,
      passive_weight_decay=self.passive_weight_decay,
      prune_from=None if self.prune_from is None else task.steps(self.prune_from),
      structure=task.structure,
    )

  def share_left(self, task: Task) -> float | None:
    """What will be left of a weight that is passive until the network is pruned."""
    decay = self.passive_weight_decay
    return gsm_optax.share_left(
      task.learning_rate,
      task.steps(self.prune_from),
      self.momentum,
      self.weight_decay if decay is None else decay,
      nesterov=self.nesterov,
    )


@dataclass(frozen=True)
class Sparsify(Optimizer):
  """`gsm_optax.sparsify` around another optimizer."""

  optimizer: Optimizer
  passive_weight_decay: float
  """Times the learning rate, it is the share of itself that a passive weight loses."""
  start_density: float | None = None
  density_epochs: float = 0
  select_by: Literal["gradient", "update"] = "gradient"
  mask_gradient: bool = False
  smoothing: float | None = None
  prune_from: float | None = None
  """As of `GSM`, like the rest."""
  dense_epochs: float = 0
  """Epochs before the density begins to fall."""

  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""
    start, epochs = self.start_density, self.density_epochs
    return gsm_optax.sparsify(
      self.optimizer.build(task),
      falling_density(task, start, epochs, dense_epochs=self.dense_epochs),
      passive_weight_decay=self._shrinkage(task),
      saliency=self._saliency,
      smoothing=self.smoothing,
      select_by=self.select_by,
      mask_gradient=self.mask_gradient,
      prune_from=None if self.prune_from is None else task.steps(self.prune_from),
      structure=task.structure,
    )

  @property
  def _saliency(self) -> Saliency | None:
    return None

  def _shrinkage(self, task: Task) -> optax.Schedule:
    return lambda step: self.passive_weight_decay * task.learning_rate(step)

  def share_left(self, task: Task) -> float | None:
    """What will be left of a weight that is passive until the network is pruned."""
    steps = task.steps(self.prune_from)
    return gsm_optax.share_left(1.0, steps, None, self._shrinkage(task))


@dataclass(frozen=True)
class SparsifyByPower(Sparsify):
  """By another saliency: |g|^power · |w|."""

  power: float = 0.5
  """1 is the paper's; 0 ranks by magnitude."""

  @property
  def _saliency(self) -> Saliency:
    def saliency(gradient: jax.Array, weight: jax.Array) -> jax.Array:
      return jnp.abs(gradient) ** self.power * jnp.abs(weight)

    return saliency


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
class Gradual(Optimizer):
  """Any optimizer, under which the smallest weights go step by step for good.

  Global gradual magnitude pruning: the density falls along a cubic (Zhu and Gupta, `To
  prune, or not to prune <https://arxiv.org/abs/1710.01878>`_, 2017), and the smallest
  weights of the whole model are the ones to go.
  """

  optimizer: Optimizer
  density_epochs: float
  """Epochs over which the density falls from 1 to the final one."""
  every: int = 100
  """Steps between two choices of what goes."""
  dense_epochs: float = 0
  """Epochs before the density begins to fall."""

  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""
    steps = max(round(self.density_epochs * task.steps_per_epoch), 1)
    begin = round(self.dense_epochs * task.steps_per_epoch)
    cubic = optax.polynomial_schedule(1.0, task.density, 3, steps)

    def density(step: Any) -> Any:
      step = jnp.maximum(step - begin, 0)
      return cubic(jnp.where(step < steps, step // self.every * self.every, step))

    return gsm_optax.sparsify(
      *(self.optimizer.build(task), density),
      mask_gradient=True,
      prune_from=0,
      structure=task.structure,
    )


@dataclass(frozen=True)
class GradualMagnitude(Optimizer):
  """`Gradual` with SGD."""

  density_epochs: float
  """Epochs over which the density falls from 1 to the final one."""
  momentum: float = 0.9
  weight_decay: float = 0.0
  nesterov: bool = True
  every: int = 100
  """Steps between two choices of what goes."""

  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""
    sgd = SGD(self.momentum, self.weight_decay, self.nesterov)
    return Gradual(sgd, self.density_epochs, self.every).build(task)
