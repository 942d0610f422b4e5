"""What a run is: all its numbers, in nested dataclasses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any

import tyro

from experiments.train.augmentation import Augmentation
from experiments.train.optimizers import SGD, Optimizer
from experiments.train.schedules import Cosine, Schedule
from experiments.train.structures import Structure, Weights

SINGLE = Weights()


@dataclass(frozen=True)
class Data:
  """A data set: a module of `experiments.datasets`."""

  name: str
  held_out: Annotated[int, tyro.conf.arg(aliases=("--held-out",))] = 0
  """Training images to measure accuracies on, instead of the test images."""
  options: dict[str, Any] = field(default_factory=dict[str, Any])
  """Of the module's ``load``."""


@dataclass(frozen=True)
class Network:
  """A network: a module of `experiments.models`."""

  name: str
  options: dict[str, Any] = field(default_factory=dict[str, Any])
  """Of the module's ``build``."""


@dataclass(frozen=True)
class Phase:
  """A part of the training: one optimizer for a number of epochs."""

  epochs: int
  optimizer: Optimizer
  schedule: Schedule
  """Of the learning rate."""
  augmentation: tuple[Augmentation, ...] = ()
  """What is done to the training images, in this order."""


@dataclass(frozen=True)
class Recipe:
  """One run: train a base model, train it on under GSM, prune."""

  data: Data
  model: Network
  density: float
  """Share of the prunable weights to keep."""
  base: Phase
  """Training without pruning."""
  gsm: Phase
  """Training that prunes: by GSM, or by what it is compared with."""
  seed: int = 0
  """Of the initial weights, the order of the images and their augmentation."""
  batch_size: int = 256
  """Images per step."""
  evaluate_every: int = 5
  """Epochs between evaluations, each of which is also a checkpoint."""
  checkpoint_every: int | None = None
  """Steps between checkpoints within an epoch, where it is trained step by step."""
  reestimate: bool = False
  """Estimate BatchNorm's statistics anew after pruning; report both accuracies."""
  structure: Structure = SINGLE
  """What is kept together."""


NO_BASE = Phase(0, SGD(), Cosine(0.1))
"""In the place of a base model's training, where GSM begins with the first step."""


def describe(value: Any) -> Any:
  """JSON: a dataclass becomes an object, with its class where there are several."""
  if is_dataclass(value) and not isinstance(value, type):
    kind = {} if isinstance(value, PLAIN) else {"kind": type(value).__name__}
    parts = {part.name: getattr(value, part.name) for part in fields(value)}
    if parts.get("structure") == SINGLE:
      del parts["structure"]  # which recipes did not have at first
    return kind | {name: describe(part) for name, part in parts.items()}
  if isinstance(value, dict):
    return {str(name): describe(part) for name, part in value.items()}
  if isinstance(value, list | tuple):
    return [describe(part) for part in value]
  return value


PLAIN = (Recipe, Phase, Data, Network)
"""Where a field can have no other class."""


def flatten(description: Any, prefix: str = "") -> dict[str, Any]:
  """The numbers of a description by their dotted names, ``gsm.schedule.peak``."""
  if isinstance(description, dict) and description:
    items = description.items()
  elif isinstance(description, list) and any(
    isinstance(part, dict) for part in description
  ):
    items = enumerate(description)
  else:
    return {prefix: description}
  return {
    name: value
    for key, part in items
    for name, value in flatten(part, f"{prefix}.{key}" if prefix else str(key)).items()
  }


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
  """Each field that is no dataclass: its owner's path, its name and its value."""
  for part in fields(value):
    inner = getattr(value, part.name)
    own = f"{path}.{part.name}" if path else part.name
    if is_dataclass(inner):
      yield from numbers(inner, own)
    elif isinstance(inner, tuple) and any(map(is_dataclass, inner)):
      for i, each in enumerate(inner):
        yield from numbers(each, f"{own}.{i}")
    elif isinstance(inner, dict):
      for name, each in inner.items():
        yield own, name, each
    else:
      yield path, part.name, inner


def changed(recipe: Any, numbers: Mapping[str, Any]) -> Any:
  """A copy with other values by their dotted names, such as ``gsm.schedule.peak``.

  Raises:
    ValueError: if there is no such name.
  """
  for name, value in numbers.items():
    first, _, rest = name.partition(".")
    is_dict = isinstance(recipe, Mapping)  # options, which may have any name
    has = dict(recipe) if is_dict else getattr(recipe, "__dict__", {})
    if first not in has and (rest or not is_dict):
      near = ", ".join(has) or "nothing"
      raise ValueError(f"There is no number {name}: {first} is none of {near}.")
    if rest:
      value = changed(has[first], {rest: value})
    recipe = {**has, first: value} if is_dict else replace(recipe, **{first: value})
  return recipe


def stretched(recipe: Recipe, epochs: int) -> Recipe:
  """The recipe with another number of epochs of GSM.

  What is counted in epochs is stretched with them, but for the warm-up. The passive
  decay is divided, so that passive weights shrink to the same size as before.
  """
  ratio = epochs / recipe.gsm.epochs
  optimizer: Any = recipe.gsm.optimizer
  numbers: dict[str, Any] = {"gsm.epochs": epochs}
  for name in ("density_epochs", "dense_epochs"):
    if getattr(optimizer, name, 0):
      numbers[f"gsm.optimizer.{name}"] = ratio * getattr(optimizer, name)
  if getattr(optimizer, "passive_weight_decay", None):
    decay = optimizer.passive_weight_decay / ratio
    numbers["gsm.optimizer.passive_weight_decay"] = decay
  return changed(recipe, numbers)
