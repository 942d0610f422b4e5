"""Data sets are found by their names."""

import sys
import types

import pytest

from experiments import datasets
from experiments.datasets.dataset import DataError
from experiments.datasets.digits import digits


def test_a_data_set_is_found_by_its_name():
  data = datasets.load("digits", held_out=47)
  assert (data.train_size, data.test_size) == (digits().train_size - 47, 47)


@pytest.mark.parametrize(
  "name",
  [
    "imagine",
    "resident",
    "dataset",
    "_files",
    "Digits",
    "../digits",
    "os.path",
    "",
    "a.b",
  ],
)
def test_an_unknown_data_set_is_refused_with_those_that_there_are(name):
  with pytest.raises(DataError) as error:
    datasets.load(name)
  beginning, _, offer = str(error.value).partition(": there are ")
  assert beginning == f"There is no data set {name!r}"
  assert offer == f"{', '.join(datasets.names())}."
  assert {"cifar10", "digits", "mnist"} <= set(datasets.names())
  assert not {"dataset", "resident", "_files"} & set(datasets.names())


def test_unknown_options_are_refused_with_those_that_the_data_set_has(tmp_path):
  with pytest.raises(DataError, match=r"^cifar10 has no option side: it has size\.$"):
    datasets.load("cifar10", tmp_path, side=16)
  with pytest.raises(DataError, match=r"^mnist has no option files, size: it has none"):
    datasets.load("mnist", tmp_path, files=(), size=32)


def test_options_reach_the_data_set(tmp_path):
  with pytest.raises(DataError, match="not 5"):
    datasets.load("cifar10", tmp_path, size=5)


def test_the_folder_reaches_the_data_set(tmp_path):
  with pytest.raises(DataError, match=r"CIFAR-10 is not complete in .*data_batch_1"):
    datasets.load("cifar10", tmp_path)


def test_a_module_that_is_put_into_the_package_is_a_data_set(tmp_path, monkeypatch):
  name = "a_data_set_of_the_test"
  (tmp_path / f"{name}.py").write_text("def load(data_dir, held_out=0, side=1): ...")
  (tmp_path / "a_module_without_its_packages.py").write_text("import no_such_package")
  monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path)])

  def load(data_dir, held_out, side=1):
    return data_dir, held_out, side

  module = types.SimpleNamespace(load=load)
  monkeypatch.setitem(sys.modules, f"experiments.datasets.{name}", module)
  assert datasets.load(name, tmp_path, 3, side=5) == (tmp_path, 3, 5)
  assert name in datasets.names()
  assert "a_module_without_its_packages" not in datasets.names()
