"""A picture of what shrinking takes out of a small network."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

import gsm_optax

SIZES = (9, 7, 6, 4)
KEPT, ZERO, REMOVED, LOST = range(4)
COLOURS = ("steelblue", "white", "mistyrose", "indianred")


def pruned_network() -> dict[str, Any]:
  """Three matrices, with a column, a row and an input of zeros, and what follows."""
  rng = np.random.default_rng(3)
  weights = {
    name: rng.normal(size=shape) * (rng.random(shape) < 0.45)
    for name, shape in zip("abc", pairwise(SIZES), strict=True)
  }
  weights["a"][:, 2] = 0  # nothing comes in
  weights["b"][5] = 0  # nothing goes out
  weights["a"][3] = 0  # an input that is not used
  weights["b"][:, 4] = 0
  weights["b"][2, 4] = 1.0  # only from the unit that is zero itself
  return {name: jnp.asarray(each, jnp.float32) for name, each in weights.items()}


def apply_fn(params: Any, x: Any) -> Any:
  """A network of three layers."""
  for name in "ab":
    x = jnp.maximum(x @ params[name], 0)
  return x @ params["c"]


def shrunk_figure(_: Path) -> Figure:
  """The matrices before, with what goes, and after."""
  params = pruned_network()
  small = gsm_optax.shrink(apply_fn, params, jnp.ones((1, SIZES[0])))
  figure = Figure(figsize=(9, 6), layout="constrained")
  for column, name in enumerate("abc"):
    shape = params[name].shape
    kept: list[Any] = []
    for axis in (0, 1):
      index = np.broadcast_to(np.expand_dims(np.arange(shape[axis]), 1 - axis), shape)
      numbers = small.slice({**params, name: jnp.asarray(index)})[name]
      kept.append(np.unique(numbers))
    before = np.where(params[name] == 0, ZERO, KEPT)
    gone = np.ones(shape, bool)
    gone[np.ix_(*kept)] = False
    before = np.where(gone, np.where(before == ZERO, REMOVED, LOST), before)
    after = np.where(small.params[name] == 0, ZERO, KEPT)
    _draw(figure.add_subplot(2, 3, column + 1), before, f"layer {column + 1}")
    _draw(figure.add_subplot(2, 3, column + 4), after, "shrunk")
  figure.suptitle(
    "Rows are a layer's inputs, columns its outputs. Blue: weights."
    " Red: what goes, with its row and its column."
  )
  return figure


def _draw(axes: Axes, kinds: Any, title: str) -> None:
  rows, columns = kinds.shape
  axes.pcolormesh(
    kinds, cmap=ListedColormap(COLOURS), vmin=-0.5, vmax=3.5, edgecolors="lightgrey"
  )
  axes.set_aspect("equal")
  # All to one scale.
  axes.set_xlim(0, max(SIZES[1:]))
  axes.set_ylim(max(SIZES[:-1]), 0)
  axes.set_axis_off()
  axes.set_title(f"{title}: {rows} × {columns}")
