"""Random networks, in which nothing that is removed changes an output."""

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import gsm_optax
from tests.gsm_optax.shrink.random_networks import PLANS, network

pytestmark = pytest.mark.usefixtures("x64")

LIMITS = settings(
  deadline=None,
  derandomize=True,
  max_examples=6,
  suppress_health_check=[
    HealthCheck.too_slow,
    HealthCheck.function_scoped_fixture,
    HealthCheck.data_too_large,
  ],
)


def assert_equal(found, wanted):
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype
    scale = np.abs(other).max(initial=1.0)
    # Some of the parts round to float32.
    np.testing.assert_allclose(one / scale, other / scale, rtol=0, atol=1e-6)


@LIMITS
@given(plan=PLANS)
def test_what_is_dead_changes_no_output(plan):
  apply_fn, params, few, many = network(plan)
  small = gsm_optax.shrink(apply_fn, params, few)
  note(str(small))
  for x in (few, many, few[:1]):
    assert_equal(small.apply_fn(small.params, x), apply_fn(params, x))


@LIMITS
@given(plan=PLANS, share=st.sampled_from([0.2, 0.5, 0.9]))
def test_what_is_not_kept_is_as_if_zero(plan, share):
  apply_fn, params, few, many = network(plan)
  rng = np.random.default_rng(plan["seed"])
  groups = gsm_optax.channel_groups(apply_fn, params, few).groups
  keep = {name: np.ones(leaf.shape, bool) for name, leaf in params.items()}
  for group in groups:
    goes = np.append(rng.random(group.size) < share, False)
    for (path, axis), units in group.members.items():
      np.moveaxis(keep[path], axis, 0)[goes[units]] = False
  small = gsm_optax.shrink(apply_fn, params, few, keep=keep)
  note(str(small))
  index = {n: np.arange(leaf.size).reshape(leaf.shape) for n, leaf in params.items()}
  zeroed = {}
  for name, left in small.slice(index).items():
    zeroed[name] = np.zeros_like(params[name])
    zeroed[name].flat[left.ravel()] = params[name].flat[left.ravel()]
  for x in (few, many, few[:1]):
    assert_equal(small.apply_fn(small.params, x), apply_fn(zeroed, x))
