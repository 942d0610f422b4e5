"""The smaller function without this package: exported, stored and run elsewhere."""

import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import gsm_optax

RUN = """
import sys

import jax
import jax.export
import numpy as np

function = jax.export.deserialize(bytearray(open("function.bin", "rb").read()))
given = np.load("given.npz")
params = {name[2:]: given[name] for name in given if name.startswith("p_")}
for number in range(int(sys.argv[1])):
  found = function.call(params, given[f"x{number}"])
  np.testing.assert_allclose(found, given[f"y{number}"], rtol=1e-4, atol=1e-5)
assert not any("gsm_optax" in name or "test_export" in name for name in sys.modules)
print("the same")
"""


def apply_fn(params, x):
  kernel = ("NHWC", "HWIO", "NHWC")
  h = lax.conv_general_dilated(x, params["k"], (1, 1), "SAME", dimension_numbers=kernel)
  h = jax.nn.gelu(h + params["b"])
  h = jax.nn.relu(h.reshape(*h.shape[:-3], -1) @ params["w"] + params["c"])
  return jax.nn.log_softmax(h @ params["v"])


@pytest.fixture(scope="module")
def shrunk():
  rng = np.random.default_rng(0)
  shapes = {"k": (3, 3, 2, 6), "b": (6,), "w": (96, 8), "c": (8,), "v": (8, 3)}
  params = {
    name: rng.normal(size=shape).astype("float32") / 3 for name, shape in shapes.items()
  }
  params["k"][..., [1, 4]] = 0
  params["b"][1] = 0
  params["w"][:, [2, 5]] = 0
  params["w"][::7] = 0
  params["c"][[2, 5]] = 0.3, -0.3
  small = gsm_optax.shrink(apply_fn, params, np.ones((1, 4, 4, 2), np.float32))
  assert small.params["k"].shape == (3, 3, 2, 4)
  assert small.params["v"].shape == (6, 3)
  assert small.constants > 0
  return small, params


def run_elsewhere(folder, exported, small, batches, wanted):
  pytest.importorskip("flatbuffers")  # with which JAX serialises
  (folder / "function.bin").write_bytes(exported.serialize())
  given = {f"p_{name}": leaf for name, leaf in small.params.items()}
  given |= {f"x{number}": x for number, x in enumerate(batches)}
  given |= {f"y{number}": y for number, y in enumerate(wanted)}
  np.savez(folder / "given.npz", **given)
  command = [sys.executable, "-P", "-c", RUN, str(len(batches))]
  done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
  assert done.stdout == "the same\n", done.stderr


def test_exported_and_run_elsewhere(shrunk, tmp_path):
  small, params = shrunk
  x = np.random.default_rng(1).normal(size=(3, 4, 4, 2)).astype("float32")
  exported = jax.export.export(jax.jit(small.apply_fn))(small.params, x)
  run_elsewhere(tmp_path, exported, small, [x], [apply_fn(params, x)])


def test_exported_for_any_batch_size(shrunk, tmp_path):
  """Through vmap: positions cannot be labelled on an axis of unknown length."""
  small, params = shrunk

  def of_batch(params, x):
    return jax.vmap(lambda one: small.apply_fn(params, one[None])[0])(x)

  shape = jax.export.symbolic_shape("batch, 4, 4, 2")
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  exported = jax.export.export(jax.jit(of_batch))(small.params, x)
  rng = np.random.default_rng(1)
  batches = [rng.normal(size=(n, 4, 4, 2)).astype("float32") for n in (1, 5)]
  wanted = [apply_fn(params, batch) for batch in batches]
  run_elsewhere(tmp_path, exported, small, batches, wanted)


def test_a_symbolic_batch_size_itself_is_refused(shrunk):
  small, _ = shrunk
  shape = jax.export.symbolic_shape("batch, 4, 4, 2")
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  with pytest.raises(ValueError, match=r"batch.*jax\.vmap"):
    jax.export.export(jax.jit(small.apply_fn))(small.params, x)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_lowered_for_accelerators(shrunk, platform):
  small, _ = shrunk
  x = np.ones((2, 4, 4, 2), np.float32)
  function = jax.jit(small.apply_fn)
  exported = jax.export.export(function, platforms=[platform])(small.params, x)
  assert exported.platforms == (platform,)
