"""On eight devices, units are chosen as on one (see test_sharding)."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import gsm_optax

SHAPES = {"a": (24, 64), "bias": (64,), "b": (64, 48), "c": (48, 16)}
LAYOUTS = {
  "rows": {"a": P("x"), "bias": P(), "b": P(("x", "y")), "c": P(("x", "y"))},
  "columns": {
    "a": P(None, ("x", "y")),
    "bias": P(("x", "y")),
    "b": P(None, "x"),
    "c": P(),
  },
  "mixed": {"a": P("x", "y"), "bias": P("y"), "b": P("y", "x"), "c": P("x")},
}


def tree(seed):
  rng = np.random.default_rng(seed)
  return {
    name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()
  }


def apply_fn(params, x):
  x = jax.nn.relu(x @ params["a"] + params["bias"])
  return jax.nn.relu(x @ params["b"]) @ params["c"]


STRUCTURES = {
  "blocks": gsm_optax.blocks((4, 2)),
  "blocks over devices": gsm_optax.blocks((12, 8)),
  "n of m": gsm_optax.n_of_m(2, 4),
  "channels": gsm_optax.channels(apply_fn, tree(0), np.zeros((1, 24), np.float32)),
}
PARAMS, GRADIENTS = tree(0), tree(1)


def prunable(name):
  if name == "blocks over devices":
    return {"a": True, "bias": False, "b": False, "c": False}
  return None


def pruned_and_updated(name, params, gradients):
  structure, chosen = STRUCTURES[name], prunable(name)
  tx = gsm_optax.gsm(0.1, 0.3, structure=structure, prunable=chosen, prune_from=1)
  mask = gsm_optax.magnitude_mask(params, 0.3, structure=structure, prunable=chosen)
  state = tx.init(params)
  first, state = tx.update(gradients, state, params)
  second, _ = tx.update(gradients, state, params)
  return mask, first, second


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize(
  ("name", "layout"),
  [
    ("blocks", "rows"),
    ("blocks over devices", "mixed"),
    ("n of m", "columns"),
    ("channels", "columns"),
    ("channels", "mixed"),
  ],
)
def test_every_layout_gives_the_bits_of_one_device(name, layout, kind):
  expected = jax.jit(lambda p, g: pruned_and_updated(name, p, g))(PARAMS, GRADIENTS)
  mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)
  shardings = {
    leaf: NamedSharding(mesh, spec) for leaf, spec in LAYOUTS[layout].items()
  }
  params, gradients = (jax.device_put(x, shardings) for x in (PARAMS, GRADIENTS))
  with jax.set_mesh(mesh):
    found = jax.jit(lambda p, g: pruned_and_updated(name, p, g))(params, gradients)
  chex.assert_trees_all_equal(found, expected)
  for leaf, spec in LAYOUTS[layout].items():
    if kind == AxisType.Explicit:
      assert found[1][leaf].sharding.is_equivalent_to(params[leaf].sharding, len(spec))


def test_in_shard_map_it_is_refused():
  mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
  mask = jax.shard_map(
    lambda w: gsm_optax.magnitude_mask(w, 0.5, structure=gsm_optax.blocks((2, 1))),
    mesh=mesh,
    in_specs=P("x"),
    out_specs=P("x"),
  )
  with pytest.raises(ValueError, match="only parts of them"):
    mask(jnp.ones((64, 8)))
