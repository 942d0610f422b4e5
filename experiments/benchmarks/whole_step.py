"""What GSM adds to a whole training step, on images made on the device.

Each step is on another batch and donates its state, as in training; several are
launched before any is waited for.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import models
from experiments.benchmarks.optimizers import optimizers
from experiments.benchmarks.trees import quick_tree
from experiments.benchmarks.update import sentence
from experiments.models import Model
from experiments.run.timing import Deadline, NoTimeError, in_time, side_by_side
from experiments.train.kernels import is_kernel, kernels
from experiments.train.step import Batch, TrainState, make_train_step

NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
  "resnet50": ("resnet50", {}, 1000),
  "resnet56": ("resnet_cifar", {"depth": 56}, 10),
  "resnet20": ("resnet_cifar", {"depth": 20}, 10),
  "lenet300": ("lenet300", {}, 10),
}
"""What can be trained here: the network, its options, and the number of classes."""

ALTERNATIVES = ("GSM by lax.top_k", "GSM by jnp.sort")
"""Left out if the time gets short."""

BATCHES = 4
"""Different ones, which make a call."""

TURN = 0.25
"""Seconds of calls in a row. XLA updates its CUDA graphs when another program ran in
between; the few steps of a call would not make up for that."""


@dataclass(frozen=True)
class Training:
  """What a step is of."""

  model: str
  image_size: int
  batch_size: int
  dtype: str
  """To compute in; the LeNet has no choice."""

  def build(self) -> tuple[Model, list[Batch]]:
    """The model and its batches."""
    shape = (self.image_size, self.image_size, 3)
    network, options, classes = NETWORKS[self.model]
    if self.model != "lenet300":
      options = {**options, "dtype": self.dtype}

    @jax.jit
    def batch(key: jax.Array) -> Batch:
      images, labels = jax.random.split(key)
      return (
        jax.random.normal(images, (self.batch_size, *shape)),
        jax.random.randint(labels, (self.batch_size,), 0, classes),
      )

    keys = jax.random.split(jax.random.key(1), BATCHES)
    model = models.load(network, shape, classes, options)
    return model, [batch(key) for key in keys]


def quick_init(model: Model) -> tuple[Any, Any]:
  """Params and batch statistics as `model.init` has them, but soon compiled.

  A GPU's compiler takes half a minute for ResNet-50's initialisers.
  """
  specs = jax.eval_shape(model.init, jax.random.key(0))
  shapes = [spec.shape for spec in kernels(specs)]
  weights = iter(quick_tree(shapes, seed=0)[1])

  def fill(path: Any, spec: Any) -> jax.Array:
    if is_kernel(spec):
      return next(weights)
    value = 1 if path[-1].key in ("scale", "var") else 0
    return jnp.asarray(np.full(spec.shape, value, spec.dtype))

  return jax.tree_util.tree_map_with_path(fill, specs)


class Stepper:
  """Steps of one optimizer, which go on where the last ones ended."""

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
  training: Training,
  density: float,
  seconds: float,
  deadline: Deadline,
  save: Callable[[dict[str, Any]], None],
  say: Callable[[str], None],
) -> dict[str, Any]:
  """Seconds of a step with each optimizer, and the ratio to SGD's; saved as they come.

  SGD's step is compiled first and by itself: XLA chooses the convolutions' algorithms
  by timing them, and the other steps, compiled side by side, take the same.
  """
  model, batches = training.build()
  params = quick_init(model)
  compared = optimizers(density)
  steppers = {"SGD": Stepper(model, params, compared.pop("SGD"), batches)}
  compile_seconds = {"SGD": steppers["SGD"].compile()}
  say(f"step: SGD's compiled in {compile_seconds['SGD']:.1f} s")
  left_out: dict[str, str] = {}
  if deadline.left() < compile_seconds["SGD"]:
    left_out = dict.fromkeys(ALTERNATIVES, "There was no time to compile it.")
  for name, tx in compared.items():
    if name not in left_out:
      steppers[name] = Stepper(model, params, tx, batches)
  with ThreadPoolExecutor(os.cpu_count()) as pool:
    compiling = {
      name: pool.submit(stepper.compile)
      for name, stepper in steppers.items()
      if name != "SGD"
    }
  compile_seconds |= {name: job.result() for name, job in compiling.items()}
  say(f"step: the others compiled in {max(compile_seconds.values()):.1f} s or less")

  def results(times: dict[str, float]) -> dict[str, Any]:
    return {
      **asdict(training),
      "density": density,
      "seconds": {name: time / BATCHES for name, time in times.items()},
      "ratio_to_sgd": {name: time / times["SGD"] for name, time in times.items()},
      "compile_seconds_side_by_side": compile_seconds,
      "left_out": left_out,
    }

  runs = {
    name: stepper.run for name, stepper in steppers.items() if name not in ALTERNATIVES
  }
  times = side_by_side(runs, seconds, turn=TURN)
  save(results(times))
  for name in ALTERNATIVES:
    if name not in left_out:
      try:
        times[name] = in_time(steppers[name].run, seconds, deadline, turn=TURN)
      except (jax.errors.JaxRuntimeError, NoTimeError) as error:
        left_out[name] = f"{BATCHES} steps: {sentence(error)}"
        say(f"step: {name} left out: {left_out[name]}")
  return results(times)
