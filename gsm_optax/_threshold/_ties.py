"""Ties: the first True elements of a list of arrays, by position."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsm_optax._threshold._wide_int import WideInt, count_true, total


# Jitted because without it every eager call would compile the loop anew.
@partial(jax.jit, inline=True)
def first_true(masks: Sequence[jax.Array], number: WideInt) -> list[jax.Array]:
  """Keeps the first `number` True elements, by leaf and then in row-major order.

  A position is a vector: the leaf's number, then the index along each of its axes. The
  position to cut at is found by counting, one component at a time, so nothing is moved
  or flattened. A single loop serves all leaves and axes, because a loop for each takes
  several times as long to compile. If all elements fit, there is no search.

  Args:
    masks: boolean arrays of any shapes, at least one.
    number: how many to keep; all, if there are fewer.
  """
  rank = max(1, *(mask.ndim for mask in masks))
  lengths = np.array([(*mask.shape, *[1] * rank)[:rank] for mask in masks], np.int32)

  def before(cut: jax.Array) -> list[jax.Array]:
    return [mask & _is_before(i, mask.shape, cut) for i, mask in enumerate(masks)]

  def all_fit(masks: Sequence[jax.Array]) -> jax.Array:
    return number >= total([count_true(mask) for mask in masks])

  def find_component(component: jax.Array, cut: jax.Array) -> jax.Array:
    # Cutting at `low` fits and cutting at `high` does not: the leaf, or the slice of it
    # found so far, holds too many. If all leaves fit, there is nothing to find.
    leaf = jnp.minimum(cut[0], len(masks) - 1)
    length = jnp.asarray(lengths)[leaf, jnp.maximum(component - 1, 0)]
    high = jnp.where(component == 0, len(masks), length)
    bounds = cut[component], jnp.where(cut[0] == len(masks), 0, high)

    def halve(bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
      low, high = bounds
      middle = low + (high - low) // 2
      does = all_fit(before(cut.at[component].set(middle)))
      return jnp.where(does, middle, low), jnp.where(does, high, middle)

    low, _ = lax.while_loop(lambda bounds: bounds[1] - bounds[0] > 1, halve, bounds)
    return cut.at[component].set(low)

  start = jnp.zeros(1 + rank, jnp.int32)
  everything = start.at[0].set(len(masks))
  cut = jnp.where(all_fit(masks), everything, start)
  return before(lax.fori_loop(0, 1 + rank, find_component, cut))


def _is_before(leaf: int, shape: tuple[int, ...], cut: jax.Array) -> jax.Array:
  """A mask of a leaf's positions before `cut`, of a shape that broadcasts to it."""
  is_before = jnp.zeros((), bool)
  for axis, length in reversed(list(enumerate(shape))):
    others = [i for i in range(len(shape)) if i != axis]
    index = jnp.expand_dims(jnp.arange(length, dtype=jnp.int32), others)
    at = cut[1 + axis]
    is_before = (index < at) | ((index == at) & is_before)
  return (leaf < cut[0]) | ((leaf == cut[0]) & is_before)
