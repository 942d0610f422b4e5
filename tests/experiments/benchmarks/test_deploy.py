"""Networks are kept, weighed and timed as what they are."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsm_optax
from experiments.benchmarks import deploy


@pytest.fixture
def network(tmp_path, monkeypatch):
  """The committed digits network, as if it were the only one."""
  for suffix in (".npz", ".json"):
    content = (deploy.NETWORKS / f"digits{suffix}").read_bytes()
    (tmp_path / f"digits{suffix}").write_bytes(content)
  monkeypatch.setattr(deploy, "NETWORKS", tmp_path)
  return deploy.load("digits")


def test_a_committed_network_is_pruned_as_it_says(network):
  params = network.weights["params"]
  ratio = gsm_optax.sparsity_report(params).compression_ratio
  assert ratio == pytest.approx(network.about["compression_ratio"])


def test_every_way_computes_the_same(network, monkeypatch):
  # What ONNX Runtime would be given is computed by JAX.
  called = []

  def fake(function, images):
    called.append(images.shape)
    return lambda: function(jnp.asarray(images))

  monkeypatch.setattr(deploy, "_onnx", fake)
  images = jnp.asarray(network.images(1))
  small = gsm_optax.shrink(network.apply_fn, network.weights, images)
  ways = deploy.runs(network, small, 7)
  assert called == [(7, 8, 8, 1)] * 2
  assert list(ways) == [
    *("JAX", "JAX, shrunk", "ONNX Runtime", "ONNX Runtime, shrunk"),
    *("NumPy", "SciPy, CSR"),
  ]
  with pytest.raises(AssertionError, match="other"):
    deploy.check({"JAX": ways["JAX"], "other": lambda: ways["JAX"]() + 1})


def test_bytes(network):
  params = network.weights
  found = deploy.bytes_on_disk(params, {"kernel": np.ones(1, np.float32)})
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
  assert size < found["safetensors"] < size + 1000
  assert found["shrunk, gsm_optax.save"] < 2000
  smaller = [found["safetensors, with bit masks"], found["gsm_optax.save"]]
  assert max(smaller) < size / 10


def test_a_run_is_added(network, tmp_path, monkeypatch):
  results = {"preset": "digits", "model": "lenet300", "dataset": "digits", "seed": 3}
  results |= {"compression_ratio": 20.0, "pruned_accuracy": 97.0}
  results["config"] = {"model": {"name": "lenet300", "options": {}}}
  results |= {"device": {}, "versions": {}, "git_commit": "0"}
  run = SimpleNamespace(results=results, weights=lambda _: network.weights["params"])
  monkeypatch.setattr(deploy, "finished", lambda *_: run)
  deploy.main(["--add", str(tmp_path), "again"])
  again = deploy.load("again")
  assert (again.about["seed"], again.about["pruned_accuracy"]) == (3, 97.0)
  np.testing.assert_array_equal(
    again.apply_fn(again.weights, again.images(2)),
    network.apply_fn(network.weights, network.images(2)),
  )
  assert json.loads((tmp_path / "again.json").read_text())["image_shape"] == [8, 8, 1]


def test_a_run_that_is_none(tmp_path):
  with pytest.raises(SystemExit, match="holds no finished run"):
    deploy.main(["--add", str(tmp_path), "none"])
