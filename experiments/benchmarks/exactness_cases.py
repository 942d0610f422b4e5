"""Trees of many shapes and types, filled with kinds of numbers that are hard to select.

Everything is NumPy's and follows from a seed, so that a case can be made again.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.train.kernels import is_kernel

TREES: dict[str, list[tuple[tuple[int, ...], str]]] = {
  "odd shapes": [
    *(((127, 33), "float32"), ((2, 2), "float32"), ((3, 3, 5, 7), "float32")),
    *(((2, 4099), "float32"), ((5,), "float32"), ((), "float32")),
  ],
  "mixed types": [
    *(((300, 100), "float32"), ((129, 65), "bfloat16"), ((64, 31), "float16")),
    *(((7, 2), "bfloat16"), ((11,), "float16")),
  ],
  "half precision": [((511, 97), "bfloat16"), ((3, 3, 17, 9), "float16")],
  "large": [
    *(((1023, 515), "float32"), ((64, 3, 3, 63), "float32"), ((100, 10), "float32")),
  ],
}
"""Shapes and types of leaves. Each tree is compiled once and filled many times."""

KINDS = (
  *("normal", "60 binades", "ties", "90 % zeros", "not finite", "all equal"),
  "subnormal",
)


def draw(
  kind: str, shape: tuple[int, ...], dtype: str, rng: np.random.Generator
) -> np.ndarray:
  """Non-negative numbers of one kind."""
  kept: Any = jnp.dtype(dtype)
  if kind == "subnormal":
    mantissa = {"float32": 23, "bfloat16": 7, "float16": 10}[dtype]
    unsigned: Any = f"uint{8 * kept.itemsize}"
    return rng.integers(0, 1 << mantissa, shape, unsigned).view(kept)
  values: Any = np.abs(rng.normal(size=shape))
  if kind == "60 binades":
    most = 14 if dtype == "float16" else 30
    values = np.exp2(np.clip(rng.normal(0, most / 3, shape), -most, most))
  elif kind == "ties":
    values = np.round(values * 4) / 4
  elif kind == "90 % zeros":
    values = np.where(rng.random(shape) < 0.9, 0, values)
  elif kind == "not finite":
    chance = rng.random(shape)
    values = np.where(chance < 0.02, np.inf, values)
    values = np.where(chance < 0.01, np.nan, values)
  elif kind == "all equal":
    values = np.full(shape, 0.75)
  return np.asarray(values).astype(kept)


def signed(leaf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """The numbers with signs at random."""
  return np.where(rng.random(leaf.shape) < 0.5, leaf, -leaf)


@dataclass(frozen=True)
class Case:
  """One tree with one kind of numbers."""

  tree: str
  kind: str
  seed: int
  scores: list[np.ndarray]
  gradients: list[np.ndarray]
  weights: list[np.ndarray]

  @classmethod
  def make(cls, tree: str, kind: str, seed: int) -> "Case":
    """The case of these three."""
    rng = np.random.default_rng([seed, *f"{tree}, {kind}".encode()])
    scores, gradients, weights = (
      [draw(kind, shape, dtype, rng) for shape, dtype in TREES[tree]] for _ in range(3)
    )
    signs = ([signed(leaf, rng) for leaf in leaves] for leaves in (gradients, weights))
    return cls(tree, kind, seed, scores, *signs)

  @property
  def multiplies(self) -> bool:
    """Whether no product of a gradient and a weight is subnormal.

    A CPU flushes those to zero, and a GPU does not: scores differ, not what is found.
    """
    return self.kind != "subnormal"

  def saliencies(self) -> list[np.ndarray]:
    """|g·w| of the kernels, which are prunable."""
    with np.errstate(invalid="ignore", over="ignore"):
      return [
        np.abs(g.astype(np.float32)) * np.abs(w.astype(np.float32))
        for g, w in zip(self.gradients, self.weights, strict=True)
        if is_kernel(w)
      ]


def all_cases(seeds: int) -> Iterator[tuple[str, str, int]]:
  """Every tree with every kind of numbers, seed after seed."""
  for seed in range(seeds):
    for kind in KINDS:
      for tree in TREES:
        yield tree, kind, seed


def rank(density: float, scores: list[np.ndarray]) -> int:
  """Q of the scores: a product that is rounded to just below a whole number is one."""
  n = sum(score.size for score in scores)
  return max(1, math.floor(density * n + 1e-4))


def numpy_threshold(scores: list[np.ndarray], q: int) -> np.float32:
  """NumPy's q-th greatest of the scores that are numbers; 0 if they are fewer."""
  flat = np.concatenate([score.astype(np.float32).ravel() for score in scores])
  numbers = flat[~np.isnan(flat)]
  if len(numbers) < q:
    return np.float32(0)
  place = len(numbers) - q
  return np.partition(numbers, place)[place]


def differing(found: Any, expected: Any) -> int:
  """How many numbers differ in a bit; one NaN is as good as another."""
  count = 0
  for one, other in zip(found, expected, strict=True):
    one, other = (np.atleast_1d(np.asarray(array)) for array in (one, other))
    if one.shape != other.shape or one.dtype != other.dtype:
      return max(one.size, other.size)
    bits = f"uint{8 * one.dtype.itemsize}"
    same = one.view(bits) == other.view(bits)
    if jnp.issubdtype(one.dtype, jnp.floating):
      same |= np.isnan(one) & np.isnan(other)
    count += int(np.sum(~same))
  return count
