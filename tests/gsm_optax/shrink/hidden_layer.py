"""A hidden layer with units that are constant, and a check at several batches."""

import jax
import jax.numpy as jnp
import numpy as np

import gsm_optax


def numbers(*shape, zero_columns=(), zero_rows=()):
  """Random numbers, the same ones for the same shape."""
  result = np.random.default_rng(shape).normal(size=shape)
  result[..., list(zero_columns)] = 0
  result[list(zero_rows)] = 0
  return result


X, ONE = numbers(5, 4), numbers(1, 4)
W, V = numbers(4, 6, zero_columns=[1, 2]), numbers(6, 3)
B = np.array([0.3, 0.7, -0.4, 0.1, -0.2, 0.6])  # unit 1 is constant, and so is 2
WVB = {"w": W, "v": V, "b": B}
for shared in (X, ONE, W, V, B):
  shared.setflags(write=False)


def assert_same(apply_fn, params, *batches, atol=1e-9, **shapes):
  """Asserts that the smaller function returns what the larger one does.

  Args:
    apply_fn: as for `gsm_optax.shrink`.
    params: a dict of arrays, or a tree where no shapes are given.
    *batches: tuples of inputs. The function is shrunk with the first.
    atol: by how much outputs may differ.
    **shapes: of leaves of the smaller params.

  Returns:
    The `gsm_optax.Small`.
  """
  small = gsm_optax.shrink(apply_fn, params, *batches[0])
  for name, shape in shapes.items():
    assert small.params[name].shape == shape
  for batch in batches:
    found = small.apply_fn(small.params, *batch)
    wanted = apply_fn(*jax.tree.map(jnp.asarray, (params, *batch)))
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
      one, other = np.asarray(one), np.asarray(other)
      assert (one.shape, one.dtype) == (other.shape, other.dtype)
      kind = complex if np.iscomplexobj(other) else float
      np.testing.assert_allclose(one.astype(kind), other.astype(kind), 0, atol)
  return small


def hidden(function, second=jnp.matmul):
  """A hidden layer of six units, of which two are constant."""
  return lambda p, x: second(function(x @ p["w"] + p["b"]), p["v"])
