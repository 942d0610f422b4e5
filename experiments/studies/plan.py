"""How many epochs of a run fit into the time that is left."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import jax

from experiments import models
from experiments.configs.recipe import Recipe, stretched
from experiments.jobs.setup import build_structure, load_data
from experiments.studies.study import Entry
from experiments.train.epoch import is_quick_in_a_loop, make_train_epoch
from experiments.train.optimizers import Task
from experiments.train.step import TrainState, make_augmented_step

BESIDES = 60
"""Seconds that a run takes besides its epochs: it is compiled, and its results are
written. On an H200 a ResNet-56 took 44."""

SHARE = 0.8
"""Of the rest of the time that is left, which a run may plan to take: evaluations and
checkpoints take some too, 0.13 of it there."""

TIMED = 12
"""Steps, or epochs of one call, that are timed at most."""


def images_per_second(recipe: Recipe, data_dir: Path | None) -> float:
  """The speed of a recipe's GSM phase on this machine, compiling left out."""
  data = load_data(recipe, data_dir)
  model = models.load(
    recipe.model.name, data.image_shape, data.num_classes, recipe.model.options
  )
  steps = data.train_size // recipe.batch_size
  phase = recipe.gsm
  schedule = phase.schedule.build(phase.epochs, steps)
  built = build_structure(recipe, model, data.image_shape)
  structure = built.structure if built else None
  task = Task(schedule, recipe.density, steps, phase.epochs, structure)
  tx = phase.optimizer.build(task)
  step = make_augmented_step(model, tx, data, phase.augmentation)
  scans = is_quick_in_a_loop(model, data.image_shape)
  epoch = make_train_epoch(step, data, recipe.batch_size, scans)
  params, batch_stats = model.init(jax.random.key(0))
  state = TrainState(params, batch_stats, tx.init(params))

  def marks() -> Iterator[tuple[float, int]]:
    """When so many images were done: after each step, or after each epoch."""
    nonlocal state
    for number in range(2):
      for new, within in epoch(state, jax.random.key(number), None):
        state = jax.block_until_ready(new)
        yield time.perf_counter(), (number * steps + within.step) * recipe.batch_size

  # The program is compiled before the first mark.
  (began, before), *_, (ended, after) = islice(marks(), TIMED)
  return (after - before) / (ended - began)


def make_plan(
  recipe: Recipe, data_dir: Path | None, deadline: float, least: int, most: int | None
) -> dict[str, Any]:
  """The number of epochs for a run, and what led to it; JSON.

  Args:
    recipe: of the run.
    data_dir: the folder of its data set's files.
    deadline: the `time.monotonic` at which it should be over.
    least: epochs that it gets in any case.
    most: epochs that it gets at most, besides the recipe's own.
  """
  speed = images_per_second(recipe, data_dir)
  seconds = max(deadline - time.monotonic(), 0.0)
  training = SHARE * max(seconds - BESIDES, 0.0)
  fitting = int(training * speed / load_data(recipe, data_dir).train_size)
  limits = [recipe.gsm.epochs, *([] if most is None else [most])]
  return {
    "images_per_second": round(speed),
    "seconds_left": round(seconds),
    "epochs_that_fit": fitting,
    "epochs": min(max(fitting, least), *limits),
    "epochs_of_the_recipe": recipe.gsm.epochs,
  }


def planned(entry: Entry, plan: dict[str, Any]) -> Entry:
  """The entry with the epochs of its plan; its schedules are stretched with them."""
  gsm = stretched(entry.recipe, plan["epochs"]).gsm
  return replace(entry, numbers={**entry.numbers, "gsm": gsm})
