"""What is trained: the stages of a run, where it begins, and what it ends with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import optax

from experiments.configs.recipe import Recipe
from experiments.datasets.dataset import Dataset
from experiments.models import Model
from experiments.run.folder import RunFolder
from experiments.run.recording import Display
from experiments.train.augmentation import Augmentation
from experiments.train.structures import Built


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
  structure: Built | None = None
  """What is kept together; single weights without."""

  def epochs_before(self, index: int) -> int:
    """Epochs of all stages before one."""
    return sum(stage.epochs for stage in self.stages[:index])

  @property
  def epochs(self) -> int:
    """Epochs of all stages."""
    return self.epochs_before(len(self.stages))


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
