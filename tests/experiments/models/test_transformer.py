"""The transformer sees the past alone, and has the weights that it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gsm_optax
from experiments import models
from experiments.models.transformer import build, rotated

SMALL = {"depth": 2, "width": 16, "heads": 2, "hidden": 24}


@pytest.fixture(scope="module")
def small():
  model = models.load("transformer", (8,), 32, SMALL)
  params, stats = model.init(jax.random.key(0))
  return model, params, stats


def test_a_token_depends_on_those_before_it_alone(small):
  model, params, stats = small
  tokens = jnp.arange(12)[None] % 32
  logits = model.infer(params, stats, tokens)
  assert logits.shape == (1, 12, 32)
  changed = model.infer(params, stats, tokens.at[0, 7].set(31))
  np.testing.assert_allclose(changed[:, :7], logits[:, :7], rtol=1e-5, atol=1e-6)
  assert (jnp.abs(changed - logits)[:, 7:].max(-1) > 1e-3).all()


def test_places_count_by_their_distance():
  key = jax.random.key(0)
  query, other = jax.random.normal(key, (2, 4))

  def product(i, j):
    x = jnp.zeros((2, 20, 1, 4)).at[0, i, 0].set(query).at[1, j, 0].set(other)
    x = rotated(x)
    return float(jnp.vdot(x[0, i, 0], x[1, j, 0]))

  assert product(3, 1) == pytest.approx(product(12, 10), rel=1e-4)
  assert abs(product(3, 1) - product(3, 2)) > 1e-3
  np.testing.assert_allclose(product(5, 5), float(jnp.vdot(query, other)), rtol=1e-5)


def test_its_kernels_are_all_but_the_embedding_and_the_norms():
  params = nnx.to_pure_dict(
    nnx.eval_shape(lambda: nnx.state(build((128,), 256, nnx.Rngs(0)), nnx.Param))
  )
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 918_656
  found = gsm_optax.kernels(params)
  del params["embedding"], found["embedding"]
  sizes = jax.tree.map(lambda leaf, kernel: leaf.size * kernel, params, found)
  assert sum(jax.tree.leaves(sizes)) == 884_736
  norms = jax.tree.map(lambda leaf, kernel: leaf.size * (not kernel), params, found)
  assert sum(jax.tree.leaves(norms)) == 9 * 128


def test_heads_that_do_not_fit():
  with pytest.raises(models.ModelError, match="3 heads of even width do not fit"):
    models.load("transformer", (8,), 32, {"heads": 3})
