"""Magnitude pruning is what GSM is compared with."""

import json

import jax
import jax.numpy as jnp
import pytest

from experiments.jobs.magnitude import main, masks
from experiments.jobs.prune import main as prune_main
from experiments.run.weights import load_weights

SHORT = ["--base.epochs", "3", "--gsm.epochs", "4", "--density", "0.1"]


def test_uniform_keeps_the_same_share_of_every_layer():
  params = {
    "a": jax.random.normal(jax.random.key(0), (10, 10)),
    "b": 9 * jnp.ones((20, 5)),
    "bias": jnp.zeros(7),
  }
  both = masks(params, 0.5)
  assert [int(both["uniform"][name].sum()) for name in params] == [50, 50, 7]
  assert [int(both["global"][name].sum()) for name in params] == [0, 100, 7]


def test_a_base_model_is_pruned_and_retrained_in_both_ways(tmp_path, capsys):
  prune_main([*SHORT, "--quiet", "--out", str(tmp_path / "base")])
  out = tmp_path / "magnitude"
  main([*SHORT, "--quiet", "--base", str(tmp_path / "base"), "--out", str(out)])
  results = json.loads((out / "results.json").read_text())
  finished = json.loads((tmp_path / "base" / "results.json").read_text())
  assert results["base_accuracy"] == finished["base_accuracy"]
  params = load_weights(tmp_path / "base" / "base")["params"]
  for name, mask in masks(params, 0.1).items():
    way = results[name]
    assert way["num_kept"] <= 5020
    assert way["retrained_accuracy"] > way["one_shot_accuracy"]
    lines = (out / name / "metrics.jsonl").read_text().splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert first["accuracy"] == way["one_shot_accuracy"]
    assert last["accuracy"] == way["retrained_accuracy"]
    assert last["epoch"] == 4
    retrained = load_weights(out / name / "params")
    kernel, kept = retrained["dense1"]["kernel"], mask["dense1"]["kernel"]
    assert not kernel[~kept].any()
    assert (kernel[kept] != params["dense1"]["kernel"][kept]).mean() > 0.1
  output = capsys.readouterr().out
  assert "magnitude 10.0× global" in output
  assert "magnitude 10.0× uniform" in output


def test_a_base_model_is_pruned_gradually(tmp_path, capsys):
  out = tmp_path / "gradual"
  main([*SHORT, "--gradual", "--fall", "0.5", "--quiet", "--out", str(out)])
  way = json.loads((out / "results.json").read_text())["gradual"]
  assert way["num_kept"] == int(0.1 * 50200)
  assert way["retrained_accuracy"] > 50
  retrained = load_weights(out / "gradual" / "params")
  kept = sum(int((layer["kernel"] != 0).sum()) for layer in retrained.values())
  assert kept == way["num_kept"]
  assert "magnitude 10.0× gradual: retrained" in capsys.readouterr().out
  with pytest.raises(SystemExit, match="fall"):
    main([*SHORT, "--gradual", "--fall", "0.7", "--resume", "--out", str(out)])


@pytest.mark.parametrize("fall", ["0", "1.5", "nan"])
def test_the_density_falls_within_the_epochs(tmp_path, fall):
  with pytest.raises(SystemExit, match="--fall must be above 0 and at most 1"):
    main([*SHORT, "--gradual", "--fall", fall, "--out", str(tmp_path / "gradual")])


def test_a_base_of_another_recipe_is_refused(tmp_path):
  with pytest.raises(SystemExit, match="holds no finished run"):
    main([*SHORT, "--base", str(tmp_path), "--out", str(tmp_path / "m")])
