"""`python -m gsm_optax report`: the report of a checkpoint, from the command line."""

import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from report_output import error, output

import gsm_optax
from experiments.run.weights import save_weights

PARAMS = {
  "conv": {"kernel": jnp.zeros((3, 3, 1, 4)).at[0].set(2.0), "bias": jnp.ones(4)},
  "head": {"kernel": jnp.arange(40.0).reshape(10, 4), "bias": jnp.zeros(4)},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  folder = tmp_path_factory.mktemp("checkpoints") / "params"
  save_weights(folder, PARAMS)
  return folder


def test_it_prints_the_report_of_the_saved_params(capsys, checkpoint):
  assert output(capsys, checkpoint) == str(gsm_optax.sparsity_report(PARAMS))


def test_it_runs_as_a_command_and_prints_nothing_else(checkpoint):
  command = [sys.executable, "-m", "gsm_optax", "report", str(checkpoint)]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stdout == f"{gsm_optax.sparsity_report(PARAMS)}\n"
  assert not done.stderr


def test_json_is_the_report_as_data(capsys, checkpoint):
  data = json.loads(output(capsys, checkpoint, "--json"))
  assert data == gsm_optax.sparsity_report(PARAMS).to_dict()


def test_density_reports_on_what_pruning_would_leave(capsys, checkpoint):
  mask = gsm_optax.magnitude_mask(PARAMS, 0.25)
  pruned = gsm_optax.apply_mask(PARAMS, mask)
  printed = output(capsys, checkpoint, "--density", 0.25)
  assert printed == str(gsm_optax.sparsity_report(pruned))
  data = json.loads(output(capsys, checkpoint, "--density", 0.25, "--json"))
  assert data["kept"] == (36 + 40) // 4


def test_key_names_a_subtree(capsys, checkpoint):
  data = json.loads(output(capsys, checkpoint, "--key", "head", "--json"))
  assert [layer["path"] for layer in data["layers"]] == ["kernel"]
  data = json.loads(output(capsys, checkpoint, "--key", "head/kernel", "--json"))
  assert [layer["path"] for layer in data["layers"]] == ["head/kernel"]


def test_of_a_train_state_only_the_params_count(capsys, tmp_path):
  tx = optax.adam(1e-3)
  state = {"params": PARAMS, "opt_state": tx.init(PARAMS), "step": 7, "none": None}
  with ocp.PyTreeCheckpointer() as checkpointer:
    checkpointer.save((tmp_path / "state").absolute(), state)
  printed = output(capsys, tmp_path / "state")
  assert printed == str(gsm_optax.sparsity_report(PARAMS))
  data = json.loads(
    output(capsys, tmp_path / "state", "--key", "opt_state/0/mu", "--json")
  )
  assert [layer["path"] for layer in data["layers"]] == ["conv/kernel", "head/kernel"]
  assert data["kept"] == 0


@pytest.mark.parametrize("item", [None, "params", "arrays"])
def test_a_checkpoint_manager_s_folders(capsys, tmp_path, item):
  # The last step of a manager, one of its steps, and an item in a step.
  with ocp.CheckpointManager(tmp_path.absolute()) as manager:
    for step in (9, 10):
      arrays = jax.tree.map(lambda leaf, step=step: leaf * (step == 10), PARAMS)
      save = ocp.args.StandardSave(arrays)
      named = {} if item is None else {item: save, "notes": ocp.args.JsonSave({"a": 1})}
      manager.save(step, args=ocp.args.Composite(**named) if named else save)
    manager.wait_until_finished()
  expected = str(gsm_optax.sparsity_report(PARAMS))
  assert output(capsys, tmp_path) == expected
  assert output(capsys, tmp_path / "10") == expected
  assert output(capsys, tmp_path / "10" / (item or "default")) == expected
  assert output(capsys, tmp_path / "9") != expected


def test_a_checkpoint_of_other_devices_is_read_on_the_host(tmp_path):
  program = f"""
import jax, numpy as np, orbax.checkpoint as ocp
sharding = jax.sharding.NamedSharding(
  jax.make_mesh((4,), ("data",)), jax.sharding.PartitionSpec("data")
)
kernel = jax.device_put(np.arange(32, dtype=np.float32).reshape(8, 4), sharding)
with ocp.StandardCheckpointer() as checkpointer:
  checkpointer.save({str(tmp_path / "sharded")!r}, {{"kernel": kernel}})
"""
  four_devices = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
  subprocess.run([sys.executable, "-c", program], env=four_devices, check=True)
  command = [sys.executable, "-m", "gsm_optax.report", str(tmp_path / "sharded")]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert "32    31   96.88%" in done.stdout.splitlines()[-1]
  assert not done.stderr


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_safetensors_file(capsys, tmp_path, dtype):
  flax = pytest.importorskip("safetensors.flax")
  params = {
    "model.layers.0.weight": jnp.eye(8, 4, dtype=dtype),
    "model.layers.0.bias": jnp.ones(4, dtype),
    "ids": jnp.ones((2, 2), jnp.int32),
  }
  flax.save_file(params, tmp_path / "model.safetensors")
  data = json.loads(output(capsys, tmp_path / "model.safetensors", "--json"))
  (layer,) = data["layers"]
  assert layer["path"] == "model.layers.0.weight"
  assert (layer["shape"], layer["kept"]) == ([8, 4], 4)
  file = tmp_path / "model.safetensors"
  for key in ("model/layers", "model.layers"):
    data = json.loads(output(capsys, file, "--key", key, "--json", "--density", "0.05"))
    assert data["layers"][0]["path"] == "0.weight"
    assert data["kept"] == 1


def test_float64_stays_float64(tmp_path):
  numpy = pytest.importorskip("safetensors.numpy")
  file = tmp_path / "model.safetensors"
  numpy.save_file({"kernel": np.array([[1e-300, 0.0], [1.0, 1.0]])}, file)
  command = [sys.executable, "-m", "gsm_optax.report", str(file), "--json"]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert json.loads(done.stdout)["kept"] == 3
  assert not done.stderr


def test_a_path_that_does_not_exist(capsys, tmp_path):
  assert error(capsys, tmp_path / "no") == f"{tmp_path / 'no'} does not exist."


def test_what_is_neither(capsys, tmp_path):
  pytest.importorskip("safetensors")
  (tmp_path / "notes.txt").write_text("just a text, and no checkpoint")
  for path in (tmp_path, tmp_path / "notes.txt"):
    sentence = error(capsys, path)
    assert sentence.startswith(f"{path} is neither an Orbax checkpoint")


def test_a_damaged_checkpoint(capsys, checkpoint, tmp_path):
  damaged = tmp_path / "damaged"
  shutil.copytree(checkpoint, damaged)
  (damaged / "_METADATA").write_text("{")
  assert error(capsys, damaged).startswith(f"Orbax cannot read {damaged}")


def test_several_checkpoints_in_one_folder(capsys, checkpoint, tmp_path):
  for name in ("first", "second"):
    shutil.copytree(checkpoint, tmp_path / name)
  sentence = error(capsys, tmp_path)
  assert sentence == f"{tmp_path} holds first, second: give the path of one of them."


def test_a_key_that_is_not_there(capsys, checkpoint):
  sentence = error(capsys, checkpoint, "--key", "body")
  assert sentence == f"{checkpoint} has nothing at 'body': its root holds conv, head."


def test_a_subtree_without_weights(capsys, checkpoint):
  sentence = error(capsys, checkpoint, "--key", "head/bias")
  assert "no floating-point array" in sentence
  assert "at 'head/bias'" in sentence


def test_a_density_out_of_range(capsys, checkpoint):
  assert "must be in (0, 1]" in error(capsys, checkpoint, "--density", "20")


def test_what_must_be_installed(capsys, checkpoint, tmp_path, monkeypatch):
  (tmp_path / "model.safetensors").touch()
  monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
  monkeypatch.setitem(sys.modules, "safetensors", None)
  for path, package in (
    (checkpoint, "orbax-checkpoint"),
    (tmp_path / "model.safetensors", "safetensors"),
  ):
    sentence = error(capsys, path)
    assert f"needs {package}: pip install 'gsm-optax[report]'" in sentence


def test_params_are_found_inside_and_asked_for_where_there_are_several(
  capsys, tmp_path
):
  nested = {"model": {"params": PARAMS}, "optimizer": {"trace": PARAMS}}
  save_weights(tmp_path / "one", nested)
  expected = str(gsm_optax.sparsity_report(PARAMS))
  assert output(capsys, tmp_path / "one") == expected
  save_weights(tmp_path / "two", {"a": {"params": PARAMS}, "b": {"params": PARAMS}})
  assert "name one of ['a/params', 'b/params']" in error(capsys, tmp_path / "two")
  assert output(capsys, tmp_path / "two", "--key", "b/params") == expected
