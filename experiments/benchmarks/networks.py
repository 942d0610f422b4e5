"""The passes that the search takes on true gradients of networks at their start.

The networks have the kernels of `experiments.benchmarks.shapes` and nothing else: they
normalise without scales, and add no biases. Weights are initial, data is random.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import gsm_optax
from experiments.benchmarks.shapes import NETWORKS, Shape

Kernels = Sequence[jax.Array]

_HEAD = 64
"""Width of an attention head."""


def passes_of(network: str, density: float, batches: int) -> list[int]:
  """The passes of so many batches, each from the threshold of the one before."""
  rng = np.random.default_rng(0)
  shapes = NETWORKS[network]
  weights = [jnp.asarray(kernel) for kernel in initial_kernels(shapes, rng)]
  selection = gsm_optax.keep_top_saliency(density, prunable=True)

  @jax.jit
  def step(batch: Any, state: Any) -> Any:
    _, state = selection.update(jax.grad(loss_of)(weights, *batch), state, weights)
    return state

  state, counted = selection.init(weights), list[int]()
  for _ in range(batches + 1):
    state: Any = step(random_batch(network, rng), state)
    counted.append(int(state.passes))
  return counted[1:]


def initial_kernels(
  shapes: list[Shape], rng: np.random.Generator
) -> Iterator[np.ndarray]:
  """As He et al. for convolutions, as GPT-2 for embeddings, else 1 / fan-in."""
  for i, shape in enumerate(shapes):
    fan_in = math.prod(shape[:-1])
    scale = math.sqrt((2 if len(shape) == 4 else 1) / fan_in)
    if i == 0 and len(shape) == 2:
      scale = 0.02
    yield rng.normal(size=shape).astype(np.float32) * np.float32(scale)


def random_batch(network: str, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
  """Few images, of 32 × 32 or 64 × 64, or few tokens, which follow Zipf's law."""
  first, last = NETWORKS[network][0], NETWORKS[network][-1]
  if len(first) == 4:
    number, side = (32, 32) if last[1] == 10 else (16, 64)
    images = rng.normal(size=(number, side, side, 3)).astype(np.float32)
    return images, rng.integers(0, last[1], number)
  vocabulary = first[0]
  shares = 1 / np.arange(1, vocabulary + 1)
  tokens = rng.choice(vocabulary, (4, 65), p=shares / shares.sum())
  return tokens[:, :-1], tokens[:, 1:]


def loss_of(kernels: Kernels, inputs: jax.Array, labels: jax.Array) -> jax.Array:
  """The mean cross-entropy of the network that these kernels make."""
  if kernels[0].ndim == 2:
    logits = _transformer(kernels, inputs)
  elif kernels[0].shape[0] == 7:
    logits = _resnet50(kernels, inputs)
  else:
    logits = _cifar_resnet(kernels, inputs)
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _normalise(x: jax.Array, axes: int | tuple[int, ...]) -> jax.Array:
  return jax.nn.standardize(x, axes, epsilon=1e-5)


def _conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
  layout = ("NHWC", "HWIO", "NHWC")
  x = lax.conv_general_dilated(
    x, kernel, (stride, stride), "SAME", dimension_numbers=layout
  )
  return _normalise(x, (0, 1, 2))


def _cifar_resnet(kernels: Kernels, x: jax.Array) -> jax.Array:
  *convolutions, dense = kernels
  x = jax.nn.relu(_conv(x, convolutions[0]))
  for first, second in zip(convolutions[1::2], convolutions[2::2], strict=True):
    wider = first.shape[3] - first.shape[2]
    stride = 2 if wider else 1
    inner = jax.nn.relu(_conv(x, first, stride))
    shortcut = jnp.pad(
      x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (wider // 2, wider // 2))
    )
    x = jax.nn.relu(shortcut + _conv(inner, second))
  return x.mean((1, 2)) @ dense


def _resnet50(kernels: Kernels, x: jax.Array) -> jax.Array:
  first, *convolutions, dense = kernels
  x = jax.nn.relu(_conv(x, first, 2))
  x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
  while convolutions:
    # A shortcut of its own is four times as wide as the kernel that follows it.
    projects = convolutions[0].shape[3] == 4 * convolutions[1].shape[3]
    stride = 2 if projects and convolutions[0].shape[2] > 64 else 1
    shortcut = _conv(x, convolutions.pop(0), stride) if projects else x
    narrow, middle, wide = convolutions[:3]
    del convolutions[:3]
    inner = jax.nn.relu(_conv(jax.nn.relu(_conv(x, narrow)), middle, stride))
    x = jax.nn.relu(shortcut + _conv(inner, wide))
  return x.mean((1, 2)) @ dense


def _transformer(kernels: Kernels, tokens: jax.Array) -> jax.Array:
  embedding, *layers = kernels
  width = embedding.shape[1]
  # One embedding for both ends, unless the last kernel leads to the vocabulary.
  tied = layers[-1].shape[1] == width
  unembedding = embedding.T if tied else layers.pop()
  fused = layers[0].shape[1] == 3 * width
  x = embedding[tokens]
  heads = (*tokens.shape, width // _HEAD, _HEAD)
  for i in range(0, len(layers), 4 if fused else 6):
    *attention, out, up, down = layers[i : i + (4 if fused else 6)]
    inner = _normalise(x, -1)
    projected = inner @ (attention[0] if fused else jnp.concatenate(attention, 1))
    q, k, v = (part.reshape(heads) for part in jnp.split(projected, 3, axis=-1))
    attended = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    x += attended.reshape(x.shape) @ out
    x += jax.nn.gelu(_normalise(x, -1) @ up) @ down
  return _normalise(x, -1) @ unembedding
