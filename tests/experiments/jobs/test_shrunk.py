"""The main job's last step makes the pruned network smaller."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import models
from experiments.jobs import prune, shrunk
from experiments.jobs.shrunk import shrunk_sentence, shrunk_table


def pruned_lenet(name, image_shape):
  """A LeNet of which only each third column of each matrix is not zero."""
  model = models.load(name, image_shape, 10, {})
  params, stats = model.init(jax.random.key(0))

  def prune_columns(leaf):
    last = jnp.arange(leaf.shape[-1]) % 3 == 0
    return jnp.where(last | (leaf.shape[-1] == 10), leaf, 0) if leaf.ndim > 1 else leaf

  return model, jax.tree.map(prune_columns, params), stats


@pytest.mark.parametrize(
  ("name", "image_shape", "widths"),
  [("lenet300", (4, 4, 1), (100, 34, 10)), ("lenet5", (16, 16, 1), (7, 17, 167, 10))],
)
def test_units_with_nothing_coming_in_are_gone(name, image_shape, widths, monkeypatch):
  monkeypatch.setattr(shrunk, "BATCHES", (1, 2))
  model, params, stats = pruned_lenet(name, image_shape)
  found = shrunk.shrunk(model, image_shape, params, stats, round_to=8)
  assert tuple(layer["after"][-1] for layer in found["layers"]) == widths
  assert found["weights"][1] < found["weights"][0]
  assert found["multiply_adds"][1] < found["multiply_adds"][0]
  assert list(found["seconds"]) == ["1", "2"]
  assert found["rounded"]["round_to"] == 8
  assert list(found["rounded"]["seconds"]) == ["1", "2"]
  for name in ("weights", "multiply_adds"):
    assert found[name][1] < found["rounded"][name] < found[name][0]
  json.dumps(found)


def test_large_batches_of_large_networks_are_not_timed(monkeypatch):
  model, params, stats = pruned_lenet("lenet300", (4, 4, 1))
  monkeypatch.setattr(shrunk, "MOST", 1e6)
  found = shrunk.shrunk(model, (4, 4, 1), params, stats)
  assert list(found["seconds"]) == ["1"]
  assert "rounded" not in found


def test_it_is_told_in_a_line_and_in_a_table():
  found = {
    "layers": [{"path": "a", "before": [4, 8], "after": [4, 2]}],
    "units": [20, 10],
    "weights": [1000, 500],
    "multiply_adds": [2000, 500],
    "seconds": {"1": [2e-5, 1e-5], "32": [3e-5, 1e-5]},
  }
  line = "shrunk to 500 of 1,000 numbers; speed: 2.0× at batch 1, 3.0× at batch 32"
  assert shrunk_sentence(found) == line
  assert shrunk_table(found).row_count == 6
  times = {"1": 2e-5, "32": 1e-5}
  found["rounded"] = {
    "round_to": 8,
    "weights": 800,
    "multiply_adds": 900,
    "seconds": times,
  }
  assert shrunk_table(found).row_count == 6 + 5


def test_a_network_that_cannot_be_shrunk_is_a_warning(monkeypatch, tmp_path, capsys):
  def fail(*_):
    raise RuntimeError("no way")

  monkeypatch.setattr(prune, "shrunk", fail)
  short = ["--base.epochs", "1", "--gsm.epochs", "1", "--evaluate-every", "1"]
  prune.main([*short, "--out", str(tmp_path / "run")])
  assert "cannot be shrunk: no way" in capsys.readouterr().out
  assert json.loads((tmp_path / "run" / "results.json").read_text())["shrunk"] is None


def test_outside_of_a_loop_the_network_is_the_same():
  model = models.load("lenet5", (16, 16, 1), 10, {})
  params, stats = model.init(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (3, 16, 16, 1))
  logits, _ = model.apply(params, stats, images, False)
  np.testing.assert_allclose(model.infer(params, stats, images), logits, atol=1e-5)
