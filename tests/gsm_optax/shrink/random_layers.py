"""Layers that random networks are put together from, each of `(p, h)`.

``p(*shape)`` makes a leaf of the params, see `random_networks.Params`; ``h`` has the
features on its last axis.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


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
