"""A run: phases of training in one folder, measured, recorded, and resumable."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.checkpoints import (
  CheckpointError,
  Checkpoints,
  load_params,
  save_params,
)
from experiments.data import Dataset
from experiments.devices import batch_mesh, is_first_process, replicate
from experiments.measures import History, empty_history, make_measure
from experiments.models import Model
from experiments.recording import Display, Metrics
from experiments.surroundings import write_json
from experiments.training import Batch, TrainState, make_train_epoch


class Phase(NamedTuple):
  """A part of a run: one optimiser for a number of epochs."""

  name: str
  epochs: int
  tx: optax.GradientTransformation
  learning_rate: optax.Schedule
  input_shift: int = 0


class Start(NamedTuple):
  """Where a run begins, if not with the model's initial params.

  Attributes:
    params: as the model's.
    batch_stats: as the model's.
    phase_index: how many phases are done already.
    wall_seconds: the time that each of them took.
  """

  params: Any
  batch_stats: Any
  phase_index: int = 0
  wall_seconds: Mapping[str, float] = MappingProxyType({})


class DivergenceError(Exception):
  """The loss is not a number any more; the message says what to do."""


class Outcome(NamedTuple):
  """What is there when all phases are done."""

  params: Any
  batch_stats: Any
  records: list[dict[str, Any]]
  wall_seconds: dict[str, float]


RUN_FILES = (
  *("checkpoints", "tensorboard", "base", "params", "pruned_params"),
  *("metrics.jsonl", "metrics.partial", "results.json", "results.partial"),
  *("report.png", "job.json", "job.partial"),
)
"""All that a run leaves in its folder."""


def prepare_folder(
  folder: Path,
  resume: bool,
  description: dict[str, Any],
  files: Sequence[str] = RUN_FILES,
) -> bool:
  """Makes the run's folder, and clears it of the same run, finished and not resumed.

  ``job.json`` keeps there what the run is, so that another is refused at once.

  Args:
    folder: where the run's files go.
    resume: whether to keep what an earlier run of the same numbers has left.
    description: identifies the run; JSON.
    files: all that such a run leaves there.

  Returns:
    Whether the same run was finished there, and its files are gone now.

  Raises:
    CheckpointError: if it holds an unfinished run, another run, or files that are no
      run's.
  """
  if folder.exists() and not folder.is_dir():
    raise CheckpointError(f"{folder} is a file: choose a folder with --out.")
  folder.mkdir(parents=True, exist_ok=True)
  names = {path.name for path in folder.iterdir()}
  if foreign := sorted(names.difference(files)):
    raise CheckpointError(
      f"{folder} holds files that are no run's ({', '.join(foreign[:3])}): choose"
      " another folder with --out."
    )
  note, finished = folder / "job.json", folder / "results.json"
  if resume and note.exists():
    refuse_other_run(json.loads(note.read_text()), description, folder)
  if resume or not names:
    write_json(note, description)
    return False
  replaces = finished.exists()
  if replaces:
    refuse_other_run(json.loads(finished.read_text())["config"], description, folder)
  elif any(folder.rglob("checkpoints/[0-9]*")):
    raise CheckpointError(
      f"{folder} holds an unfinished run: continue it with --resume, remove the folder,"
      " or choose another with --out."
    )
  for name in names:
    path = folder / name
    if path.is_dir():
      shutil.rmtree(path)
    else:
      path.unlink()
  write_json(note, description)
  return replaces


def run_phases(
  plan: Sequence[Phase],
  model: Model,
  data: Dataset,
  folder: Path,
  display: Display,
  *,
  description: dict[str, Any],
  density: float,
  batch_size: int,
  evaluate_every: int,
  seed: int,
  start: Start | None = None,
) -> Outcome:
  """Trains through the phases, from the folder's last checkpoint on if it has one.

  Each evaluation is recorded and then saved, so that what comes after a checkpoint is
  the same whether the run was interrupted or not: the order of an epoch's images
  depends on the seed and the epoch alone.

  Args:
    plan: the phases; each begins with the params of the one before.
    model: what to train.
    data: what to train and test it on.
    folder: where metrics and checkpoints go.
    display: where to show progress.
    description: identifies the run; JSON. Checkpoints of another are refused.
    density: for measuring what pruning would do.
    batch_size: images per step.
    evaluate_every: epochs between evaluations.
    seed: of the initial params and the order of the images.
    start: where to begin, if not with the initial params.

  Raises:
    CheckpointError: if the folder's checkpoint is of another run.
  """
  mesh = batch_mesh()
  train: Batch = replicate((data.train_images, data.train_labels), mesh)
  test: Batch = replicate((data.test_images, data.test_labels), mesh)
  train, test = jax.tree.map(jnp.asarray, (train, test))
  probe = (train[0][:batch_size], train[1][:batch_size])
  measure = make_measure(model, density, probe, test)
  init_key, order_key = jax.random.split(jax.random.key(seed))
  total = sum(phase.epochs for phase in plan)
  steps_per_epoch = len(data.train_labels) // batch_size

  with ExitStack() as stack:
    checkpoints = stack.enter_context(closing(Checkpoints(folder / "checkpoints")))
    saved = checkpoints.description()
    if saved:
      refuse_other_run(saved["run"], description, folder)
    metrics = stack.enter_context(
      closing(
        Metrics(folder, saved["total_epochs"] if saved else None, is_first_process())
      )
    )
    wall: dict[str, float] = saved["wall_seconds"] if saved else {}
    start = start or Start(*model.init(init_key))
    # Copies: an epoch takes its state's memory, and these may be the caller's.
    params, batch_stats = jax.tree.map(jnp.copy, replicate(start[:2], mesh))
    history = empty_history(params)
    index, epoch = (
      (saved["phase_index"], saved["epoch"]) if saved else (start.phase_index, 0)
    )
    opt_state = replicate(plan[index].tx.init(params), mesh)
    state = TrainState(params, batch_stats, opt_state)
    done_before = sum(phase.epochs for phase in plan[:index]) + epoch
    display.start(total, done_before)
    if saved:
      display.say(f"Continuing after {done_before} of {total} epochs.")
      state, history = checkpoints.load((state, history))
    else:
      wall.update(start.wall_seconds)

    def evaluate(
      phase: Phase, epoch: int, total_epochs: int, loss: jax.Array | None
    ) -> None:
      nonlocal history
      if loss is not None and not jnp.isfinite(loss):
        raise DivergenceError(
          f"The loss is {float(loss)} in epoch {epoch} of {phase.name}: the training"
          " has diverged. Lower the learning rate, or the momentum."
        )
      measured, history = measure(state, history)
      record = {
        "phase": phase.name,
        "epoch": epoch,
        "total_epochs": total_epochs,
        "loss": None if loss is None else float(loss),
        "learning_rate": float(
          jnp.asarray(phase.learning_rate(epoch * steps_per_epoch))
        ),
        **measured,
      }
      metrics.add(record)
      display.evaluation(record)

    if not saved:
      phase = plan[max(index - 1, 0)]
      evaluate(phase, phase.epochs if index else 0, done_before, None)
      if index:
        save_base(folder, state)
    for number, phase in enumerate(plan[index:], start=index):
      first = epoch if number == index else 0
      if number > index:
        opt_state = replicate(phase.tx.init(state.params), mesh)
        state = TrainState(state.params, state.batch_stats, opt_state)
        history = History(history.active, history.active)
      before = sum(earlier.epochs for earlier in plan[:number])
      train_epoch = make_train_epoch(
        model, phase.tx, batch_size, mesh, phase.input_shift
      )
      started = time.perf_counter() - wall.setdefault(phase.name, 0.0)
      for done in range(first + 1, phase.epochs + 1):
        key = jax.random.fold_in(order_key, before + done)
        state, loss = train_epoch(state, train, key)
        display.epoch(phase.name, before + done, loss)
        if done % evaluate_every == 0 or done == phase.epochs:
          evaluate(phase, done, before + done, loss)
          wall[phase.name] = time.perf_counter() - started
          position = {
            "run": description,
            "phase_index": number,
            "epoch": done,
            "total_epochs": before + done,
            "wall_seconds": wall,
          }
          checkpoints.save(before + done, (state, history), position)
      if phase.name == "base":
        save_base(folder, state)
    return Outcome(state.params, state.batch_stats, metrics.records, wall)


def save_base(folder: Path, state: TrainState) -> None:
  """Keeps what the first phase ends with, for `load_base`."""
  arrays = {"params": state.params, "batch_stats": state.batch_stats}
  save_params(folder / "base", arrays)


def read_finished(folder: Path) -> dict[str, Any]:
  """The ``results.json`` of the finished run in `folder`.

  Raises:
    CheckpointError: if there is none.
  """
  path = folder / "results.json"
  if not (path.exists() and (folder / "base").exists()):
    raise CheckpointError(f"{folder} holds no finished run of experiments.prune.")
  return json.loads(path.read_text())


def load_base(folder: Path) -> Start:
  """The end of the base training of the finished run in `folder`, to start from.

  Raises:
    CheckpointError: if there is none.
  """
  wall = {"base": read_finished(folder)["wall_seconds"]["base"]}
  base = load_params(folder / "base")
  return Start(base["params"], base["batch_stats"] or {}, 1, wall)


def refuse_other_run(
  saved: dict[str, Any], wanted: dict[str, Any], folder: Path, flag: str = "--out"
) -> None:
  """Raises a CheckpointError that names what differs between two configurations.

  Args:
    saved: the configuration in the folder.
    wanted: the one that should be there.
    folder: the folder.
    flag: the one that named the folder.
  """
  differences = [
    f"{name} {saved.get(name)} instead of {wanted.get(name)}"
    for name in sorted(saved.keys() | wanted.keys())
    if saved.get(name) != wanted.get(name)
  ]
  if differences:
    raise CheckpointError(
      f"{folder} holds another run, with {', '.join(differences)}:"
      f" give the same flags, or choose another folder with {flag}."
    )
