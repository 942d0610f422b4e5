"""Recipes are found by their names, and described so that no two are confused."""

import copy
import json
import sys
import types
from dataclasses import replace

import pytest

from experiments import configs
from experiments.configs import recipes
from experiments.configs.check import ConfigError, check
from experiments.configs.recipe import (
  Data,
  Network,
  Phase,
  Recipe,
  changed,
  describe,
  flatten,
  numbers,
  stretched,
)
from experiments.train.augmentation import Crop, Flip
from experiments.train.optimizers import SGD
from experiments.train.pruners import GSM, FixedGSM, Sparsify
from experiments.train.schedules import Cosine, Drops

RECIPE = Recipe(
  data=Data("cifar10", options={"size": 16}),
  model=Network("resnet_cifar", {"depth": 20}),
  density=0.25,
  base=Phase(3, SGD(), Drops(0.5, (0.25, 0.75))),
  gsm=Phase(4, GSM(start_density=0.5), Cosine(0.125), (Crop(2), Flip())),
)

each_recipe = pytest.mark.parametrize("name", recipes())


@each_recipe
def test_every_recipe_can_be_run(name):
  check(recipes()[name])


def test_the_recipes_are_those_of_the_modules():
  assert {
    *("digits", "lenet300-mnist", "lenet5-mnist", "lenet300-fast", "lenet5-fast"),
    *("lenet300-far", "lenet5-far", "resnet56-cifar10", "resnet56-quick"),
    "resnet20-small",
  } <= recipes().keys()
  assert not any(isinstance(value, Phase) for value in recipes().values())


def with_a_module(name, variables, tmp_path, monkeypatch):
  (tmp_path / f"{name}.py").touch()
  monkeypatch.setattr(configs, "__path__", [*configs.__path__, str(tmp_path)])
  module = types.SimpleNamespace(**variables)
  monkeypatch.setitem(sys.modules, f"experiments.configs.{name}", module)
  return configs.recipes.__wrapped__()


def test_a_module_that_is_put_into_the_package_has_recipes(tmp_path, monkeypatch):
  found = with_a_module(
    "more", {"MY_OWN": RECIPE, "other": RECIPE}, tmp_path, monkeypatch
  )
  assert found["my-own"] is RECIPE
  assert found.keys() - {"my-own"} == recipes().keys()


def test_two_recipes_of_one_name_are_refused(tmp_path, monkeypatch):
  with pytest.raises(ConfigError, match="Two recipes are called digits"):
    with_a_module("more", {"DIGITS": RECIPE}, tmp_path, monkeypatch)


def test_mnist_recipes_are_the_papers_settings():
  for name, compression in [("lenet300-mnist", 60), ("lenet5-mnist", 125)]:
    recipe = recipes()[name]
    assert recipe.density == 1 / compression
    assert recipe.batch_size == 256
    assert recipe.gsm.epochs == 240
    assert recipe.gsm.optimizer == GSM(momentum=0.99, weight_decay=5e-4)
    assert recipe.gsm.schedule == Drops(0.03, (160 / 240, 200 / 240), warmup_epochs=5)


def test_the_cifar10_recipe_is_the_papers_settings():
  recipe = recipes()["resnet56-cifar10"]
  assert (recipe.density, recipe.batch_size, recipe.gsm.epochs) == (0.1, 64, 600)
  assert recipe.gsm.optimizer == GSM(momentum=0.98, weight_decay=1e-4)
  assert recipe.gsm.schedule == Drops(5e-3, (2 / 3, 5 / 6))


def test_a_description_is_json_with_the_class_of_what_has_several():
  description = describe(RECIPE)
  assert json.loads(json.dumps(description)) == description
  assert description["gsm"] == {
    "epochs": 4,
    "optimizer": {
      "kind": "GSM",
      "momentum": 0.99,
      "weight_decay": 5e-4,
      "nesterov": True,
      "passive_weight_decay": None,
      "start_density": 0.5,
      "density_epochs": 0,
      "active_share": 1.0,
      "smoothing": None,
      "prune_from": None,
    },
    "schedule": {"kind": "Cosine", "peak": 0.125, "warmup_epochs": 0},
    "augmentation": [{"kind": "Crop", "padding": 2}, {"kind": "Flip"}],
  }
  assert description["base"]["schedule"]["after"] == [0.25, 0.75]
  assert description["data"] == {
    "name": "cifar10",
    "held_out": 0,
    "options": {"size": 16},
  }


def other(value):
  """A value of the same kind, but another one."""
  if isinstance(value, bool):
    return not value
  if isinstance(value, str):
    return value + "x"
  if isinstance(value, list):
    return [*value, 1]
  return 1 if value is None else value + 1


def test_flattened_descriptions_differ_in_the_one_leaf_that_differs():
  description = describe(RECIPE)
  flat = flatten(description)
  assert len(flat) > 25
  for path in flat:
    changed_description = copy.deepcopy(description)
    owner, (*owners, last) = changed_description, path.split(".")
    for name in owners:
      owner = owner[int(name) if isinstance(owner, list) else name]
    owner[last] = other(owner[last])
    now = flatten(changed_description)
    assert {name for name in flat.keys() | now.keys() if flat[name] != now[name]} == {
      path
    }


def test_each_number_of_a_recipe_is_in_its_description():
  description = flatten(describe(RECIPE))
  for owner, name, value in numbers(RECIPE):
    path = f"{owner}.{name}" if owner else name
    if isinstance(value, tuple):
      value = list(value)
    assert description[path] == value
  assert ("data.options", "size", 16) in list(numbers(RECIPE))
  assert ("gsm.augmentation.0", "padding", 2) in list(numbers(RECIPE))
  # All others are classes, and what has no numbers.
  kinds = {name for name in description if name.endswith("kind")}
  named = {f"{owner}.{name}" if owner else name for owner, name, _ in numbers(RECIPE)}
  assert description.keys() - named == kinds


@pytest.mark.parametrize(
  ("one", "two"),
  [
    (RECIPE, replace(RECIPE, gsm=replace(RECIPE.gsm, optimizer=SGD()))),
    (RECIPE, replace(RECIPE, gsm=replace(RECIPE.gsm, augmentation=(Flip(), Crop(2))))),
    (GSM(), FixedGSM(1)),
    (Drops(0.5, ()), Cosine(0.5)),
    (Network("lenet5"), Network("lenet5", {"dtype": "bfloat16"})),
  ],
)
def test_descriptions_differ_where_classes_and_orders_do(one, two):
  assert describe(one) != describe(two)
  assert flatten(describe(one)) != flatten(describe(two))


def test_a_copy_differs_in_the_named_numbers_alone():
  result = changed(
    RECIPE, {"gsm.schedule.peak": 1.0, "seed": 7, "gsm.optimizer": FixedGSM(2)}
  )
  assert result.gsm == Phase(4, FixedGSM(2), Cosine(1.0), (Crop(2), Flip()))
  assert result.seed == 7
  assert replace(result, gsm=RECIPE.gsm, seed=0) == RECIPE
  assert RECIPE.gsm.schedule.peak == 0.125


def test_what_is_counted_in_epochs_is_stretched_with_them():
  optimizer = Sparsify(SGD(), 0.5, density_epochs=2, dense_epochs=1)
  recipe = replace(RECIPE, gsm=Phase(4, optimizer, Cosine(0.1, 1)))
  stretched_optimizer = replace(
    optimizer, passive_weight_decay=0.25, density_epochs=4, dense_epochs=2
  )
  expected = Phase(8, stretched_optimizer, Cosine(0.1, 1))
  assert stretched(recipe, 8).gsm == expected


def test_a_number_that_a_recipe_has_not_cannot_be_changed():
  for name in (
    *("gsm.schedule.drops", "momentum", "gsm.optimiser.momentum", "seed.next"),
    "model.options.depth.of",
  ):
    with pytest.raises(ValueError, match=f"There is no number .*{name.split('.')[-1]}"):
      changed(RECIPE, {name: 1})


def test_options_are_changed_by_their_names_too():
  recipe = replace(RECIPE, model=Network("resnet_cifar", {"depth": 56, "width": 16}))
  result = changed(recipe, {"model.options.depth": 20, "data.options.size": 8})
  assert result.model.options == {"depth": 20, "width": 16}
  assert result.data.options == {**RECIPE.data.options, "size": 8}
  assert recipe.model.options["depth"] == 56
