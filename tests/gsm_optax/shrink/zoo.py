"""Checks that a smaller function is the larger one without some of its units."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gsm_optax


def paths_and_leaves(tree: Any) -> list[tuple[str, Any]]:
  """The paths as `shrink` and `channel_groups` write them."""
  return [
    (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  ]


def randomised(tree: Any, seed: int = 0) -> Any:
  """Random float64 arrays in place of arrays, or of shapes; variances are positive."""
  rng = np.random.default_rng(seed)

  def leaf(path: Any, old: Any) -> Any:
    shape = old if isinstance(old, tuple) else old.shape
    scale = 1 / math.sqrt(max(math.prod(shape[:-1]), 1))
    numbers = jnp.asarray(rng.normal(0, scale, shape))
    is_variance = "var" in jax.tree_util.keystr(path)
    return 0.5 + jnp.abs(numbers) if is_variance else numbers

  def is_shape(x: Any) -> bool:
    return isinstance(x, tuple) and all(isinstance(n, int) for n in x)

  return jax.tree_util.tree_map_with_path(leaf, tree, is_leaf=is_shape)


def numbers(*shape: int) -> Any:
  """Random inputs."""
  return jnp.asarray(np.random.default_rng(7).normal(size=shape))


def random_mask(groups: Any, params: Any, share: float, seed: int) -> Any:
  """True but for the weights of some units of each group; each axis keeps some."""
  rng = np.random.default_rng(seed)
  shapes = {path: leaf.shape for path, leaf in paths_and_leaves(params)}
  kept = {
    (path, i): np.ones(n, bool) for path in shapes for i, n in enumerate(shapes[path])
  }
  for group in groups.groups:
    drop = group.size - max(1, math.ceil(share * group.size))
    for unit in rng.permutation(group.size)[:drop]:
      fewer = {place: kept[place] & (at != unit) for place, at in group.members.items()}
      if all(mask.any() for mask in fewer.values()):
        kept |= fewer
  masks: list[Any] = []
  for path, shape in shapes.items():
    masks.append(np.zeros(shape, bool))
    masks[-1][np.ix_(*(kept[path, axis] for axis in range(len(shape))))] = True
  return jax.tree.unflatten(jax.tree.structure(params), masks)


def assert_close(found: Any, wanted: Any) -> None:
  """Of trees of float64; each leaf by its own largest number."""
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
    scale = max(float(np.abs(b).max()), 1e-30)
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * scale)


def whole_axes(small: Any) -> set[str]:
  """The axes of the params that are as long as before, as ``path:axis``."""
  return {
    f"{leaf.path.removesuffix('/value')}:{axis}"
    for leaf in small.leaves
    for axis, (n, m) in enumerate(zip(leaf.before, leaf.after, strict=True))
    if n == m > 1
  }


def assert_shrinks(
  apply_fn: Any,
  params: Any,
  *inputs: Any,
  stays: Sequence[str] = (),
  training: bool = False,
  shares: Sequence[float] = (0.5, 0.15),
) -> Any:
  """Asserts that units chosen at random can be taken out of all but some axes.

  Args:
    apply_fn: as for `gsm_optax.shrink`.
    params: likewise.
    *inputs: likewise, with the batch first.
    stays: the only axes that may stay as they are, as ``path:axis``.
    training: whether to look at transformations of the smaller function too.
    shares: of the units to keep.

  Returns:
    The groups.
  """
  groups = gsm_optax.channel_groups(apply_fn, params, *inputs)
  larger = jax.tree.map(lambda x: np.concatenate([x[::-1], x]), inputs)
  full = jax.jit(apply_fn)
  for seed, share in enumerate(shares):
    mask = random_mask(groups, params, share, seed)
    zeroed = jax.tree.map(lambda p, m: jnp.asarray(np.where(m, p, 0)), params, mask)
    small = gsm_optax.shrink(apply_fn, params, *inputs, keep=mask)
    for leaf, own in zip(small.leaves, jax.tree.leaves(mask), strict=True):
      assert leaf.after == tuple(len({*where}) for where in own.nonzero()), leaf
    assert sorted(whole_axes(small)) == sorted(stays), str(groups)
    given = larger if seed == 0 else inputs
    found = jax.jit(small.apply_fn)(small.params, *given)
    assert_close(found, full(zeroed, *given))
  # Units that are zeroed are dead, so that they are found without the last mask too.
  by_zeros = gsm_optax.shrink(apply_fn, zeroed, *inputs)
  one = jax.tree.map(lambda x: x[:1], inputs)
  found = jax.jit(by_zeros.apply_fn)(by_zeros.params, *one)
  assert_close(found, full(zeroed, *one))
  for leaf, other in zip(by_zeros.leaves, small.leaves, strict=True):
    assert all(m <= n for m, n in zip(leaf.after, other.after, strict=True)), leaf
  if training:
    assert_trains(apply_fn, zeroed, small, inputs)
  return groups


def assert_trains(apply_fn: Any, zeroed: Any, small: Any, inputs: Any) -> None:
  """Asserts that derivatives and `jax.vmap` are those of the larger function."""

  def loss(function: Any) -> Any:
    def of_params(params: Any) -> Any:
      outputs = jax.tree.leaves(function(params, *inputs))
      return sum(jnp.sum(jnp.sin(out)) for out in outputs)

    return of_params

  found = jax.jit(jax.grad(loss(small.apply_fn)))(small.params)
  assert_close(found, small.slice(jax.jit(jax.grad(loss(apply_fn)))(zeroed)))
  one_by_one = jax.tree.map(lambda x: x[:, None], inputs)
  mapped = jax.jit(jax.vmap(small.apply_fn, (None, *(0 for _ in inputs))))
  outputs = jax.tree.map(lambda x: x[:, 0], mapped(small.params, *one_by_one))
  assert_close(outputs, jax.jit(apply_fn)(zeroed, *inputs))


def assert_stays(apply_fn: Any, params: Any, *inputs: Any, **reasons: str) -> None:
  """Asserts that axes, as ``path_axis``, are known to stay, and stay.

  All weights of half of the positions on them are asked to be removed.
  """
  fixed = gsm_optax.channel_groups(apply_fn, params, *inputs).fixed
  for place, reason in reasons.items():
    path, axis = place.rsplit("_", 1)
    assert fixed[path, int(axis)] == reason
    mask = {name: np.ones(leaf.shape, bool) for name, leaf in params.items()}
    np.moveaxis(mask[path], int(axis), 0)[1::2] = False
    small = gsm_optax.shrink(apply_fn, params, *inputs, keep=mask)
    assert {leaf.path: leaf.after for leaf in small.leaves}[path] == params[path].shape
    zeroed = jax.tree.map(lambda p, m: jnp.asarray(np.where(m, p, 0)), params, mask)
    for numbers_now in (params, zeroed):
      small = gsm_optax.shrink(apply_fn, numbers_now, *inputs)
      found = jax.jit(small.apply_fn)(small.params, *inputs)
      assert_close(found, jax.jit(apply_fn)(numbers_now, *inputs))
      assert f"{path}:{axis}" in whole_axes(small)
