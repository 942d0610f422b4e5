"""`sparsify`, and pruning within the run, are on eight devices as on one."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import gsm_optax

SHAPES = {"conv": (3, 3, 16, 32), "dense": (64, 48), "small": (8, 16), "bias": (64,)}
LAYOUTS = {
  "data parallel": {name: P() for name in SHAPES},
  "mixed": {
    "conv": P(None, None, "x", "y"),
    "dense": P("y", "x"),
    "small": P(),
    "bias": P("x"),
  },
}
RULES = {
  "gsm": gsm_optax.gsm(0.05, 0.1, 0.9, 1e-2, passive_weight_decay=0.1, prune_from=2),
  "sparsify": gsm_optax.sparsify(
    optax.adam(0.01), 0.1, passive_weight_decay=0.1, mask_gradient=True, prune_from=2
  ),
  "gradual": gsm_optax.sparsify(
    optax.sgd(0.1), optax.polynomial_schedule(1.0, 0.1, 3, 3), prune_from=0
  ),
}


def tree(seed):
  rng = np.random.default_rng(seed)
  return {
    # Rounded, so that many magnitudes are equal.
    name: rng.normal(size=shape).astype(np.float32).round(1)
    for name, shape in SHAPES.items()
  }


def steps(tx, place=lambda values: values, steps=4):
  params = place(tree(0))
  state = jax.jit(tx.init)(params)
  update = jax.jit(tx.update)
  for step in range(steps):
    updates, state = update(place(tree(1 + step)), state, params)
    params = optax.apply_updates(params, updates)
  return params


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("tx", RULES.values(), ids=RULES)
def test_every_layout_gives_the_bits_of_one_device(tx, layout, kind):
  mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)
  shardings = {name: NamedSharding(mesh, spec) for name, spec in layout.items()}
  with jax.set_mesh(mesh):
    params = steps(tx, lambda values: jax.device_put(values, shardings))
  expected = steps(tx)
  chex.assert_trees_all_equal(
    jax.tree.map(lambda leaf: leaf != 0, params),
    jax.tree.map(lambda leaf: leaf != 0, expected),
  )
  chex.assert_trees_all_close(params, expected, rtol=1e-6)
  kept = sum(int(jnp.count_nonzero(params[name])) for name in SHAPES if name != "bias")
  assert kept == int(0.1 * sum(params[name].size for name in SHAPES if name != "bias"))
  for name in ("conv", "dense"):
    assert params[name].sharding.is_equivalent_to(shardings[name], params[name].ndim)


@pytest.mark.parametrize("tx", RULES.values(), ids=RULES)
def test_several_runs_at_once_under_vmap(tx):
  def run(seed):
    keys = jax.random.split(seed, 5)

    def values(key):
      return {
        name: jax.random.normal(jax.random.fold_in(key, i), shape)
        for i, (name, shape) in enumerate(SHAPES.items())
      }

    params = values(keys[0])
    state = tx.init(params)
    for key in keys[1:]:
      updates, state = tx.update(values(key), state, params)
      params = optax.apply_updates(params, updates)
    return params

  seeds = jax.random.split(jax.random.key(0), 2)
  together = jax.jit(jax.vmap(run))(seeds)
  for i in range(2):
    alone = jax.jit(run)(seeds[i])
    one = jax.tree.map(lambda leaf, i=i: leaf[i], together)
    chex.assert_trees_all_close(one, alone, rtol=1e-5, atol=1e-6)
