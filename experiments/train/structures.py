"""What is kept together, as a recipe names it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

import gsm_optax
from experiments.models import Model, examples
from experiments.train.kernels import kernel_mask


class Built(NamedTuple):
  """A structure for a network.

  Attributes:
    structure: by which units are chosen.
    norms: the same, in which all weights of a unit count: its `to_units` gives norms.
  """

  structure: gsm_optax.Structure
  norms: gsm_optax.Structure

  def unit_norms(self, params: Any) -> npt.NDArray[np.float32]:
    """The sum of the magnitudes of each unit's weights."""
    chosen = (self.norms.prunable or kernel_mask)(params)
    magnitudes = jax.tree.map(
      lambda leaf, is_chosen: (
        jnp.abs(leaf).astype(jnp.float32) if is_chosen else optax.MaskedNode()
      ),
      params,
      chosen,
    )
    units = jax.tree.leaves(self.norms.to_units(magnitudes))
    return np.concatenate([np.ravel(unit) for unit in units])


class Structure(ABC):
  """What is kept together."""

  @abstractmethod
  def build(self, model: Model, image_shape: tuple[int, ...]) -> Built | None:
    """The structure for a network; ``None``: single weights."""


@dataclass(frozen=True)
class Weights(Structure):
  """Single weights."""

  def build(self, model: Model, image_shape: tuple[int, ...]) -> None:
    """No structure."""


@dataclass(frozen=True)
class Blocks(Structure):
  """`gsm_optax.blocks`."""

  shape: tuple[int, ...] = (4, 1)

  def build(self, model: Model, image_shape: tuple[int, ...]) -> Built:
    """The structure for a network."""
    del model, image_shape
    blocks = gsm_optax.blocks(self.shape)
    return Built(blocks, blocks)


@dataclass(frozen=True)
class NOfM(Structure):
  """`gsm_optax.n_of_m`."""

  n: int = 2
  m: int = 4
  axis: int = -2

  def build(self, model: Model, image_shape: tuple[int, ...]) -> Built:
    """The structure for a network."""
    del model, image_shape
    n_of_m = gsm_optax.n_of_m(self.n, self.m, self.axis)
    return Built(n_of_m, n_of_m)


@dataclass(frozen=True)
class Channels(Structure):
  """`gsm_optax.channels`."""

  score: Literal["sum", "mean"] = "sum"
  cost: Literal["weights", "multiply-adds"] | None = None
  by_normalisation: bool = False

  def build(self, model: Model, image_shape: tuple[int, ...]) -> Built:
    """The structure for a network."""
    params, batch_stats = model.init(jax.random.key(0))

    def apply_fn(params: Any, images: jax.Array) -> jax.Array:
      return model.infer(params, batch_stats, images)

    inputs = examples(image_shape, 1)
    structure = gsm_optax.channels(
      *(apply_fn, params, inputs),
      score=self.score,
      cost=self.cost,
      by_normalisation=self.by_normalisation,
    )
    norms = gsm_optax.channels(apply_fn, params, inputs)
    return Built(structure, norms)
