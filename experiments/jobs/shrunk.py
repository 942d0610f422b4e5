"""What the zeros of a pruned network are worth: it is shrunk, and timed."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

import gsm_optax
from experiments.models import Model, examples
from experiments.run.terminal import shown
from experiments.run.timing import side_by_side

BATCHES = (1, 32, 1000)
"""Images at once, to be timed."""

MOST = 1e11
"""Multiply-adds of a batch that is timed, at most."""


def shrunk(
  model: Model,
  image_shape: tuple[int, ...],
  params: Any,
  batch_stats: Any,
  round_to: int = 1,
) -> dict[str, Any]:
  """The smaller network's size and times beside the pruned one's; JSON.

  Under ``seconds`` are for each batch size the times before and after.

  Args:
    model: the network.
    image_shape: height, width and channels.
    params: with zeros.
    batch_stats: of BatchNorm.
    round_to: if it is more than one, also what is left in multiples of this number;
      under ``rounded``, with a time for each batch size.
  """
  # One device's copy: parameters may be spread over several.
  weights = jax.tree.map(np.asarray, {"params": params, "batch_stats": batch_stats})

  def logits(weights: Any, images: jax.Array) -> jax.Array:
    return model.infer(weights["params"], weights["batch_stats"], images)

  def images(batch: int) -> jax.Array:
    wanted = examples(image_shape, batch)
    if jnp.issubdtype(wanted.dtype, jnp.integer):
      return jnp.zeros(wanted.shape, wanted.dtype)
    return jax.random.normal(jax.random.key(0), wanted.shape)

  networks = {
    number: gsm_optax.shrink(logits, weights, images(1), round_to=number)
    for number in sorted({1, round_to})
  }
  small = networks[1]
  batches = [n for n in BATCHES if n * small.multiply_adds[0] <= MOST]
  times = {n: _seconds(logits, weights, networks, images(n)) for n in batches}
  shapes = {leaf.path.removeprefix("params/"): leaf for leaf in small.leaves}
  found: dict[str, Any] = {
    "layers": [
      {"path": path, "before": list(leaf.before), "after": list(leaf.after)}
      for path, leaf in shapes.items()
      if len(leaf.before) > 1
    ],
    "units": list(small.units),
    "weights": list(small.weights),
    "multiply_adds": list(small.multiply_adds),
    "constant_units": small.constants,
    "fits": small.fits,
    "seconds": {str(n): [each[0], each[1]] for n, each in times.items()},
  }
  if round_to > 1:
    rounded = networks[round_to]
    found["rounded"] = {
      "round_to": round_to,
      "weights": rounded.weights[1],
      "multiply_adds": rounded.multiply_adds[1],
      "seconds": {str(n): each[round_to] for n, each in times.items()},
    }
  return found


def _seconds(
  logits: Any,
  weights: Any,
  networks: dict[int, gsm_optax.Small],
  images: jax.Array,
) -> dict[int, float]:
  """The median times of a batch: under 0 before, and of each network after."""
  runs = {0: (jax.jit(logits), jax.tree.map(jnp.asarray, weights))}
  for number, small in networks.items():
    params = jax.tree.map(jnp.asarray, small.params)
    runs[number] = jax.jit(small.apply_fn), params

  def run(number: int) -> jax.Array:
    function, params = runs[number]
    return function(params, images)

  calls = {str(number): partial(run, number) for number in runs}
  times = side_by_side(calls, 0.5, turn=0.02)
  return {number: times[str(number)] for number in runs}


def shrunk_table(found: dict[str, Any]) -> Table:
  """Sizes and times before and after."""
  table = Table(title="shrunk, with the same outputs")
  for heading in ("", "pruned", "shrunk", "times less"):
    table.add_column(heading, justify="right" if heading else "left")
  for layer in found["layers"]:
    if layer["before"] != layer["after"]:
      shapes = [" × ".join(map(str, layer[key])) for key in ("before", "after")]
      table.add_row(shown(layer["path"]), *shapes)
  rows = {
    "units": found["units"],
    "numbers": found["weights"],
    "multiply-adds": found["multiply_adds"],
  }
  for name, (before, after) in rows.items():
    table.add_row(name, f"{before:,}", f"{after:,}", f"{before / after:.1f}")
  for batch, (before, after) in found["seconds"].items():
    times = [f"{1e6 * seconds:,.0f} µs" for seconds in (before, after)]
    table.add_row(f"batch {batch}", *times, f"{before / after:.1f}")
  if rounded := found.get("rounded"):
    table.add_section()
    table.add_row(f"in multiples of {rounded['round_to']}:")
    for name in ("weights", "multiply_adds"):
      before, after = found[name][0], rounded[name]
      row = "numbers" if name == "weights" else "multiply-adds"
      table.add_row(row, f"{before:,}", f"{after:,}", f"{before / after:.1f}")
    for batch, after in rounded["seconds"].items():
      before = found["seconds"][batch][0]
      times = [f"{1e6 * seconds:,.0f} µs" for seconds in (before, after)]
      table.add_row(f"batch {batch}", *times, f"{before / after:.1f}")
  return table


def shrunk_sentence(found: dict[str, Any]) -> str:
  """How much smaller and faster."""
  before, after = found["weights"]
  size = f"shrunk to {after:,} of {before:,} numbers"
  times = {
    batch: pair[0] / pair[1] for batch, pair in found["seconds"].items() if pair[1]
  }
  if not times:
    return size
  speed = ", ".join(f"{ratio:.1f}× at batch {batch}" for batch, ratio in times.items())
  return f"{size}; speed: {speed}"
