"""What an update costs by itself, beside a copy and the other ways to select.

No array is donated, so that each call starts from the same. Launches overlap, as in
training: see `side_by_side`.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

import gsm_optax
from experiments.benchmarks.optimizers import optimizers
from experiments.benchmarks.trees import (
  Leaves,
  jax_alternatives,
  keep,
  quick_tree,
  shapes_of,
)
from experiments.run.timing import Deadline, NoTimeError, in_time, side_by_side
from experiments.train.kernels import is_kernel

OPTIMIZERS = ("SGD", "SGD with clip_by_global_norm", "gsm_optax.gsm")
"""Of `optimizers`: with the params' update, where the selection alone has none."""

TURN = 0.01
"""Seconds that a turn lasts at least."""

_LARGEST_SORTED = 1.5e8
"""Weights up to which the scores are also sorted."""


def state_like(
  tx: optax.GradientTransformation, params: Leaves, filling: Leaves
) -> Any:
  """A state whose arrays of the params' shapes are the `filling`, others zero.

  It shares memory with the `filling`, which a model of 10^9 weights has to save.
  """
  unused = list(filling)

  def fill(spec: Any) -> jax.Array:
    for i, leaf in enumerate(unused):
      if is_kernel(spec) and (leaf.shape, leaf.dtype) == (spec.shape, spec.dtype):
        return unused.pop(i)
    return jnp.zeros(spec.shape, spec.dtype)

  return jax.tree.map(fill, jax.eval_shape(tx.init, params))


def updater(tx: optax.GradientTransformation) -> Callable[..., Any]:
  """``(params, state, gradients) -> (params, state)``, jitted."""

  def update(params: Any, state: Any, gradients: Any) -> Any:
    updates, state = tx.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  return jax.jit(update)


def seconds_to_compile(function: Any, *arguments: Any) -> float:
  """From tracing to the program."""
  started = time.perf_counter()
  function.lower(*arguments).compile()
  return time.perf_counter() - started


def sentence(error: Exception) -> str:
  """The first line of what went wrong, cut where it gets long."""
  lines = str(error).strip().splitlines() or [type(error).__name__]
  return lines[0][:300]


def measure(
  size: str, density: float, seconds: float, deadline: Deadline
) -> dict[str, Any]:
  """Times everything on one tree."""
  shapes = shapes_of(size)
  gradients, weights = quick_tree(shapes, seed=1)
  row = time_updates(gradients, weights, density, seconds)
  times, left_out = time_sorting(gradients, weights, density, seconds, deadline)
  return {
    "size": size,
    "weights": sum(weight.size for weight in weights),
    "leaves": len(shapes),
    "density": density,
    **row,
    "seconds": row["seconds"] | times,
    "left_out": left_out,
  }


def time_updates(
  gradients: Leaves, weights: Leaves, density: float, seconds: float
) -> dict[str, Any]:
  """The bounds, the selection alone, and the optimizers; what they took to compile."""
  shapes = [weight.shape for weight in weights]
  n = sum(weight.size for weight in weights)
  selecting = gsm_optax.keep_top_saliency(density)
  select, copy, one_pass = (jax.jit(f) for f in (selecting.update, jnp.copy, keep))
  cold: Any = selecting.init(weights)
  compared = {name: optimizers(density)[name] for name in OPTIMIZERS}
  updaters = {name: updater(tx) for name, tx in compared.items()}
  states = {name: state_like(tx, weights, gradients) for name, tx in compared.items()}
  flat = jax.random.normal(jax.random.key(0), (n,))

  compile_seconds = {
    name: seconds_to_compile(updaters[name], weights, states[name], gradients)
    for name in OPTIMIZERS  # each by itself
  }
  with ThreadPoolExecutor(os.cpu_count()) as pool:  # the others side by side
    compiling = [
      pool.submit(seconds_to_compile, select, gradients, cold, weights),
      pool.submit(seconds_to_compile, one_pass, gradients, weights, cold.threshold),
      pool.submit(seconds_to_compile, copy, flat),
    ]
  for job in compiling:
    job.result()

  earlier, _ = quick_tree(shapes, seed=2)
  _, warm = select(earlier, cold, weights)  # as after another batch
  _, now = select(gradients, warm, weights)
  del earlier
  states["gsm_optax.gsm"] = optax.tree.set(
    states["gsm_optax.gsm"], threshold=warm.threshold
  )
  runs: dict[str, Callable[[], Any]] = {
    "copy": lambda: copy(flat),
    "pass": lambda: one_pass(gradients, weights, now.threshold),
    "keep_top_saliency": lambda: select(gradients, warm, weights),
    "… cold start": lambda: select(gradients, cold, weights),
  }
  for name in OPTIMIZERS:
    runs[name] = lambda name=name: updaters[name](weights, states[name], gradients)
  times = side_by_side(runs, seconds, turn=TURN)
  return {
    "seconds": times,
    "copy_gigabytes_per_second": 8 * n / times["copy"] / 1e9,
    "compile_seconds": compile_seconds,
  }


def time_sorting(
  gradients: Leaves, weights: Leaves, density: float, seconds: float, deadline: Deadline
) -> tuple[dict[str, float], dict[str, str]]:
  """Seconds of the ways that concatenate all scores, and why others have none."""
  n = sum(weight.size for weight in weights)
  times: dict[str, float] = {}
  left_out: dict[str, str] = {}
  for name, select in jax_alternatives(max(1, math.floor(density * n))).items():
    if n > _LARGEST_SORTED:
      left_out[name] = "Not tried with so many weights."
      continue
    try:
      run = partial(select, gradients, weights)
      times[name] = in_time(run, seconds, deadline, turn=TURN)
    except (jax.errors.JaxRuntimeError, NoTimeError) as error:
      left_out[name] = sentence(error)
  return times, left_out


def updates(
  sizes: Sequence[str],
  density: float,
  seconds: float,
  deadline: Deadline,
  save: Callable[[dict[str, Any]], None],
  say: Callable[[str], None],
) -> dict[str, Any]:
  """Times tree after tree, and saves after each.

  One is begun only if there is as much time left as the one before has taken.
  """
  rows: list[dict[str, Any]] = []
  skipped: dict[str, str] = {}
  for size in sizes:
    if deadline.left() <= (rows[-1]["wall_seconds"] if rows else 0):
      skipped[size] = "There was not enough time left."
      say(f"update: {size} left out: {skipped[size]}")
      continue
    started = time.perf_counter()
    try:
      row = measure(size, density, seconds, deadline)
    except jax.errors.JaxRuntimeError as error:
      skipped[size] = sentence(error)
      say(f"update: {size} left out: {skipped[size]}")
    else:
      wall_seconds = time.perf_counter() - started
      rows.append(row | {"wall_seconds": wall_seconds})
      say(f"update: {size} done in {wall_seconds:.1f} s")
    save({"rows": rows, "skipped": skipped})
  return {"rows": rows, "skipped": skipped}
