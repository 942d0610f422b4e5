"""Whole numbers beyond 2**31 without 64-bit integers, and floor(share * n) of them."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gsm_optax._threshold._wide_int import WideInt, count_true, floor_of_share, total

few = settings(deadline=None, derandomize=True, max_examples=100)
numbers = st.integers(0, 2**47 - 1) | st.integers(2**31 - 3, 2**31 + 3)
int32 = st.integers(0, 2**31 - 1) | st.sampled_from([0, 2**16 - 1, 2**16, 2**31 - 1])

share_in_jit = jax.jit(floor_of_share, static_argnums=1)


def whole(count):
  assert 0 <= int(count.low) < 2**16
  return int(count.high) * 2**16 + int(count.low)


@given(a=numbers, b=numbers)
@few
def test_counts_compare_and_subtract_as_whole_numbers_do(a, b):
  low, high = WideInt.of(min(a, b)), WideInt.of(max(a, b))
  assert whole(high.minus(low)) == abs(a - b)
  assert bool(WideInt.of(a) >= WideInt.of(b)) == (a >= b)
  assert int(high) == max(a, b)


@given(value=int32)
@few
def test_a_count_of_an_array_is_that_of_the_number(value):
  assert whole(WideInt.of(jnp.int32(value))) == value


@given(
  scalars=st.lists(int32, min_size=3, max_size=3),
  vector=st.lists(int32, min_size=7, max_size=7),
)
@few
def test_total_is_the_sum_of_scalar_and_vector_parts(scalars, vector):
  parts = [jnp.int32(scalar) for scalar in scalars] + [jnp.array(vector, jnp.int32)]
  assert whole(total(parts)) == sum(scalars) + sum(vector)


def test_total_of_many_parts_does_not_overflow():
  greatest = 2**31 - 1
  assert whole(total([jnp.full(2**16, greatest, jnp.int32)])) == 2**16 * greatest
  assert whole(total([jnp.full(2**23, 255, jnp.int32)])) == 2**23 * 255
  assert whole(total([jnp.int32(greatest)] * 300)) == 300 * greatest


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (7,), (3, 5)])
def test_count_true_counts(shape):
  mask = np.random.default_rng(0).random(shape) < 0.5
  assert int(count_true(jnp.asarray(mask))) == mask.sum()


@pytest.mark.parametrize(
  ("shape", "parts"),
  [
    ((2**16, 2**15 - 1), ()),  # below 2**31: a scalar is enough
    ((2**16, 2**16), (2**16,)),
    ((2**30, 4), (4,)),
    ((2**20, 2**10, 2**10), (2**20,)),
  ],
)
def test_what_could_overflow_is_counted_in_parts(shape, parts):
  mask = jax.ShapeDtypeStruct(shape, np.bool_)
  counts = jax.eval_shape(count_true, mask)
  assert counts.shape == parts
  assert mask.size // max(math.prod(parts), 1) < 2**31
  assert jax.eval_shape(lambda mask: total([count_true(mask)]), mask).high.shape == ()


def test_an_array_that_cannot_be_counted_is_an_error():
  with pytest.raises(ValueError, match=r"\(2147483648,\) is too large"):
    jax.eval_shape(count_true, jax.ShapeDtypeStruct((2**31,), np.bool_))


@given(part=st.integers(1, 10**4), of=st.integers(1, 10**4), n=st.integers(1, 2**46))
@few
def test_a_python_share_is_the_fraction_that_was_meant(part, of, n):
  assume(part <= of and n * of < 2**52)
  assert floor_of_share(part / of, n) == math.floor(Fraction(part, of) * n)


@given(
  part=st.integers(1, 1000), of=st.integers(1, 1000), n=st.sampled_from([97, 4095])
)
@few
def test_a_traced_share_is_the_fraction_that_was_meant(part, of, n):
  assume(part <= of)
  q = share_in_jit(jnp.float32(part / of), n)
  assert whole(q) == math.floor(Fraction(part, of) * n)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("n", [1, 49, 2**24 + 1, 2**31 + 7, 3 * 10**9, 2**47 - 1])
def test_a_traced_share_of_a_large_number_is_as_exact_as_its_type(n, dtype):
  rng = np.random.default_rng(n)
  shares = np.concatenate([[1.0], rng.random(20), 10.0 ** -rng.uniform(0, 14, 20)])
  for share in jnp.asarray(shares, dtype):
    product = Fraction(float(share)) * n
    rounding = Fraction(float(jnp.finfo(dtype).eps)) / 2 * product
    slack = min(Fraction(1, 2), rounding * Fraction(101, 100))
    q = whole(share_in_jit(share, n))
    assert math.floor(product) <= q <= min(math.floor(product + slack), n)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n", [100, 25_557_032, 2**31 + 7, 7 * 10**10])
def test_a_float64_share_is_that_of_python(n):
  for share in (0.1, 0.29, 1 / 3, 0.57, 1 / 49, 1e-9, 0.999999999, 1.0):
    q = whole(share_in_jit(jnp.float64(share), n))
    assert q == floor_of_share(share, n)


@pytest.mark.parametrize(
  ("share", "n", "q"),
  [(0.29, 100, 29), (1 / 49, 49, 1), (0.57, 100, 57), (1 / 60, 266_200, 4436)],
)
def test_a_product_just_under_a_whole_number_is_that_number(share, n, q):
  assert floor_of_share(share, n) == q
  assert whole(floor_of_share(jnp.float32(share), n)) == q


@pytest.mark.parametrize(
  ("share", "q"), [(1.0, 2**40), (1.5, 2**40), (np.inf, 2**40), (-1.0, 0), (np.nan, 0)]
)
def test_an_array_is_clipped_to_a_share(share, q):
  assert whole(floor_of_share(jnp.float32(share), 2**40)) == q
