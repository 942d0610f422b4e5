"""Numbers that no run can have are refused, in a sentence that names their flag."""

import math
import re

import pytest

from experiments.configs import recipes
from experiments.configs.check import RANGES, ConfigError, check
from experiments.configs.recipe import Network, Recipe, changed, numbers
from experiments.train.augmentation import Crop, Shift
from experiments.train.optimizers import AdamW, Muon
from experiments.train.pruners import (
  GSM,
  FixedGSM,
  Gradual,
  GradualMagnitude,
  Sparsify,
  SparsifyByPower,
)

FAST = recipes()["lenet300-fast"]
MAGNITUDE = changed(FAST, {"gsm.optimizer": GradualMagnitude(30, every=10)})
ADAMW = changed(FAST, {"gsm.optimizer": Sparsify(AdamW(), 5.0, 1.0, 30)})
POWER = changed(FAST, {"gsm.optimizer": SparsifyByPower(AdamW(), 5.0)})
MUON = changed(FAST, {"gsm.optimizer": Gradual(Muon(), 30)})
TWO_OF_FOUR = recipes()["lenet300-2of4"]
FIXED = changed(FAST, {"gsm.optimizer": FixedGSM(1)})
CROPPED = changed(FAST, {"gsm.augmentation": (Shift(1), Crop(4))})
HUGE = 2**31


def refused(recipe, number, value):
  """What is said of one number of a recipe."""
  with pytest.raises(ConfigError) as error:
    check(changed(recipe, {number: value}))
  return str(error.value)


BELOW_ONE = "at least 0 and less than 1"
SHARES = "shares between 0 and 1, ascending"
CASES = [
  (FAST, "batch_size", 0, "at least 1"),
  (FAST, "evaluate_every", 0, "at least 1"),
  (TWO_OF_FOUR, "structure.n", 0, "at least 1"),
  (TWO_OF_FOUR, "structure.m", 0, "at least 1"),
  (FAST, "checkpoint_every", 0, "at least 1"),
  (MAGNITUDE, "gsm.optimizer.every", 0, "at least 1"),
  (FIXED, "gsm.optimizer.after_epochs", 0, "at least 1"),
  (FAST, "base.epochs", -1, "0 or more"),
  (FAST, "gsm.epochs", -1, "0 or more"),
  (FAST, "gsm.schedule.warmup_epochs", -0.5, "0 or more"),
  (FAST, "gsm.optimizer.density_epochs", -0.5, "0 or more"),
  (MAGNITUDE, "gsm.optimizer.density_epochs", -0.5, "0 or more"),
  (ADAMW, "gsm.optimizer.dense_epochs", -0.5, "0 or more"),
  (FAST, "seed", -1, "0 or more"),
  (FAST, "data.held_out", -1, "0 or more"),
  (FAST, "base.schedule.peak", -0.1, "0 or more"),
  (FAST, "gsm.schedule.peak", -0.1, "0 or more"),
  (FAST, "base.optimizer.weight_decay", -0.1, "0 or more"),
  (FAST, "gsm.optimizer.weight_decay", -0.1, "0 or more"),
  (FAST, "gsm.optimizer.momentum", 1.0, BELOW_ONE),
  (FAST, "base.optimizer.momentum", -0.1, BELOW_ONE),
  (FAST, "gsm.optimizer.smoothing", 1.0, "0 or more, below 1"),
  (FAST, "gsm.optimizer.passive_weight_decay", -0.1, "0 or more"),
  (FAST, "gsm.optimizer.prune_from", 1.5, "from 0 to 1"),
  (ADAMW, "gsm.optimizer.prune_from", -0.1, "from 0 to 1"),
  (ADAMW, "gsm.optimizer.optimizer.b1", 1.0, BELOW_ONE),
  (ADAMW, "gsm.optimizer.optimizer.b2", -0.1, BELOW_ONE),
  (MUON, "gsm.optimizer.optimizer.adam_share", -0.1, "0 or more"),
  (POWER, "gsm.optimizer.power", -0.1, "0 or more"),
  (FAST, "density", 0.0, "above 0 and at most 1"),
  (FAST, "density", 1.5, "above 0 and at most 1"),
  (FAST, "gsm.optimizer.active_share", 0.0, "above 0 and at most 1"),
  (FAST, "base.schedule.after", (0.9, 0.1), SHARES),
  (FAST, "base.schedule.after", (0.9, 1.1), SHARES),
  (FAST, "base.schedule.after", (-0.1,), SHARES),
]


@pytest.mark.parametrize(("recipe", "number", "value", "words"), CASES)
def test_numbers_outside_their_ranges_are_refused(recipe, number, value, words):
  check(recipe)
  flag = f"--{number.replace('_', '-')}"
  assert refused(recipe, number, value) == f"{flag} must be {words}, not {value}."


@pytest.mark.parametrize(
  ("number", "value", "flag"),
  [
    ("gsm.augmentation", (Shift(-1), Crop(4)), "--gsm.augmentation.0.most"),
    ("gsm.augmentation", (Shift(1), Crop(-4)), "--gsm.augmentation.1.padding"),
  ],
)
def test_augmentations_are_checked_too(number, value, flag):
  check(CROPPED)
  assert refused(CROPPED, number, value).startswith(f"{flag} must be 0 or more, not -")


def test_every_range_is_tried():
  tried = {number.split(".")[-1] for _, number, _, _ in CASES} | {"most", "padding"}
  assert tried == {name for names, _, _ in RANGES for name in names}


def test_every_number_has_a_range():
  ranges = {name for names, _, _ in RANGES for name in names}
  for recipe in (MAGNITUDE, FIXED, CROPPED, *recipes().values()):
    for owner, name, value in numbers(recipe):
      is_number = isinstance(value, int | float) and not isinstance(value, bool)
      if is_number and not owner.endswith("options"):
        # An axis may be any; whether the leaves have it, the library says.
        assert name in ranges | {"start_density", "axis"}, (owner, name)


@pytest.mark.parametrize("density", [0.001, 1.5, -1.0])
def test_the_density_falls_from_at_most_one(density):
  said = refused(FAST, "gsm.optimizer.start_density", density)
  assert said == (
    "--gsm.optimizer.start-density must be at least the density, and at most 1, not"
    f" {density}."
  )


@pytest.mark.parametrize("recipe", [FAST, MAGNITUDE])
def test_the_density_falls_within_the_epochs(recipe):
  check(changed(recipe, {"gsm.epochs": 0}))
  check(changed(recipe, {"gsm.epochs": 30}))
  assert re.fullmatch(
    r"--gsm\.optimizer\.density-epochs must be at most --gsm\.epochs, 2, not (24|30)\.",
    refused(recipe, "gsm.epochs", 2),
  )


@pytest.mark.parametrize("recipe", [ADAMW, MUON])
def test_the_density_falls_within_the_epochs_that_are_left(recipe):
  epochs = {"gsm.epochs": 40}
  check(changed(recipe, epochs | {"gsm.optimizer.dense_epochs": 10}))
  said = refused(changed(recipe, epochs), "gsm.optimizer.dense_epochs", 11)
  assert said == (
    "--gsm.optimizer.density-epochs must be at most --gsm.epochs, 40, less 11 dense"
    " ones, not 30."
  )


def test_density_epochs_are_of_no_account_where_the_density_is_constant():
  check(changed(FAST, {"gsm.epochs": 2, "gsm.optimizer": GSM(density_epochs=24)}))


def test_no_second_chances_leave_no_room_for_numbers_that_would_be_ignored():
  for number in ("passive_weight_decay", "smoothing", "start_density"):
    with pytest.raises(ValueError, match=f"no number {number}"):
      changed(FIXED, {f"gsm.optimizer.{number}": 0.5})


def replaced(recipe: Recipe, owner: str, name: str, value):
  """A copy of the recipe with one number that `numbers` names."""
  if owner.endswith("options"):
    return changed(recipe, {owner: {name: value}})
  if ".augmentation." in owner:
    augmentation = list(recipe.gsm.augmentation)
    place = int(owner.rsplit(".", 1)[1])
    augmentation[place] = changed(augmentation[place], {name: value})
    return changed(recipe, {"gsm.augmentation": tuple(augmentation)})
  return changed(recipe, {f"{owner}.{name}" if owner else name: value})


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 2**40, -(2**40)])
def test_no_number_may_be_infinite_no_number_or_beyond_32_bits(value):
  recipe = changed(CROPPED, {"model": Network("resnet_cifar", {"depth": 20})})
  for owner, name, old in numbers(recipe):
    if isinstance(old, str | bool | dict):
      continue
    new = (value,) if isinstance(old, tuple) else value
    path = f"{owner}.{name}" if owner else name
    with pytest.raises(
      ConfigError, match=f"^--{path.replace('_', '-')} must (be|fit) "
    ):
      check(replaced(recipe, owner, name, new))


def test_whole_numbers_may_fill_32_bits_and_no_more():
  check(changed(FAST, {"seed": 2**32 - 1, "batch_size": HUGE - 1}))
  for number, value in (
    ("seed", 2**32),
    ("batch_size", HUGE),
    ("data.held_out", HUGE),
    ("model.options", {"depth": HUGE}),
    ("model.options", {"depth": -HUGE - 1}),
  ):
    flag, refused_value = f"--{number.replace('_', '-')}", value
    if isinstance(value, dict):
      flag, refused_value = f"{flag}.depth", value["depth"]
    assert refused(FAST, number, value) == (
      f"{flag} must fit into 32 bits, not {refused_value}."
    )


def test_what_is_far_below_a_range_is_said_to_be_below_it():
  assert refused(FAST, "seed", -(2**40)) == (
    "--seed must be 0 or more, not -1099511627776."
  )


def test_the_warm_up_ends_within_the_epochs():
  check(changed(FAST, {"gsm.schedule.warmup_epochs": 60}))
  assert refused(FAST, "gsm.schedule.warmup_epochs", 61) == (
    "--gsm.schedule.warmup-epochs must be at most --gsm.epochs, 60, not 61."
  )
