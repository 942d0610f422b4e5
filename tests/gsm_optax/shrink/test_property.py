"""Random networks, in which nothing that is removed changes an output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from jax import lax

import gsm_optax

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
IMAGES = ("NHWC", "HWIO", "NHWC")


class Params:
  """Makes the params when a network is run for the first time, then returns them."""

  def __init__(self, seed, made=None):
    self.rng = np.random.default_rng(seed)
    self.made = made
    self.leaves = {} if made is None else made
    self.number = 0

  def __call__(self, *shape, near=0.0, scale=None):
    name = f"{self.number:02}"
    self.number += 1
    if self.made is None:
      rng = self.rng
      fan_in = max(1, int(np.prod(shape[:-1])))
      leaf = near + rng.normal(size=shape) * (scale or (fan_in**-0.5 + 0.1))
      leaf = self.pruned(leaf) if not near else leaf
      self.leaves[name] = leaf
    return jnp.asarray(self.leaves[name])

  def pruned(self, leaf):
    rng = self.rng
    match rng.integers(4) if leaf.ndim else 0:
      case 1:
        leaf[..., rng.random(leaf.shape[-1]) < 0.6] = 0
      case 2:
        leaf[rng.random(leaf.shape[0]) < 0.6] = 0
      case 3 if leaf.ndim > 1:
        leaf[rng.random(leaf.shape) < 0.9] = 0
      case 3:
        leaf[rng.random(leaf.shape) < 0.5] = -0.0
    if leaf.ndim > 2 and rng.random() < 0.5:
      leaf[..., rng.random(leaf.shape[-2]) < 0.5, :] = 0
    return leaf


def dense(p, h, n=None, bias=True):
  n = n or 2 + h.shape[-1] // 2
  h = h @ p(h.shape[-1], n)
  return h + p(n) if bias else h


ACTIVATIONS = (
  jax.nn.relu,
  jnp.tanh,
  jax.nn.gelu,
  jax.nn.sigmoid,
  lambda h: jnp.exp(jnp.clip(h, -3, 3)),
  jnp.sin,
  jnp.abs,
  lambda h: jax.nn.gelu(h, approximate=False),
  lambda h: jax.nn.leaky_relu(h - 0.1),
  lambda h: jnp.where(h > 0.2, h, -0.3),
  lambda h: jnp.where(h > 0.2, h, 0.0),
  lambda h: jnp.floor(h * 1.7 + 0.123),
  lambda h: (h * 10.1).astype(jnp.int32) // 3 + 0.5,
  lambda h: (
    lax.div((h * 10.1).astype(jnp.int32), jnp.full(h.shape, 3, jnp.int32)) * 0.1
  ),
  lambda h: jax.nn.softplus(h) - np.log(2),
  lambda h: h.astype(jnp.float32).astype(jnp.float64),
  lambda h: (h + 0j).real + jnp.abs(h * 1j),
)


def layer_norm(p, h):
  centred = h - h.mean(-1, keepdims=True)
  h = centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-3)
  return h * p(h.shape[-1]) + p(h.shape[-1])


def batch_norm(p, h):
  n = h.shape[-1]
  scale = p(n) * lax.rsqrt(jnp.abs(p(n, near=1.0, scale=0.1)) + 1e-3)
  return (h - p(n)) * scale + p(n)


def heads(p, h):
  n = h.shape[-1]
  both = dense(p, h, 4).reshape(*h.shape[:-1], 2, 2)
  mixed = jnp.einsum("...hd,hde->...he", both, p(2, 2, 3))
  return jnp.einsum("...hd,hdn->...n", jnp.tanh(mixed), p(2, 3, n))


def attention(p, h):
  n = h.shape[-1]
  tokens = h[..., None] * p(n, 3)
  q, k, v = (dense(p, tokens, 4).reshape(*tokens.shape[:-1], 2, 2) for _ in "qkv")
  scores = jax.nn.softmax(jnp.einsum("...qhd,...khd->...hqk", q, k))
  mixed = jnp.einsum("...hqk,...khd->...qhd", scores, v)
  return jnp.einsum("...qhd,hd->...q", mixed, p(2, 2))


def scanned(p, h):
  n = h.shape[-1]

  def body(h, layer):
    h = jnp.tanh(h @ layer["w"] + layer["b"])
    return h, h[..., :1]

  layers = {"w": p(3, n, n), "b": p(3, n)}
  h, each = lax.scan(body, h, layers)
  return h + each.sum(0)


def looped(p, h):
  n = h.shape[-1]
  w, b = p(n, n), p(n)

  @jax.checkpoint
  def body(_, h):
    return jax.nn.relu(h @ w + b)

  return lax.fori_loop(0, 2, body, h)


def recurrent(p, h):
  n = h.shape[-1]
  w, u, b, out = p(1, 4), p(4, 4), p(4), p(4)

  def body(state, x):
    state = jnp.tanh(x[..., None] * w[0] + state @ u + b)
    return state, state @ out

  start = jnp.zeros((*h.shape[:-1], 4))
  _, outs = lax.scan(body, start, jnp.moveaxis(h, -1, 0))
  return jnp.moveaxis(outs, 0, -1) + p(n)


def branches(p, h):
  n = h.shape[-1]
  u, v, b = p(n, n), p(n, n), p(n)
  return lax.cond(
    jnp.any(h > 0.5), lambda h: h @ u + b, lambda h: jax.nn.relu(h - 1) @ v, h
  )


@jax.custom_jvp
def own_relu(h):
  return jnp.maximum(h, 0)


own_relu.defjvp(lambda x, t: (own_relu(x[0]), jnp.where(x[0] > 0, t[0], 0)))


@jax.custom_vjp
def own_square(h, w):
  return (h * w) ** 2


own_square.defvjp(
  lambda h, w: (own_square(h, w), (h, w)),
  lambda saved, g: (
    2 * g * saved[0] * saved[1] ** 2,
    (2 * g * saved[0] ** 2 * saved[1]).reshape(-1, saved[1].shape[0]).sum(0),
  ),
)


def shuffled(_, h):
  n = h.shape[-1]
  h = h.reshape(*h.shape[:-1], 2, -1) if n % 2 == 0 else h[..., None]
  return jnp.swapaxes(h, -1, -2).reshape(*h.shape[:-2], -1)


def padded(p, h):
  value = (0.0, 0.7)[p.number % 2]
  config = [(0, 0, 0)] * (h.ndim - 1) + [(1, 2, 0)]
  return lax.pad(h, jnp.asarray(value, h.dtype), config)


def halves(p, h):
  h = dense(p, h, 8)
  a, b = jnp.split(h, 2, axis=-1)
  return a * jax.nn.sigmoid(b)


def chunks(p, h):
  a, b, c = jnp.split(dense(p, h, 9), [2, 5], axis=-1)
  return jnp.concatenate([c, jnp.tanh(a), b[..., ::-1], c], -1)


def one_position(p, h):
  return h * h[..., :1] + p(1)


def labels_compared(p, h):
  n = h.shape[-1]
  best = jnp.argmax(h + 1e-3 * jnp.arange(n), -1)
  return h * (jnp.arange(n) == best[..., None]) + jax.nn.one_hot(best, n) @ p(n, n)


def embedded(p, h):
  index = jnp.clip((h[..., 0] * 3.3).astype(jnp.int32), 0, 2)
  return jnp.concatenate([p(3, 4)[index], h], -1)


def contracted_twice(p, h):
  h = dense(p, h, 6).reshape(*h.shape[:-1], 2, 3)
  return jnp.einsum("...ij,ijk->...k", jnp.tanh(h), p(2, 3, 4))


def several_axes(p, h):
  grid = p(4, 4)
  h = dense(p, h, 4)
  return jnp.tanh(h @ grid) @ grid.T + (h @ (grid @ grid))


def swapped(p, h):
  h = dense(p, h, 5)
  w = p(5, 4)
  return jnp.moveaxis(jnp.tensordot(w, jnp.tanh(h), ((0,), (h.ndim - 1,))), 0, -1)


def updated(p, h):
  h = lax.dynamic_update_slice_in_dim(h, h[..., -1:] * p(), 0, axis=-1)
  return h.at[..., -1].add(p())


PARTS = {
  "dense": dense,
  "wide": lambda p, h: dense(p, h, 7),
  "no bias": lambda p, h: dense(p, h, 5, bias=False),
  "skip": lambda p, h: h + jnp.tanh(dense(p, h, h.shape[-1])),
  "bottleneck": lambda p, h: h + dense(p, jax.nn.relu(dense(p, h, 4)), h.shape[-1]),
  "concatenated": lambda p, h: jnp.concatenate([h, dense(p, h, 3)], -1),
  "halves": halves,
  "chunks": chunks,
  "layer norm": layer_norm,
  "batch norm": batch_norm,
  "softmax": lambda p, h: jax.nn.softmax(h * p(h.shape[-1])),
  "heads": heads,
  "attention": attention,
  "scan": scanned,
  "loop": looped,
  "recurrent": recurrent,
  "cond": branches,
  "own relu": lambda p, h: own_relu(dense(p, h, 5)),
  "own square": lambda p, h: own_square(jnp.tanh(h), p(h.shape[-1])),
  "shuffled": shuffled,
  "padded": padded,
  "scaled": lambda p, h: h * p(1, h.shape[-1]) + p(),
  "repeated": lambda p, h: h * jnp.broadcast_to(p(1), h.shape) + jnp.ones(h.shape),
  "one position": one_position,
  "centred": lambda _, h: h - h.sum(-1, keepdims=True),
  "permuted": lambda _, h: h[..., np.arange(h.shape[-1])[::-1] // 2],
  "turned": lambda _, h: jnp.roll(h[..., ::-1], 1, -1),
  "running sum": lambda p, h: jnp.cumsum(h, -1) * p(h.shape[-1]),
  "sorted": lambda _, h: jnp.sort(h, -1),
  "labels": labels_compared,
  "embedded": embedded,
  "twice": contracted_twice,
  "several axes": several_axes,
  "swapped": swapped,
  "updated": updated,
  "largest": lambda _, h: jnp.maximum(h, h.max(-1, keepdims=True) - 1),
  "maxout": lambda p, h: dense(p, h, 8).reshape(*h.shape[:-1], 4, 2).max(-1),
  "added up": lambda p, h: dense(p, h, 8).reshape(*h.shape[:-1], 4, 2).sum(-1),
  "fft": lambda p, h: jnp.fft.fft(dense(p, h, 4)).real,
  "position": lambda p, h: h + jnp.arange(h.shape[-1]) * p(h.shape[-1]),
  "unused": lambda p, h: [p(3), dense(p, h), h][-1],
  "by shape": lambda _, h: h / h.shape[0],
}


def convolved(p, h, n, window=(3, 3), **options):
  groups = options.get("feature_group_count", 1)
  kernel = p(*window, h.shape[-1] // groups, n)
  options = {"window_strides": (1, 1), "padding": "SAME", **options}
  h = lax.conv_general_dilated(h, kernel, dimension_numbers=IMAGES, **options)
  return h + p(n)


def pooled(h, function, start, window, padding, strides=(1, 1)):
  window, strides = (1, *window, 1), (1, *strides, 1)
  return lax.reduce_window(h, start, function, window, strides, padding)


IMAGE_PARTS = {
  "conv": lambda p, h: convolved(p, h, 4),
  "strided": lambda p, h: convolved(p, h, 3, (2, 2), window_strides=(2, 2)),
  "valid": lambda p, h: convolved(p, h, 3, (2, 1), padding="VALID"),
  "dilated": lambda p, h: convolved(p, h, 4, (2, 2), rhs_dilation=(2, 2)),
  "transposed": lambda p, h: convolved(
    p, h, 3, (2, 2), lhs_dilation=(2, 2), padding=((1, 1), (1, 1))
  )[:, :4, :4],
  "depthwise": lambda p, h: convolved(
    p, h, 2 * h.shape[-1], feature_group_count=h.shape[-1]
  ),
  "grouped": lambda p, h: convolved(p, convolved(p, h, 4), 6, feature_group_count=2),
  "residual": lambda p, h: h + convolved(p, jax.nn.relu(h), h.shape[-1]),
  "max pool": lambda _, h: pooled(h, lax.max, -jnp.inf, (2, 2), "SAME", (2, 2)),
  "padded max": lambda _, h: jnp.maximum(
    pooled(h, lax.max, -jnp.inf, (2, 1), ((0, 0), (2, 0), (0, 0), (0, 0))), -1
  ),
  "mean pool": lambda _, h: pooled(h, lax.add, 0.0, (2, 2), "SAME") / 4,
  "padded image": lambda _, h: jnp.pad(
    h, ((0, 0), (1, 0), (0, 0), (0, 1)), constant_values=0.4
  ),
  "squeezed": lambda p, h: (
    h * jax.nn.sigmoid(dense(p, h.mean((1, 2)), h.shape[-1]))[:, None, None]
  ),
}
HEADS = {
  "flat": lambda p, h: dense(p, h.reshape(h.shape[0], -1), 4),
  "mean": lambda _, h: h.mean((1, 2)),
  "max": lambda p, h: h.max((1, 2)) + p(h.shape[-1]),
  "channels first": lambda p, h: jnp.einsum(
    "ncs,csk->nk",
    jnp.moveaxis(h, -1, 1).reshape(h.shape[0], h.shape[-1], -1),
    p(h.shape[-1], h.shape[1] * h.shape[2], 3),
  ),
}


def compute(plan, p, x):
  """A network: parts in turn, each followed by an activation or none."""
  h = x
  outs = []
  for name, activation in plan["images"]:
    h = IMAGE_PARTS[name](p, h) if name in IMAGE_PARTS else PARTS[name](p, h)
    h = h if activation is None else ACTIVATIONS[activation](h)
  if plan["images"]:
    h = HEADS[plan["head"]](p, h)
  for name, activation in plan["parts"]:
    h = PARTS[name](p, h)
    h = h if activation is None else ACTIVATIONS[activation](h)
    if plan["every"]:
      outs.append(dense(p, h, 2))
  outs.append(dense(p, h, 2))
  return {"outs": outs, "constant": jnp.ones(2)}


def chain(names, n):
  activation = st.none() | st.integers(0, len(ACTIVATIONS) - 1)
  return st.lists(st.tuples(st.sampled_from(sorted(names)), activation), max_size=n)


# Those that mix channels are tried on pixels too.
ON_PIXELS = ("batch norm", "layer norm", "scan", "halves", "shuffled", "padded")
PLANS = st.fixed_dictionaries(
  {
    "images": st.just([]) | chain([*IMAGE_PARTS, *ON_PIXELS], 3),
    "head": st.sampled_from(sorted(HEADS)),
    "parts": chain(PARTS, 4),
    "every": st.booleans(),
    "seed": st.integers(0, 10**6),
  }
)


def network(plan):
  """A function, its params and two batches."""
  rng = np.random.default_rng(plan["seed"])
  shape = (4, 4, 2) if plan["images"] else (5,)
  few, many = (rng.normal(size=(n, *shape)) for n in (2, 3))
  made = Params(plan["seed"])
  compute(plan, made, few)
  params = made.leaves
  if rng.random() < 0.3:  # all at once
    params = {name: np.zeros_like(leaf) for name, leaf in params.items()}
    last = sorted(params)[-1]
    params[last] = made.leaves[last]

  def apply_fn(params, x):
    return compute(plan, Params(0, params), x)

  return apply_fn, params, few, many


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
