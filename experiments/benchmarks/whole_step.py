"""What GSM adds to a whole training step, on images made on the device.

Each step is on another batch and donates its state, as in training; several are
launched before any is waited for.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.benchmarks.optimisers import optimisers
from experiments.benchmarks.timing import Deadline, side_by_side
from experiments.benchmarks.update import sentence
from experiments.models import LeNet300, Model, ResNet20, ResNet50, from_nnx
from experiments.training import Batch, TrainState, make_train_step

CLASSES = {"resnet50": 1000, "resnet20": 10, "lenet300": 10}
"""Of each model that can be trained here."""

ALTERNATIVES = ("GSM by lax.top_k", "GSM by jnp.sort")
"""Left out if the time gets short."""

BATCHES = 4
"""Different ones, which make a turn."""


def build(
  model: str, image_size: int, batch_size: int, dtype: str
) -> tuple[Model, list[Batch]]:
  """The model and its batches."""
  shape = (image_size, image_size, 3)
  classes = CLASSES[model]

  def make(rngs: Any) -> Any:
    if model == "resnet50":
      return ResNet50(shape, classes, rngs, jnp.dtype(dtype))
    return {"resnet20": ResNet20, "lenet300": LeNet300}[model](shape, classes, rngs)

  @jax.jit
  def batch(key: jax.Array) -> Batch:
    images, labels = jax.random.split(key)
    return (
      jax.random.normal(images, (batch_size, *shape)),
      jax.random.randint(labels, (batch_size,), 0, classes),
    )

  keys = jax.random.split(jax.random.key(1), BATCHES)
  return from_nnx(make), [batch(key) for key in keys]


class Stepper:
  """Steps of one optimiser, which go on where the last ones ended."""

  def __init__(
    self, model: Model, params: Any, tx: optax.GradientTransformation, batches: Any
  ):
    self._step = jax.jit(make_train_step(model, tx), donate_argnums=0)
    # Copies, since each step donates its state.
    params, batch_stats = jax.tree.map(jnp.copy, params)
    self._state = TrainState(params, batch_stats, jax.jit(tx.init)(params))
    self._batches = batches

  def compile(self) -> float:
    """Seconds from tracing to the program."""
    started = time.perf_counter()
    self._step.lower(self._state, self._batches[0]).compile()
    return time.perf_counter() - started

  def run(self) -> jax.Array:
    """A step on each batch; the last one's loss."""
    loss = jnp.zeros(())
    for batch in self._batches:
      self._state, loss = self._step(self._state, batch)
    return loss


def whole_step(
  model_name: str,
  image_size: int,
  batch_size: int,
  dtype: str,
  density: float,
  seconds: float,
  deadline: Deadline,
  say: Callable[[str], None],
) -> dict[str, Any]:
  """Milliseconds of a step with each optimiser, and the ratio to SGD's.

  SGD's step is compiled first and by itself: XLA chooses the convolutions' algorithms
  by timing them, and the other steps, compiled side by side, take the same.
  """
  model, batches = build(model_name, image_size, batch_size, dtype)
  params = model.init(jax.random.key(0))
  compared = optimisers(density)
  del compared["SGD that waits for all gradients"]
  steppers = {"SGD": Stepper(model, params, compared.pop("SGD"), batches)}
  compile_seconds = {"SGD": steppers["SGD"].compile()}
  say(f"step: SGD's compiled in {compile_seconds['SGD']:.1f} s")
  left_out: dict[str, str] = {}
  if deadline.left() < compile_seconds["SGD"]:
    left_out = dict.fromkeys(ALTERNATIVES, "There was not enough time left.")
    say(f"step: {' and '.join(ALTERNATIVES)} left out: there was not enough time left")
  for name, tx in compared.items():
    if name not in left_out:
      steppers[name] = Stepper(model, params, tx, batches)

  with ThreadPoolExecutor(os.cpu_count()) as pool:
    compiling = {
      name: pool.submit(stepper.compile)
      for name, stepper in steppers.items()
      if name != "SGD"
    }
  for name, job in compiling.items():
    try:
      compile_seconds[name] = job.result()
      steppers[name].run().block_until_ready()
    except jax.errors.JaxRuntimeError as error:
      left_out[name] = sentence(error)
      del steppers[name]
  runs = {name: stepper.run for name, stepper in steppers.items()}
  share = max(0.1, deadline.left() / len(runs) / 2)
  times = side_by_side(runs, min(seconds, share))
  per_step = {name: time / BATCHES for name, time in times.items()}
  return {
    "model": model_name,
    "batch_size": batch_size,
    "image_size": image_size,
    "dtype": dtype if model_name == "resnet50" else "float32",
    "density": density,
    "seconds": per_step,
    "ratio_to_sgd": {name: time / per_step["SGD"] for name, time in per_step.items()},
    "compile_seconds_side_by_side": compile_seconds,
    "left_out": left_out,
  }
