"""A decoder-only transformer as language models have it: RMSNorm, rotary, SwiGLU."""

import jax
import jax.numpy as jnp
from flax import nnx


class Attention(nnx.Module):
  """Causal attention of several heads, with rotary positions.

  Args:
    width: features of a token.
    heads: they share the width.
    rngs: of the initial weights.
  """

  def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
    if width % (2 * heads):
      raise ValueError(f"{heads} heads of even width do not fit into {width} features")
    self.heads = heads
    self.query = nnx.Linear(width, width, use_bias=False, rngs=rngs)
    self.key = nnx.Linear(width, width, use_bias=False, rngs=rngs)
    self.value = nnx.Linear(width, width, use_bias=False, rngs=rngs)
    self.out = nnx.Linear(width, width, use_bias=False, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Of (batch, length, width) as much."""
    split = (*x.shape[:-1], self.heads, x.shape[-1] // self.heads)
    query, key, value = (
      layer(x).reshape(split) for layer in (self.query, self.key, self.value)
    )
    mixed = jax.nn.dot_product_attention(
      rotated(query), rotated(key), value, is_causal=True
    )
    return self.out(mixed.reshape(x.shape))


def rotated(x: jax.Array) -> jax.Array:
  """Turns pairs of features (batch, length, heads, d) by angles that grow with place.

  Su et al., `RoFormer <https://arxiv.org/abs/2104.09864>`_, 2021.
  """
  length, half = x.shape[1], x.shape[-1] // 2
  angles = jnp.outer(jnp.arange(length), 1e4 ** -(jnp.arange(half) / half))
  cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
  a, b = x[..., :half], x[..., half:]
  return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


class SwiGLU(nnx.Module):
  """The gated layer of Shazeer, `GLU variants <https://arxiv.org/abs/2002.05202>`_.

  Args:
    width: features of a token.
    hidden: units within.
    rngs: of the initial weights.
  """

  def __init__(self, width: int, hidden: int, rngs: nnx.Rngs):
    self.gate = nnx.Linear(width, hidden, use_bias=False, rngs=rngs)
    self.up = nnx.Linear(width, hidden, use_bias=False, rngs=rngs)
    self.down = nnx.Linear(hidden, width, use_bias=False, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Of (…, width) as much."""
    return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class Block(nnx.Module):
  """Attention and a gated layer, each added to what it is given.

  Args:
    width: features of a token.
    heads: of the attention.
    hidden: units of the gated layer.
    rngs: of the initial weights.
  """

  def __init__(self, width: int, heads: int, hidden: int, rngs: nnx.Rngs):
    self.attention_norm = nnx.RMSNorm(width, rngs=rngs)
    self.attention = Attention(width, heads, rngs)
    self.mlp_norm = nnx.RMSNorm(width, rngs=rngs)
    self.mlp = SwiGLU(width, hidden, rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Of (batch, length, width) as much."""
    x += self.attention(self.attention_norm(x))
    return x + self.mlp(self.mlp_norm(x))


class Transformer(nnx.Module):
  """Logits of the next token at each place.

  Args:
    num_tokens: the size of the vocabulary.
    rngs: of the initial weights.
    depth: number of blocks.
    width: features of a token.
    heads: of each attention.
    hidden: units of each gated layer.
  """

  def __init__(
    self,
    num_tokens: int,
    rngs: nnx.Rngs,
    depth: int = 4,
    width: int = 128,
    heads: int = 4,
    hidden: int = 384,
  ):
    self.embedding = nnx.Embed(num_tokens, width, rngs=rngs)
    blocks = [Block(width, heads, hidden, rngs) for _ in range(depth)]
    self.blocks = nnx.List(blocks)
    self.norm = nnx.RMSNorm(width, rngs=rngs)
    self.head = nnx.Linear(width, num_tokens, use_bias=False, rngs=rngs)

  def __call__(self, tokens: jax.Array) -> jax.Array:
    """Of tokens, int32 (batch, length), logits (batch, length, num_tokens)."""
    x = self.embedding(tokens)
    for block in self.blocks:
      x = block(x)
    return self.head(self.norm(x))


def build(
  shape: tuple[int, ...],
  num_classes: int,
  rngs: nnx.Rngs,
  depth: int = 4,
  width: int = 128,
  heads: int = 4,
  hidden: int = 384,
) -> Transformer:
  """A transformer for texts of any length; 0.92 million weights as it stands.

  Args:
    shape: unused.
    num_classes: the size of the vocabulary.
    rngs: of the initial weights.
    depth: number of blocks.
    width: features of a token.
    heads: of each attention.
    hidden: units of each gated layer.
  """
  del shape
  return Transformer(num_classes, rngs, depth, width, heads, hidden)
