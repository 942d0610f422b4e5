"""Optimizers as a recipe names them: dataclasses of their numbers.

``build`` makes the gradient transformation. To add one, write another such class: a
recipe's phase takes it as it is.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import jax
import optax

import gsm_optax
from experiments.train.kernels import kernel_mask


class Task(NamedTuple):
  """What an optimizer is built for.

  Attributes:
    learning_rate: at each step.
    density: the share of the prunable weights to keep in the end.
    steps_per_epoch: how many steps an epoch has.
    epochs: how many there are.
    structure: what is kept together; ``None``: single weights.
  """

  learning_rate: optax.Schedule
  density: float
  steps_per_epoch: int
  epochs: int
  structure: gsm_optax.Structure | None = None

  def steps(self, share: float | None = None) -> int:
    """How many there are until a share of all is done; of all without one."""
    return round((1.0 if share is None else share) * self.epochs * self.steps_per_epoch)


class Optimizer(ABC):
  """An optimizer's numbers."""

  @abstractmethod
  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""

  def share_left(self, task: Task) -> float | None:
    """What will be left of a weight that is passive throughout; ``None``: none is."""
    del task
    return None


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
class AdamW(Optimizer):
  """Adam with decoupled weight decay, of kernels."""

  b1: float = 0.9
  b2: float = 0.99
  weight_decay: float = 0.1

  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""
    return optax.adamw(
      *(task.learning_rate, self.b1, self.b2),
      weight_decay=self.weight_decay,
      mask=kernel_mask,
    )


@dataclass(frozen=True)
class Muon(Optimizer):
  """Momentum made orthogonal, of kernels, with decoupled decay; Adam for the rest.

  Jordan et al., `Muon <https://kellerjordan.github.io/posts/muon/>`_, 2024.
  """

  momentum: float = 0.95
  weight_decay: float = 0.1
  adam_share: float = 0.1
  """Adam's learning rate, as a share of Muon's."""

  def build(self, task: Task) -> optax.GradientTransformation:
    """The gradient transformation."""
    muon = optax.contrib.muon(
      task.learning_rate, beta=self.momentum, weight_decay=self.weight_decay
    )
    adam = optax.adam(lambda step: self.adam_share * task.learning_rate(step))
    return optax.partition(
      {"muon": muon, "adam": adam},
      lambda params: jax.tree.map(
        lambda is_kernel: "muon" if is_kernel else "adam", kernel_mask(params)
      ),
    )
