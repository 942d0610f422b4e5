"""The training of a run: its stages in turn, measured, recorded, and resumable."""

import time
from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp

from experiments.run.checkpoints import RefusedError
from experiments.run.folder import RunError
from experiments.run.recording import Metrics
from experiments.run.stages import (
  DeadlineError,
  DivergenceError,
  Outcome,
  Run,
  Stage,
  Start,
)
from experiments.run.surroundings import devices
from experiments.train.devices import (
  batch_mesh,
  first_process_says,
  is_first_process,
  on_devices,
  replicate,
)
from experiments.train.epoch import (
  Interrupted,
  TrainEpoch,
  Within,
  is_quick_in_a_loop,
  make_train_epoch,
)
from experiments.train.evaluate import make_evaluate
from experiments.train.measures import History, empty_history, make_measure
from experiments.train.step import TrainState, make_augmented_step


def train(run: Run) -> Outcome:
  """Trains through the stages, from the folder's last checkpoint on if it has one.

  Each evaluation is recorded and then saved. The order of an epoch's images and their
  augmentation depend on the seed and the epoch alone. So what comes after a checkpoint
  is the same whether the run was interrupted or not.

  Raises:
    RunError: if the folder's checkpoint is of another run, or it cannot be written.
    DamagedError: if there are checkpoints, but none can be read; or none be written.
    DivergenceError: if the loss is not finite.
    DeadlineError: if the run's deadline has passed.
  """
  training = _Training(run)
  records = training.restored()
  training.metrics = Metrics(run.folder.path, records or [], is_first_process())
  run.display.start(run.epochs, training.epochs_done)
  with closing(training.metrics):
    if records is None:
      training.begin()
    for index in range(training.stage, len(run.stages)):
      training.train_stage(index)
  params, batch_stats, _ = training.state
  return Outcome(params, batch_stats, training.metrics.records, training.wall_seconds)


class _Training:
  """A run under way: where it stands, and what is needed to go on."""

  metrics: Metrics

  def __init__(self, run: Run):
    """Where the run begins."""
    recipe, data, model = run.recipe, run.data, run.model
    self.run = run
    self.checkpoints = run.folder.checkpoints(run.display.say)
    self.mesh = batch_mesh()
    self.steps_per_epoch = data.train_size // recipe.batch_size
    # The last batch of an epoch: nothing behind it is read in vain.
    last = self.steps_per_epoch - 1
    probe = next(iter(data.epoch(jax.random.key(0), recipe.batch_size, last)))
    evaluate = make_evaluate(model, data, self.mesh)
    self.measure = make_measure(
      *(model, data, recipe.density, on_devices(probe, self.mesh), evaluate),
      structure=run.structure,
    )
    init_key, self.order_key = jax.random.split(jax.random.key(recipe.seed))
    start = run.start or Start(*model.init(init_key))
    # Copies: an epoch takes its state's memory, and these may be the caller's.
    params, batch_stats = jax.tree.map(jnp.copy, replicate(start[:2], self.mesh))
    self.stage, self.epoch = start.stage, 0
    self.interrupted: Interrupted | None = None
    self.wall_seconds = dict(start.wall_seconds)
    self.state = self._state(start.stage, params, batch_stats)
    self.history = empty_history(params)

  def _state(self, stage: int, params: Any, batch_stats: Any) -> TrainState:
    """At the beginning of a stage."""
    opt_state = replicate(self.run.stages[stage].tx.init(params), self.mesh)
    return TrainState(params, batch_stats, opt_state)

  @property
  def epochs_done(self) -> int:
    """Of all stages together."""
    return self.run.epochs_before(self.stage) + self.epoch

  def begin(self) -> None:
    """Evaluates what the run begins with."""
    last = self.run.stages[max(self.stage - 1, 0)]
    self.evaluate(last, last.epochs if self.stage else 0, None)
    if self.stage:
      self.keep_base()

  def restored(self) -> list[dict[str, Any]] | None:
    """Goes to the newest checkpoint and gives its records; ``None`` if it has none."""
    say = self.run.display.say
    params, batch_stats, _ = self.state

    def like(saved: dict[str, Any]) -> Any:
      try:
        self.run.folder.refuse_other(saved["run"])
      except RunError as error:
        raise RefusedError(error) from error
      state = self._state(saved["stage"], params, batch_stats)
      return state, self.history, replicate(jnp.float32(0), self.mesh)

    newest = self.checkpoints.newest(like)
    if newest is None:
      return None
    (self.state, self.history, loss_sum), saved = newest
    self.stage, self.epoch = saved["stage"], saved["epoch"]
    self.wall_seconds = saved["wall_seconds"]
    if saved["step"]:
      self.interrupted = Interrupted(saved["step"], loss_sum, saved["position"])
    say(f"Continuing after {self.epochs_done} of {self.run.epochs} epochs.")
    if saved["devices"] != devices():
      say(
        f"It ran on {saved['devices']} and goes on on {devices()}: its last digits"
        " will differ from those of a run on one of them."
      )
    if self.stage and (problem := self.run.folder.damage("base")):
      say(
        f"{self.run.folder.path / 'base'} is damaged ({problem}): this run needs it no"
        " more, but no other can begin with it. Remove the folder to train it anew."
      )
    return saved["records"]

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
      "total_epochs": self.epochs_done,
      "loss": None if loss is None else float(loss),
      "learning_rate": float(jnp.asarray(rate)),
      **measured,
    }
    self.metrics.add(record)
    self.run.display.evaluation(record)

  def train_stage(self, index: int) -> None:
    """Trains one stage to its end, or what is left of it."""
    run, stage = self.run, self.run.stages[index]
    if index > self.stage:
      params, batch_stats, _ = self.state
      self.state = self._state(index, params, batch_stats)
      self.history = History(self.history.active, self.history.active)
      self.stage, self.epoch = index, 0
    scans = is_quick_in_a_loop(run.model, run.data.image_shape)
    train_epoch = self._train_epoch(stage, scans)
    started = time.perf_counter() - self.wall_seconds.setdefault(stage.name, 0.0)
    while self.epoch < stage.epochs:
      loss = self._trained_loss(train_epoch, stage, started)
      run.display.epoch(stage.name, self.epochs_done, loss)
      is_last = self.epoch == stage.epochs
      is_evaluated = is_last or self.epoch % run.recipe.evaluate_every == 0
      if is_evaluated:
        self.evaluate(stage, self.epoch, loss)
      is_late = self.epochs_done < run.epochs and self._is_late()
      if is_evaluated or is_late:
        self.wall_seconds[stage.name] = time.perf_counter() - started
        self.save(None)
      if is_late:
        raise DeadlineError(f"stopped after epoch {self.epochs_done}")
    # Also where it was interrupted between its last checkpoint and this.
    if stage.name == "base":
      self.keep_base()

  def _train_epoch(self, stage: Stage, scans: bool) -> TrainEpoch:
    """How to train an epoch; `scans`: whether in one call, if the data allow it."""
    run = self.run
    step = make_augmented_step(run.model, stage.tx, run.data, stage.augmentation)
    return make_train_epoch(step, run.data, run.recipe.batch_size, scans, self.mesh)

  def _trained_loss(
    self, train_epoch: TrainEpoch, stage: Stage, started: float
  ) -> jax.Array:
    """Trains one epoch, or what is left of it; the mean loss of all its steps."""
    if self.interrupted:
      # The rest of an epoch cannot be one call, wherever it was begun.
      train_epoch = self._train_epoch(stage, scans=False)
    key, within = jax.random.fold_in(self.order_key, self.epochs_done + 1), None
    for state, within in train_epoch(self.state, key, self.interrupted):
      self.state = state
      is_late = self.is_inside(within) and self._is_late()
      if is_late or self.is_due(within):
        self.wall_seconds[stage.name] = time.perf_counter() - started
        self.save(within)
      if is_late:
        raise DeadlineError(
          f"stopped in epoch {self.epochs_done + 1}, after {within.step} steps"
        )
    assert within is not None, "an epoch has a batch at least"
    self.interrupted = None
    self.epoch += 1
    return within.loss_sum / within.step

  def _is_late(self) -> bool:
    """Whether the deadline has passed when all that was asked of the device is done."""
    if self.run.deadline is None:
      return False
    jax.block_until_ready(self.state)
    return first_process_says(time.monotonic() > self.run.deadline)

  def is_inside(self, within: Within) -> bool:
    """Whether an epoch has steps left, before which it can be interrupted."""
    return within.batches is not None and within.step < self.steps_per_epoch

  def is_due(self, within: Within) -> bool:
    """Whether to save within an epoch."""
    every = self.run.recipe.checkpoint_every
    return every is not None and self.is_inside(within) and within.step % every == 0

  def save(self, within: Within | None) -> None:
    """Writes a checkpoint: at the end of an epoch, or within one."""
    step, loss_sum, batches = within or Within(0, jnp.float32(0), None)
    description = {
      "run": self.run.folder.description,
      "stage": self.stage,
      "epoch": self.epoch,
      "step": step,
      "position": batches.position() if batches else None,
      "wall_seconds": self.wall_seconds,
      "records": self.metrics.records,
      "devices": devices(),
    }
    arrays = self.state, self.history, loss_sum
    number = self.epochs_done * self.steps_per_epoch + step
    self.checkpoints.save(number, arrays, description)

  def keep_base(self) -> None:
    """Keeps what the first stage ends with, for others to start from."""
    arrays = {"params": self.state.params, "batch_stats": self.state.batch_stats}
    self.run.folder.save("base", arrays)
