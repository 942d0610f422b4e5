"""Numbers of fewer bits, NumPy's of more, and integers that no float64 holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsm_optax
from tests.gsm_optax.shrink.hidden_layer import WVB, X, assert_same, hidden

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_fewer_bits(dtype):
  params = {name: jnp.asarray(leaf, dtype) for name, leaf in WVB.items()}
  x = jnp.asarray(X, dtype)
  atol = 20 * float(jnp.finfo(dtype).eps)
  assert_same(hidden(jnp.tanh), params, (x,), (x[:1],), atol=atol, v=(4, 3))


def test_numpy_arrays_of_float64_without_x64():
  jax.config.update("jax_enable_x64", False)
  small = gsm_optax.shrink(hidden(jnp.tanh), WVB, X)
  found = small.apply_fn(small.params, X)
  np.testing.assert_allclose(found, hidden(jnp.tanh)(WVB, X), atol=1e-5)
  assert found.dtype == np.float32


LARGE = 2**53  # from here on float64 does not hold all integers


@pytest.mark.parametrize(
  "one",
  [
    lambda: jnp.full(6, LARGE) + 1 - LARGE,
    lambda: jnp.full(6, LARGE + 1) - LARGE,
    lambda: jnp.asarray(np.full(6, LARGE + 1)) - np.full(6, LARGE),
    lambda: jnp.full(6, -LARGE) - 1 + LARGE + 2,
  ],
)
def test_integers_that_float64_does_not_hold(one):
  """They are 1, and would be 0 if they were rounded."""
  assert np.all(one() == 1)
  assert_same(hidden(lambda h: jnp.tanh(h) * one()), WVB, (X,))
