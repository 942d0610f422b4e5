"""Gradients and weights shaped like models', and the plain ways to select weights."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.shapes import NETWORKS

Leaves = list[jax.Array]


def shapes_of(model: str) -> list[tuple[int, ...]]:
  """The shapes of a network's kernels, or of so many weights in square layers."""
  if model in NETWORKS:
    return NETWORKS[model]
  number = float(model)
  if number <= 0:
    raise ValueError(f"a model of {model} weights")
  side = 1024 if number < 5e7 else 2048 if number < 5e8 else 8192
  return [(side, side)] * max(1, round(number / side**2))


def make_tree(
  shapes: list[tuple[int, ...]], dtype: str, zeros: float, seed: int
) -> tuple[Leaves, Leaves]:
  """Gradients and weights whose scale differs from layer to layer, as in training."""
  scales = np.random.default_rng(0).lognormal(0, 1, len(shapes))
  gradients, weights = [], []
  for i, (shape, scale) in enumerate(zip(shapes, scales, strict=True)):
    g, w, z = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), 3)
    fan_in = math.prod(shape[:-1])
    gradient = jax.random.normal(g, shape) * (scale * 1e-3)
    gradient = jnp.where(jax.random.uniform(z, shape) < zeros, 0, gradient)
    gradients.append(gradient.astype(dtype))
    weights.append((jax.random.normal(w, shape) / fan_in**0.5).astype(dtype))
  return gradients, weights


def quick_tree(shapes: list[tuple[int, ...]], seed: int) -> tuple[Leaves, Leaves]:
  """As `make_tree` in float32 without zeros, with two programs to compile in all.

  The numbers are others: one vector of them is cut into leaves.
  """
  scales = np.random.default_rng(0).lognormal(0, 1, len(shapes))
  n = sum(math.prod(shape) for shape in shapes)
  normal = jax.jit(jax.random.normal, static_argnums=1)

  @jax.jit
  def cut(flat: jax.Array, scales: jax.Array) -> Leaves:
    leaves: Leaves = []
    start = 0
    for i, shape in enumerate(shapes):
      size = math.prod(shape)
      piece = jax.lax.slice_in_dim(flat, start, start + size)
      leaves.append(piece.reshape(shape) * scales[i])
      start += size
    return leaves

  fan_in = np.array([math.prod(shape[:-1]) for shape in shapes])
  keys = jax.random.split(jax.random.key(seed))
  gradients, weights = (
    cut(normal(key, (n,)), jnp.asarray(scale, jnp.float32))
    for key, scale in zip(keys, (scales * 1e-3, fan_in**-0.5), strict=True)
  )
  return gradients, weights


def scores(gradients: Leaves, weights: Leaves) -> Leaves:
  """|g * w| of each leaf, in float32."""
  return [
    jnp.abs(g.astype(jnp.float32) * w.astype(jnp.float32))
    for g, w in zip(gradients, weights, strict=True)
  ]


def keep(gradients: Leaves, weights: Leaves, threshold: Any) -> Leaves:
  """The pass: the gradients whose score reaches the threshold."""
  return [
    jnp.where(score >= threshold, gradient, jnp.zeros_like(gradient))
    for gradient, score in zip(gradients, scores(gradients, weights), strict=True)
  ]


def jax_alternatives(q: int) -> dict[str, Callable[..., Leaves]]:
  """Concatenate all scores, then select."""

  def concatenated(gradients: Leaves, weights: Leaves) -> jax.Array:
    return jnp.concatenate([score.ravel() for score in scores(gradients, weights)])

  def top_k(gradients: Leaves, weights: Leaves) -> Leaves:
    values, _ = jax.lax.top_k(concatenated(gradients, weights), q)
    return keep(gradients, weights, values[-1])

  def sort(gradients: Leaves, weights: Leaves) -> Leaves:
    return keep(gradients, weights, jnp.sort(concatenated(gradients, weights))[-q])

  return {"lax.top_k": jax.jit(top_k), "jnp.sort": jax.jit(sort)}
