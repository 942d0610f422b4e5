"""A Flax NNX module as pure functions of its parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx


def examples(shape: tuple[int, ...], number: int) -> jax.ShapeDtypeStruct:
  """What a network gets: float32 images, or texts, int32, if the shape is a length."""
  dtype = jnp.int32 if len(shape) == 1 else jnp.float32
  return jax.ShapeDtypeStruct((number, *shape), dtype)


class Apply(Protocol):
  """A network as a function."""

  def __call__(
    self,
    params: Any,
    batch_stats: Any,
    images: jax.Array,
    train: bool,
    momentum: jax.Array | None = None,
    /,
  ) -> tuple[jax.Array, Any]:
    """``(logits, batch_stats)``; `momentum` takes the place of BatchNorm's own."""
    ...


class Model(NamedTuple):
  """What the training loop needs to know of a model.

  Attributes:
    init: ``key -> (params, batch_stats)``, two pytrees of arrays.
    apply: ``(params, batch_stats, images, train) -> (logits, batch_stats)``.
    infer: ``(params, batch_stats, images) -> logits``, outside of a loop.
  """

  init: Callable[[jax.Array], tuple[Any, Any]]
  apply: Apply
  infer: Callable[[Any, Any, jax.Array], jax.Array]


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Model:
  """The pure functions of the module that `make` builds; its trees are plain dicts."""
  module = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
  definition, _, _ = nnx.split(module, nnx.Param, ...)

  def pure(module: nnx.Module) -> tuple[Any, Any]:
    _, params, batch_stats = nnx.split(module, nnx.Param, ...)
    return nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)

  @jax.jit
  def init(key: jax.Array) -> tuple[Any, Any]:
    return pure(make(nnx.Rngs(key)))

  def apply(
    params: Any,
    batch_stats: Any,
    images: jax.Array,
    train: bool,
    momentum: jax.Array | None = None,
  ) -> tuple[jax.Array, Any]:
    module: Any = nnx.merge(definition, params, batch_stats)
    module.set_attributes(
      deterministic=not train, use_running_average=not train, raise_if_not_found=False
    )
    norms = _batch_norms(module) if momentum is not None else []
    for norm in norms:
      norm.momentum = nnx.data(momentum)
    logits = module(images)
    for norm in norms:
      # No array beside the statistics when they are split off.
      norm.momentum = nnx.static(0.0)
    return logits, pure(module)[1]

  def infer(params: Any, batch_stats: Any, images: jax.Array) -> jax.Array:
    module: Any = nnx.merge(definition, params, batch_stats)
    module.set_attributes(
      deterministic=True,
      use_running_average=True,
      in_loop=False,
      raise_if_not_found=False,
    )
    return module(images)

  return Model(init, apply, infer)


def _batch_norms(module: nnx.Module) -> list[Any]:
  return [part for _, part in nnx.iter_graph(module) if isinstance(part, nnx.BatchNorm)]
