"""Attention in its many ways of writing, and the blocks around it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import gsm_optax
from tests.gsm_optax.shrink.zoo import assert_shrinks, numbers, randomised

pytestmark = pytest.mark.usefixtures("x64")


def attend(q, k, v):
  """Of (b, t, heads, size), by hand."""
  scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
  t = q.shape[1]
  causal = np.tril(np.ones((t, t), bool))
  shares = jax.nn.softmax(jnp.where(causal, scores, -1e30), -1)
  return jnp.einsum("bhqk,bkhd->bqhd", shares, v)


def rms_norm(scale, x):
  return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6) * scale


def test_nnx_multi_head_attention():
  attention = nnx.MultiHeadAttention(
    3, 5, 12, decode=False, rngs=nnx.Rngs(0), normalize_qk=False
  )
  graph, params, rest = nnx.split(attention, nnx.Param, ...)

  def apply_fn(params, x):
    return nnx.merge(graph, params, rest)(x)

  stays = ["out/kernel:2", "out/bias:0"]
  groups = assert_shrinks(apply_fn, randomised(params), numbers(2, 4, 5), stays=stays)
  sizes = sorted(group.size for group in groups.groups)
  # Heads, what queries and keys have in common, values, and the inputs.
  assert sizes == [3, 4, 4, 5]


def test_linen_multi_head_attention():
  model = linen.MultiHeadDotProductAttention(3, qkv_features=12, deterministic=True)
  x = numbers(2, 4, 5)
  params = randomised(jax.eval_shape(model.init, jax.random.key(0), x))
  stays = ["params/out/kernel:2", "params/out/bias:0"]
  assert_shrinks(model.apply, params, x, stays=stays)


@pytest.mark.parametrize("cut", ["split", "chunks", "reshape", "slices"])
def test_packed_queries_keys_and_values(cut):
  heads, size = 3, 4

  def apply_fn(params, x):
    qkv = x @ params["qkv"] + params["bias"]
    if cut == "split":
      parts = jnp.split(qkv, 3, -1)
    elif cut == "chunks":
      parts = qkv.reshape(*x.shape[:2], 3, heads * size)
      parts = [parts[:, :, number] for number in range(3)]
    elif cut == "reshape":
      parts = jnp.moveaxis(qkv.reshape(*x.shape[:2], 3, heads, size), 2, 0)
    else:
      parts = [qkv[..., at * 12 : at * 12 + 12] for at in range(3)]
    q, k, v = (part.reshape(*x.shape[:2], heads, size) for part in parts)
    return attend(q, k, v).reshape(*x.shape[:2], -1) @ params["out"]

  params = randomised({"qkv": (5, 36), "bias": (36,), "out": (12, 5)})
  groups = assert_shrinks(apply_fn, params, numbers(2, 4, 5), stays=["out:1"])
  sizes = sorted(g.size for g in groups.groups if ("qkv", 1) in g.members)
  assert sizes == ([3, 4, 4] if cut in ("split", "slices") else [3, 4])


@pytest.mark.parametrize("repeated", [True, False])
def test_grouped_queries_with_rotations(repeated):
  heads, pairs, size = 2, 2, 6

  def rotated(x):
    half = size // 2
    angles = np.arange(x.shape[1])[:, None] / 100.0 ** (np.arange(half) / half)
    sin, cos = (f(angles)[:, None] for f in (np.sin, np.cos))
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

  def apply_fn(params, x):
    b, t, _ = x.shape
    q = rotated((x @ params["q"]).reshape(b, t, heads * pairs, size))
    k = rotated((x @ params["k"]).reshape(b, t, heads, size))
    v = (x @ params["v"]).reshape(b, t, heads, size)
    if repeated:
      k, v = jnp.repeat(k, pairs, 2), jnp.repeat(v, pairs, 2)
      out = attend(q, k, v)
    else:
      q = q.reshape(b, t, heads, pairs, size)
      scores = jax.nn.softmax(jnp.einsum("bqhpd,bkhd->bhpqk", q, k), -1)
      out = jnp.einsum("bhpqk,bkhd->bqhpd", scores, v)
    return out.reshape(b, t, -1) @ params["out"]

  params = randomised({"q": (5, 24), "k": (5, 12), "v": (5, 12), "out": (24, 5)})
  groups = assert_shrinks(apply_fn, params, numbers(2, 4, 5), stays=["out:1"])
  turned = next(
    group
    for group in groups.groups
    if group.size == 3 and {("q", 1), ("k", 1)} == {*group.members}
  )
  # Both halves of a pair that is rotated are one unit.
  of_head = turned.members["k", 1][:size]
  np.testing.assert_array_equal(of_head[:3], of_head[3:])


def test_jax_nn_dot_product_attention():
  def apply_fn(params, x):
    q, k, v = (jnp.einsum("btd,dhe->bthe", x, params[name]) for name in "qkv")
    mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return jnp.einsum("bthe,hed->btd", mixed, params["out"])

  params = randomised({**dict.fromkeys("qkv", (5, 3, 4)), "out": (3, 4, 6)})
  assert_shrinks(apply_fn, params, numbers(2, 4, 5), stays=["out:2"], training=True)


@pytest.mark.parametrize("feed_forward", ["gelu", "swiglu", "packed swiglu"])
def test_a_transformer_with_tied_embeddings(feed_forward):
  width, heads, size, hidden = 6, 2, 3, 8
  packed = feed_forward == "packed swiglu"
  shapes = {"embedding": (7, width), "positions": (4, width), "last": (width,)}
  shapes |= {"n1": (width,), "n2": (width,), "down": (hidden, width)}
  shapes |= {"qkv": (width, 3, heads, size), "out": (heads, size, width)}
  shapes |= {"up": (width, 2 * hidden if packed else hidden), "gate": (width, hidden)}
  if feed_forward != "swiglu":
    del shapes["gate"]

  def apply_fn(params, tokens):
    x = params["embedding"][tokens] + params["positions"][: tokens.shape[1]]
    normal = rms_norm(params["n1"], x)
    q, k, v = jnp.unstack(jnp.einsum("btd,dchs->btchs", normal, params["qkv"]), axis=2)
    x = x + jnp.einsum("bths,hsd->btd", attend(q, k, v), params["out"])
    up = rms_norm(params["n2"], x) @ params["up"]
    if packed:
      gate, up = jnp.split(up, 2, -1)
      up = jax.nn.silu(gate) * up
    elif feed_forward == "swiglu":
      up = jax.nn.silu(rms_norm(params["n2"], x) @ params["gate"]) * up
    else:
      up = jax.nn.gelu(up)
    x = x + up @ params["down"]
    return rms_norm(params["last"], x) @ params["embedding"].T

  tokens = np.random.default_rng(0).integers(0, 7, (2, 4))
  # RMSNorm divides by the old number of features.
  stays = ["embedding:0", "positions:0", "qkv:1"]
  params = randomised(shapes)
  groups = assert_shrinks(apply_fn, params, tokens, stays=stays)
  assert groups.fixed["embedding", 0] in ("an output", "looked up by an index")
  stream = next(g for g in groups.groups if ("embedding", 1) in g.members)
  assert {("out", 2), ("down", 1), ("last", 0)} < {*stream.members}


@pytest.mark.parametrize("fast", [True, False])
def test_linen_layer_norm(fast):
  class Network(linen.Module):
    @linen.compact
    def __call__(self, x):
      x = linen.Dense(6)(x)
      x = x + linen.Dense(6)(
        linen.gelu(linen.Dense(8)(linen.LayerNorm(use_fast_variance=fast)(x)))
      )
      return linen.Dense(2)(linen.LayerNorm(use_fast_variance=fast)(x))

  model, x = Network(), numbers(3, 5)
  params = randomised(jax.eval_shape(model.init, jax.random.key(0), x))["params"]

  def apply_fn(params, x):
    return model.apply({"params": params}, x)

  stays = {"Dense_3/kernel:1", "Dense_3/bias:0"}
  if not fast:  # the mean of what differs from the mean is not of zeros
    stays |= {f"Dense_{n}/{p}" for n, p in [(0, "kernel:1"), (0, "bias:0")]}
    stays |= {f"Dense_1/{p}" for p in ("kernel:1", "bias:0")}
    stays |= {f"LayerNorm_{n}/{p}:0" for n in (0, 1) for p in ("scale", "bias")}
    stays |= {"Dense_2/kernel:0", "Dense_3/kernel:0"}
  groups = assert_shrinks(apply_fn, params, x, stays=stays)
  if not fast:
    assert groups.fixed["Dense_0/kernel", 1] == "summed while not zero: sub"


@pytest.mark.parametrize("rematerialised", [True, False])
def test_blocks_under_scan(rematerialised):
  layers, width, heads, size, hidden = 3, 6, 2, 3, 8
  shapes = {"into": (5, width), "head": (width, 4), "layers": {}}
  shapes["layers"] = {
    "n1": (layers, width),
    "qkv": (layers, width, 3 * heads * size),
    "out": (layers, heads * size, width),
    "n2": (layers, width),
    "up": (layers, width, hidden),
    "up_bias": (layers, hidden),
    "down": (layers, hidden, width),
  }

  def block(x, params):
    b, t, _ = x.shape
    parts = jnp.split(rms_norm(params["n1"], x) @ params["qkv"], 3, -1)
    q, k, v = (part.reshape(b, t, heads, size) for part in parts)
    x = x + attend(q, k, v).reshape(b, t, -1) @ params["out"]
    up = rms_norm(params["n2"], x) @ params["up"] + params["up_bias"]
    return x + jax.nn.gelu(up) @ params["down"], None

  if rematerialised:
    block = jax.checkpoint(block)

  def apply_fn(params, x):
    x, _ = jax.lax.scan(block, x @ params["into"], params["layers"])
    return x @ params["head"]

  stays = ["head:1", *(f"layers/{name}:0" for name in shapes["layers"])]
  params = randomised(shapes)
  groups = assert_shrinks(
    apply_fn, params, numbers(2, 4, 5), stays=stays, training=rematerialised
  )
  assert groups.fixed["layers/up", 0] == "layers of a scan"


def test_vmapped_heads_share_their_positions():
  def apply_fn(params, x):
    def head(q, k, v, out):
      scores = jax.nn.softmax((x @ q) @ jnp.swapaxes(x @ k, -1, -2), -1)
      return scores @ (x @ v) @ out

    return jax.vmap(head)(*(params[name] for name in ("q", "k", "v", "out"))).sum(0)

  params = randomised({**dict.fromkeys("qkv", (3, 5, 4)), "out": (3, 4, 5)})
  groups = assert_shrinks(apply_fn, params, numbers(2, 4, 5), stays=["out:2"])
  assert sorted(group.size for group in groups.groups) == [3, 4, 4, 5]


def test_one_head_at_a_time_is_what_a_mask_can_ask_for():
  def apply_fn(params, x):
    q, k, v = (jnp.einsum("btd,dhe->bthe", x, params[name]) for name in "qkv")
    return jnp.einsum("bthe,hed->btd", attend(q, k, v), params["out"])

  params = randomised({**dict.fromkeys("qkv", (5, 3, 4)), "out": (3, 4, 5)})
  keep = jax.tree.map(lambda p: np.ones(p.shape, bool), params)
  for name in "qkv":
    keep[name][:, 1] = False
  keep["out"][1] = False
  small = gsm_optax.shrink(apply_fn, params, numbers(2, 4, 5), keep=keep)
  after = {leaf.path: leaf.after for leaf in small.leaves}
  assert after == {**dict.fromkeys("qkv", (5, 2, 4)), "out": (2, 4, 5)}
