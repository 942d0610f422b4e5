"""Times how long it takes to find what can be removed from large networks.

    python -m experiments.benchmarks.shrink_time

On the CPU, of a ResNet-50 and of a transformer of 12 layers, with zeros in a third of
the columns of the matrices. A round walks through the function once, as
`channel_groups` does. `shrink` does so until nothing more is dead, and then compiles
and computes both functions. How many rounds the fixed point takes is a ratio of times
under Python's profiler, which tells it from the rest of `shrink`. The results are
`experiments/results/shrink-time`.
"""

import cProfile
import pstats
import statistics
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gsm_optax
from experiments import models
from experiments.run.files import write_json
from experiments.run.surroundings import surroundings

WIDTH, HIDDEN, HEADS, LAYERS, LENGTH, WORDS = 768, 3072, 12, 12, 128, 50257

Network = tuple[Callable[..., Any], Any, Any]
"""A function, its params and its input."""


def zeroed(shapes: Any, columns: Callable[[str], bool]) -> Any:
  """Random params, of which a third of the columns are zero."""
  rng = np.random.default_rng(0)

  def fill(path: Any, leaf: Any) -> Any:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if len(leaf.shape) < 2:
      return np.ones(leaf.shape, np.float32)
    array = rng.standard_normal(leaf.shape, np.float32) * 0.02
    if columns(name):
      array[..., rng.random(leaf.shape[-1]) < 1 / 3] = 0
    return array

  return jax.tree_util.tree_map_with_path(fill, shapes)


def resnet50() -> Network:
  """On one image of 224×224."""
  model = models.load("resnet50", (224, 224, 3), 1000, {})
  params, stats = jax.eval_shape(model.init, jax.random.key(0))
  shapes = {"params": params, "batch_stats": stats}

  def apply_fn(weights: Any, images: jax.Array) -> jax.Array:
    return model.infer(weights["params"], weights["batch_stats"], images)

  weights = zeroed(shapes, lambda name: "dense" not in name)
  return apply_fn, weights, jnp.zeros((1, 224, 224, 3))


def transformer() -> Network:
  """Like GPT-2, on one text of 128 words."""
  layer = {"qkv": (WIDTH, 3 * WIDTH), "out": (WIDTH, WIDTH), "scales": (2, WIDTH)}
  layer |= {"up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH), "bias": (HIDDEN,)}
  shapes = {"words": (WORDS, WIDTH), "places": (LENGTH, WIDTH)}
  tree = {**shapes, "layers": [layer] * LAYERS}
  params = jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
    tree,
    is_leaf=lambda each: isinstance(each, tuple),
  )

  def norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale

  def apply_fn(params: Any, words: jax.Array) -> jax.Array:
    x = params["words"][words] + params["places"]
    batch, length = words.shape
    for layer in params["layers"]:
      qkv = norm(x, layer["scales"][0]) @ layer["qkv"]
      heads = (batch, length, HEADS, WIDTH // HEADS)
      q, k, v = (each.reshape(heads) for each in jnp.split(qkv, 3, -1))
      mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
      x = x + mixed.reshape(x.shape) @ layer["out"]
      hidden = norm(x, layer["scales"][1]) @ layer["up"] + layer["bias"]
      x = x + jax.nn.gelu(hidden) @ layer["down"]
    return x @ params["words"].T

  weights = zeroed(params, lambda name: name.endswith(("qkv", "up")))
  return apply_fn, weights, jnp.zeros((1, LENGTH), jnp.int32)


def median(function: Callable[[], Any], repeats: int) -> float:
  """Seconds."""
  times: list[float] = []
  for _ in range(repeats):
    started = time.perf_counter()
    function()
    times.append(time.perf_counter() - started)
  return statistics.median(times)


def profiled(function: Callable[[], Any], names: Sequence[str]) -> float:
  """Seconds within the library's functions of these names, and all that they call."""
  profile = cProfile.Profile()
  profile.runcall(function)
  stats: Any = pstats.Stats(profile)
  return sum(
    times[3]
    for (file, _, name), times in stats.stats.items()
    if name in names and "gsm_optax" in Path(file).parts
  )


def measure(network: Network, repeats: int) -> dict[str, Any]:
  """Times of one network."""
  apply_fn, params, inputs = network
  small = gsm_optax.shrink(apply_fn, params, inputs)
  once = median(lambda: gsm_optax.channel_groups(apply_fn, params, inputs), repeats)
  shrunk = median(lambda: gsm_optax.shrink(apply_fn, params, inputs), repeats)
  round_seconds, point_seconds = (
    statistics.median(profiled(call, names) for _ in range(repeats))
    for call, names in (
      (lambda: gsm_optax.channel_groups(apply_fn, params, inputs), ["channel_groups"]),
      (lambda: gsm_optax.shrink(apply_fn, params, inputs), ["trace", "remove_dead"]),
    )
  )
  return {
    "units": list(small.units),
    "weights": list(small.weights),
    "multiply_adds": list(small.multiply_adds),
    "one_round_seconds": once,
    "shrink_seconds": shrunk,
    "rounds_to_fixed_point": point_seconds / round_seconds,
  }


NETWORKS: dict[str, Callable[[], Network]] = {
  "ResNet-50": resnet50,
  "transformer, 12 layers": transformer,
}


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  parser = ArgumentParser(prog="python -m experiments.benchmarks.shrink_time")
  parser.add_argument("--repeats", type=int, default=5, help="of each time (5)")
  default = Path("experiments/results/shrink-time/shrink.json")
  parser.add_argument("--out", type=Path, default=default)
  options = parser.parse_args(arguments)
  jax.config.update("jax_platforms", "cpu")  # pyright: ignore[reportUnknownMemberType]
  config = {"repeats": options.repeats}
  results: dict[str, Any] = {**surroundings(), "config": config}
  results["networks"] = {
    name: measure(make(), options.repeats) for name, make in NETWORKS.items()
  }
  options.out.parent.mkdir(parents=True, exist_ok=True)
  write_json(options.out, results)
  for name, found in results["networks"].items():
    print(f"{name}: {found}")


if __name__ == "__main__":
  main()
