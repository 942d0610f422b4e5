"""Any pytree will do, and whatever else Optax does with a transformation."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsm_optax import (
  apply_mask,
  freeze_pruned,
  gsm,
  keep_top_saliency,
  magnitude_mask,
  prune,
)


class Layers(NamedTuple):
  kernel: Any
  bias: Any
  head: Any


@jax.tree_util.register_dataclass
@dataclass
class Module:
  kernel: Any
  bias: Any
  head: Any


CONTAINERS = [
  lambda kernel, bias, head: {"a": kernel, "b": {"c": bias, "d": [head]}},
  lambda kernel, bias, head: (kernel, (bias, head), ()),
  lambda kernel, bias, head: [kernel, None, [bias], head],
  lambda kernel, bias, head: {"a": kernel, "b": (bias, {"c": None}), "d": head},
  Layers,
  Module,
  lambda kernel, bias, head: Module(kernel, Layers(None, bias, None), (head,)),
]
ARRAYS = (
  *(np.array([[1.0, -4.0], [1e-9, 6.0]]), np.array([5.0])),
  np.array([[3.0, 1e-9], [2e-9, 1e-9]]),
)


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_the_leaves_are_in_makes_no_difference(container):
  params = container(*map(jnp.asarray, ARRAYS))
  gradients = container(*(jnp.ones_like(array) for array in ARRAYS))
  tx = gsm(1.0, 0.5, 0.0, 0.0)
  updates, state = tx.update(gradients, tx.init(params), params)
  chex.assert_trees_all_equal_structs(updates, gradients)
  chex.assert_trees_all_equal_structs(optax.tree.get(state, "trace"), params)
  assert [leaf.tolist() for leaf in jax.tree.leaves(updates)] == [
    [[-1, -1], [0, -1]],
    [-1],
    [[-1, 0], [0, 0]],
  ]
  pruned = prune(params, 0.5)
  chex.assert_trees_all_equal_structs(pruned, params)
  assert [leaf.tolist() for leaf in jax.tree.leaves(pruned)] == [
    [[1, -4], [0, 6]],
    [5],
    [[3, 0], [0, 0]],
  ]


def test_a_lone_array_is_a_tree():
  params = jnp.array([[1.0, 2.0], [3.0, 4.0]])
  tx = keep_top_saliency(0.5)
  updates, _ = tx.update(jnp.ones((2, 2)), tx.init(params), params)
  assert updates.tolist() == [[0, 0], [1, 1]]


def test_a_weight_without_gradient_takes_no_place():
  # As Equinox has them: None where nothing is trained.
  kernel = jnp.array([[1.0, 2.0], [3.0, 4.0]])
  params = {"frozen": jnp.full((2, 2), 9.0), "kernel": kernel}
  gradients = {"frozen": None, "kernel": jnp.ones((2, 2))}
  tx = keep_top_saliency(0.5)
  updates, _ = tx.update(gradients, tx.init(params), params)
  assert updates["frozen"] is None
  np.testing.assert_array_equal(updates["kernel"], [[0, 0], [1, 1]])


def test_it_works_on_the_part_that_optax_masked_leaves():
  body = jnp.array([[1.0, 2.0], [3.0, 4.0]])
  params = {"body": body, "head": jnp.array([[8.0, 9.0]])}
  gradients = jax.tree.map(jnp.ones_like, params)
  tx = optax.masked(gsm(1.0, 0.5, 0.0, 0.0), {"body": True, "head": False})
  updates, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
  np.testing.assert_array_equal(updates["body"], [[0, 0], [-1, -1]])
  np.testing.assert_array_equal(updates["head"], [[1, 1]])


def test_a_mask_may_be_applied_around_masked_nodes():
  params = {"body": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "head": jnp.ones(2)}
  updates = {"body": jnp.ones((2, 2)), "head": optax.MaskedNode()}
  masked = apply_mask(updates, magnitude_mask(params, 0.5))
  np.testing.assert_array_equal(masked["body"], [[0, 0], [1, 1]])
  assert masked["head"] == optax.MaskedNode()


@pytest.mark.parametrize(
  "settings",
  [
    {"density": 0.5},
    {"density": lambda count: 0.5 + 0 * count},
    {"prunable": {"kernel": False, "bias": True}, "density": 0.5},
    {"prunable": lambda params: jax.tree.map(lambda _: True, params)},
  ],
)
def test_map_params_finds_the_momentum(settings):
  params = {"kernel": jnp.ones((4, 5)), "bias": jnp.ones(2)}
  tx = gsm(0.1, **settings)
  state = optax.tree.map_params(tx, lambda leaf: leaf + 1, tx.init(params))
  chex.assert_trees_all_equal(optax.tree.get(state, "trace"), params)
  assert state[0].count == 0


def test_inject_hyperparams_lets_the_density_be_changed_between_steps():
  params = jnp.arange(1.0, 9.0).reshape(2, 4)
  gradients = jnp.ones((2, 4))
  tx = optax.inject_hyperparams(gsm)(learning_rate=1.0, density=0.5, momentum=0.0)
  update = jax.jit(tx.update)
  state = tx.init(params)
  state.hyperparams["weight_decay"] = jnp.zeros(())
  numbers = []
  for density in (0.5, 0.25, 1.0):
    state.hyperparams["density"] = jnp.float32(density)
    updates, state = update(gradients, state, params)
    numbers.append(int((updates != 0).sum()))
  assert numbers == [4, 2, 8]


@pytest.mark.parametrize("density", [0.5, lambda count: 1 / (1 + count)])
def test_init_needs_shapes_alone(density):
  params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
  tx = gsm(0.1, density)
  shapes = jax.eval_shape(lambda: params)
  chex.assert_trees_all_equal_shapes_and_dtypes(
    jax.eval_shape(tx.init, shapes), tx.init(params)
  )


def test_flax_nnx_has_wrappers_around_params_and_bare_arrays_in_updates():
  nnx = pytest.importorskip("flax.nnx")
  model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
  model.kernel[...] = jnp.array([[0.01, 0.02], [0.03, 4.0], [5.0, 6.0]])
  pruned = prune(nnx.state(model), 0.5)
  mask = magnitude_mask(pruned, 0.5)
  nnx.update(model, pruned)
  tx = optax.chain(gsm(1.0, 1 / 3, 0.0, 0.0), freeze_pruned(mask))
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  gradients = jax.tree.map(jnp.ones_like, nnx.state(model))
  optimizer.update(model, gradients)
  assert model.kernel[...].tolist() == [[0, 0], [0, 4], [4, 5]]
  assert model.bias[...].tolist() == [-1, -1]
