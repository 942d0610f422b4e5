"""`sparsity_report`: what is left of each layer."""

import json
from dataclasses import FrozenInstanceError
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from gsm_optax import LayerSparsity, apply_mask, magnitude_mask, sparsity_report

PARAMS = {
  "conv": {"kernel": jnp.zeros((3, 3, 1, 4)).at[0].set(2.0), "bias": jnp.ones(4)},
  "head": {"kernel": jnp.eye(10)[:, :4], "bias": jnp.zeros(4)},
}


def test_it_counts_what_is_not_zero_layer_by_layer():
  report = sparsity_report(PARAMS)
  assert report.layers == (
    LayerSparsity("conv/kernel", (3, 3, 1, 4), 36, 12),
    LayerSparsity("head/kernel", (10, 4), 40, 4),
  )
  assert [layer.density for layer in report.layers] == [12 / 36, 4 / 40]
  assert (report.size, report.kept) == (76, 16)
  assert report.density == 16 / 76
  assert report.compression_ratio == 76 / 16


def test_it_finds_the_density_that_was_pruned_to():
  params = {"a": jnp.asarray(np.random.default_rng(0).normal(size=(30, 40)))}
  mask = magnitude_mask(params, 0.29)
  assert sparsity_report(apply_mask(params, mask)).kept == 348


def test_the_table_is_aligned():
  assert str(sparsity_report(PARAMS)).splitlines() == [
    "layer        shape          size  kept  density",
    "-----------------------------------------------",
    "conv/kernel  3 × 3 × 1 × 4    36    12   33.33%",
    "head/kernel  10 × 4           40     4   10.00%",
    "-----------------------------------------------",
    "total        4.8× smaller     76    16   21.05%",
  ]


def test_the_table_stays_aligned_for_long_numbers_and_names():
  params = {"a_rather_long_name": jnp.ones((1000, 1200)), "b": jnp.ones((1, 1))}
  lines = str(sparsity_report(params)).splitlines()
  assert len({len(line) for line in lines}) == 1
  assert "1,200,000  1,200,000  100.00%" in lines[2]


def test_to_dict_is_plain_data():
  data = sparsity_report(PARAMS).to_dict()
  assert json.loads(json.dumps(data)) == data
  assert data == {
    "layers": [
      {
        "path": "conv/kernel",
        "shape": [3, 3, 1, 4],
        "size": 36,
        "kept": 12,
        "density": 12 / 36,
      },
      {"path": "head/kernel", "shape": [10, 4], "size": 40, "kept": 4, "density": 0.1},
    ],
    "size": 76,
    "kept": 16,
    "density": 16 / 76,
    "compression_ratio": 4.75,
    "empty_layers": [],
  }


def test_a_report_does_not_change():
  report = sparsity_report(PARAMS)
  with pytest.raises(FrozenInstanceError):
    report.layers[0].kept = 0


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_subnormal_weight_is_not_zero(dtype):
  least = jnp.finfo(dtype).smallest_subnormal
  weights = np.array([[least, -least, 0.0], [-0.0, np.nan, np.inf]]).astype(dtype)
  assert sparsity_report(weights).kept == 4


def test_a_model_of_which_nothing_is_left():
  report = sparsity_report(jnp.zeros((2, 3)))
  assert (report.kept, report.density, report.compression_ratio) == (0, 0, float("inf"))
  assert "inf× smaller" in str(report)


def test_layers_with_nothing_left_are_named_and_marked():
  params = {"a": jnp.zeros((2, 3)), "b": jnp.ones((1, 2)), "none": jnp.zeros((0, 3))}
  report = sparsity_report(params, prunable=True)
  assert report.empty_layers == ("a",)
  assert report.to_dict()["empty_layers"] == ["a"]
  _, _, a, b, none, _, _, note = str(report).splitlines()
  assert a.endswith("0.00%  <- nothing left")
  assert b.endswith("100.00%")
  assert none.endswith("0.00%")  # there was nothing to lose
  assert note == "Nothing is left of 1 of 3 layers."


def test_an_empty_layer_has_no_density():
  leaves = [jnp.ones((0, 3)), jnp.ones((1, 1))]
  empty, _ = sparsity_report(leaves, prunable=True).layers
  assert (empty.size, empty.kept, empty.density) == (0, 0, 0)


def test_prunable_names_the_layers_of_the_report():
  report = sparsity_report(
    PARAMS,
    prunable={"conv": {"kernel": False, "bias": True}, "head": False},
  )
  assert report.layers == (LayerSparsity("conv/bias", (4,), 4, 4),)


class Module(NamedTuple):
  kernel: Any
  blocks: Any


def test_a_path_names_keys_attributes_and_places():
  params = {"net": Module(jnp.ones((2, 2)), [None, (jnp.ones((2, 2)),)])}
  paths = [layer.path for layer in sparsity_report(params).layers]
  assert paths == ["net/kernel", "net/blocks/1/0"]
