"""The training of a run: its phases in turn, measured, recorded, and resumable."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.configs.recipe import Recipe
from experiments.datasets.dataset import Dataset
from experiments.models import Model
from experiments.run.checkpoints import Checkpoints, RefusedError
from experiments.run.folder import RunError, RunFolder
from experiments.run.recording import Display, Metrics
from experiments.train.augmentation import Augmentation
from experiments.train.devices import (
  batch_mesh,
  is_first_process,
  on_devices,
  replicate,
)
from experiments.train.epoch import (
  Interrupted,
  Within,
  is_quick_in_a_loop,
  make_train_epoch,
)
from experiments.train.evaluate import make_evaluate
from experiments.train.measures import History, empty_history, make_measure
from experiments.train.step import TrainState, make_augmented_step


class Stage(NamedTuple):
  """A phase of a recipe, ready to run.

  Attributes:
    name: of the phase; the params of ``"base"`` are kept.
    epochs: how many.
    tx: the optimizer.
    learning_rate: at each step.
    augmentation: of the training images.
  """

  name: str
  epochs: int
  tx: optax.GradientTransformation
  learning_rate: optax.Schedule
  augmentation: Sequence[Augmentation] = ()


class Start(NamedTuple):
  """Where a run begins, if not with the model's initial params.

  Attributes:
    params: as the model's.
    batch_stats: as the model's.
    stage: how many stages are done already.
    wall_seconds: the time that each of them took.
  """

  params: Any
  batch_stats: Any
  stage: int = 0
  wall_seconds: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Run:
  """What to train, on what, and where."""

  folder: RunFolder
  recipe: Recipe
  stages: Sequence[Stage]
  model: Model
  data: Dataset
  display: Display
  start: Start | None = None
  deadline: float | None = None
  """The `time.monotonic` after which to stop, at the end of an epoch."""


class Outcome(NamedTuple):
  """What is there when all stages are done."""

  params: Any
  batch_stats: Any
  records: list[dict[str, Any]]
  wall_seconds: dict[str, float]


class DivergenceError(Exception):
  """The loss is not a number any more; the message says what to do."""


class DeadlineError(Exception):
  """The time is up; the run can be continued."""


def train(run: Run) -> Outcome:
  """Trains through the stages, from the folder's last checkpoint on if it has one.

  Each evaluation is recorded and then saved. The order of an epoch's images and their
  augmentation depend on the seed and the epoch alone. So what comes after a checkpoint
  is the same whether the run was interrupted or not.

  Raises:
    RunError: if the folder's checkpoint is of another run, or cannot be written.
    DivergenceError: if the loss is not finite.
    DeadlineError: if the run's deadline has passed.
  """
  with ExitStack() as stack:
    checkpoints = stack.enter_context(closing(run.folder.checkpoints(run.display.say)))
    training = _Training.begun(run, checkpoints)
    stack.enter_context(closing(training.metrics))
    for index in range(training.stage, len(run.stages)):
      training.train_stage(index)
    state = training.state
    records = training.metrics.records
    return Outcome(state.params, state.batch_stats, records, training.wall_seconds)


@dataclass
class _Training:
  """A run under way; what a checkpoint holds, and what is needed to go on."""

  run: Run
  checkpoints: Checkpoints
  metrics: Metrics
  state: TrainState
  history: History
  stage: int = 0
  epoch: int = 0
  interrupted: Interrupted | None = None
  wall_seconds: dict[str, float] = field(default_factory=dict[str, float])

  def __post_init__(self):
    run = self.run
    recipe, data, model = run.recipe, run.data, run.model
    self.mesh = batch_mesh()
    self.scans = is_quick_in_a_loop(model, data.image_shape)
    self.steps_per_epoch = data.train_size // recipe.batch_size
    _, self.order_key = jax.random.split(jax.random.key(recipe.seed))
    probe = next(iter(data.epoch(jax.random.key(0), recipe.batch_size)))
    evaluate = make_evaluate(model, data, self.mesh)
    self.measure = make_measure(
      *(model, data, recipe.density, on_devices(probe, self.mesh), evaluate)
    )

  @classmethod
  def begun(cls, run: Run, checkpoints: Checkpoints) -> "_Training":
    """From the newest checkpoint, or from the start."""
    mesh = batch_mesh()
    init_key, _ = jax.random.split(jax.random.key(run.recipe.seed))
    start = run.start or Start(*run.model.init(init_key))
    # Copies: an epoch takes its state's memory, and these may be the caller's.
    params, batch_stats = jax.tree.map(jnp.copy, replicate(start[:2], mesh))
    history = empty_history(params)

    def state(stage: int) -> TrainState:
      opt_state = replicate(run.stages[stage].tx.init(params), mesh)
      return TrainState(params, batch_stats, opt_state)

    def like(saved: dict[str, Any]) -> Any:
      try:
        run.folder.refuse_other(saved["run"])
      except RunError as error:
        raise RefusedError(error) from error
      return state(saved["stage"]), history, jnp.float32(0)

    newest = checkpoints.newest(like)
    total = sum(stage.epochs for stage in run.stages)
    records = newest[1]["records"] if newest else []
    metrics = Metrics(run.folder.path, records, is_first_process())
    if newest is None:
      stage = start.stage
      training = cls(run, checkpoints, metrics, state(stage), history, stage)
      training.wall_seconds.update(start.wall_seconds)
      run.display.start(total, training.epochs_before(stage))
      last = run.stages[max(stage - 1, 0)]
      training.evaluate(last, last.epochs if stage else 0, None)
      if stage:
        training.keep_base()
      return training
    (trained, history, loss_sum), saved = newest
    training = cls(run, checkpoints, metrics, trained, history, saved["stage"])
    training.epoch, training.wall_seconds = saved["epoch"], saved["wall_seconds"]
    if saved["step"]:
      training.interrupted = Interrupted(saved["step"], loss_sum, saved["position"])
    done = training.epochs_before(training.stage) + training.epoch
    run.display.start(total, done)
    run.display.say(f"Continuing after {done} of {total} epochs.")
    if saved["devices"] != _devices():
      run.display.say(
        f"It ran on {saved['devices']} and goes on on {_devices()}: its last digits"
        " will differ from those of a run on one of them."
      )
    return training

  def epochs_before(self, index: int) -> int:
    """Epochs of all stages before one."""
    return sum(stage.epochs for stage in self.run.stages[:index])

  def evaluate(self, stage: Stage, epoch: int, loss: jax.Array | None) -> None:
    """Measures, records and shows the state after an epoch of a stage."""
    if loss is not None and not jnp.isfinite(loss):
      raise DivergenceError(
        f"The loss is {float(loss)} in epoch {epoch} of {stage.name}: the training has"
        " diverged. Lower the learning rate, or the momentum."
      )
    measured, self.history = self.measure(self.state, self.history)
    rate = stage.learning_rate(epoch * self.steps_per_epoch)
    record = {
      "phase": stage.name,
      "epoch": epoch,
      "total_epochs": self.epochs_before(self.stage) + self.epoch,
      "loss": None if loss is None else float(loss),
      "learning_rate": float(jnp.asarray(rate)),
      **measured,
    }
    self.metrics.add(record)
    self.run.display.evaluation(record)

  def train_stage(self, index: int) -> None:
    """Trains one stage to its end, or what is left of it."""
    run, stage, every = self.run, self.run.stages[index], self.run.recipe.evaluate_every
    if index > self.stage:
      params, batch_stats, _ = self.state
      opt_state = replicate(stage.tx.init(params), self.mesh)
      self.state = TrainState(params, batch_stats, opt_state)
      self.history = History(self.history.active, self.history.active)
      self.stage, self.epoch = index, 0
    train_epoch = make_train_epoch(
      make_augmented_step(run.model, stage.tx, run.data, stage.augmentation),
      *(run.data, run.recipe.batch_size, self.scans, self.mesh),
    )
    before = self.epochs_before(index)
    started = time.perf_counter() - self.wall_seconds.setdefault(stage.name, 0.0)
    for epoch in range(self.epoch + 1, stage.epochs + 1):
      key = jax.random.fold_in(self.order_key, before + epoch)
      within = None
      for state, within in train_epoch(self.state, key, self.interrupted):
        self.state = state
        if self.is_due(within):
          self.wall_seconds[stage.name] = time.perf_counter() - started
          self.save(within)
      assert within is not None, "an epoch has a batch at least"
      loss = within.loss_sum / within.step
      self.interrupted, self.epoch = None, epoch
      run.display.epoch(stage.name, before + epoch, loss)
      is_evaluated = epoch % every == 0 or epoch == stage.epochs
      if is_evaluated:
        self.evaluate(stage, epoch, loss)
      is_late = run.deadline is not None and self._time() > run.deadline
      if is_evaluated or is_late:
        self.wall_seconds[stage.name] = time.perf_counter() - started
        self.save(None)
      if is_late:
        raise DeadlineError(f"stopped after {before + epoch} epochs")
    if stage.name == "base":
      self.keep_base()

  def _time(self) -> float:
    """Now, when all that was asked of the device is done."""
    jax.block_until_ready(self.state)
    return time.monotonic()

  def is_due(self, within: Within) -> bool:
    """Whether to save within an epoch."""
    every = self.run.recipe.checkpoint_every
    if every is None or within.batches is None:
      return False
    return within.step % every == 0 and within.step < self.steps_per_epoch

  def save(self, within: Within | None) -> None:
    """Writes a checkpoint: at the end of an epoch, or within one."""
    done = self.epochs_before(self.stage) + self.epoch
    step, loss_sum, batches = within or Within(0, jnp.float32(0), None)
    description = {
      "run": self.run.folder.description,
      "stage": self.stage,
      "epoch": self.epoch,
      "step": step,
      "position": batches.position() if batches else None,
      "wall_seconds": self.wall_seconds,
      "records": self.metrics.records,
      "devices": _devices(),
    }
    arrays = self.state, self.history, loss_sum
    self.checkpoints.save(done * self.steps_per_epoch + step, arrays, description)

  def keep_base(self) -> None:
    """Keeps what the first stage ends with, for others to start from."""
    arrays = {"params": self.state.params, "batch_stats": self.state.batch_stats}
    self.run.folder.save("base", arrays)


def _devices() -> str:
  device = jax.devices()[0]
  return f"{jax.device_count()} × {device.device_kind}"
