"""What pruned networks weigh on disk, and how long they take on this CPU.

    pip install jax2onnx onnxruntime safetensors scipy
    OPENBLAS_NUM_THREADS=1 python -m experiments.benchmarks.deploy --seconds 1.5

NumPy has one thread: those that it keeps spinning and XLA's would share two cores, and
small products take a hundred times longer then. The networks are those in
`experiments/results/networks`, files of `gsm_optax.save`.

    python -m experiments.benchmarks.deploy --add RUN_FOLDER NAME

adds one, from a finished run. The results are `experiments/results/deploy`.
"""

import importlib
import io
import json
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gsm_optax
from experiments import models
from experiments.run.errors import RunError
from experiments.run.files import write_json
from experiments.run.finished import finished
from experiments.run.surroundings import surroundings
from experiments.run.timing import side_by_side
from experiments.studies.results import RESULTS

NETWORKS = RESULTS / "networks"

BATCHES = (1, 32, 1000)
"""Images at once."""

PACKAGES = ("jax2onnx", "onnxruntime", "safetensors", "scipy")

KEPT = (
  *("preset", "model", "dataset", "seed", "compression_ratio", "pruned_accuracy"),
  *("config", "device", "versions", "git_commit"),
)
"""Of a run's results."""

SHAPES = {"digits": [8, 8, 1], "mnist": [28, 28, 1]}
"""Of the images; older results lack them."""


class Network(NamedTuple):
  """A pruned network.

  Attributes:
    about: of its run.
    weights: its params, and statistics.
    apply_fn: ``(weights, images) -> logits``.
  """

  about: dict[str, Any]
  weights: Any
  apply_fn: Callable[[Any, jax.Array], jax.Array]

  def images(self, batch: int) -> np.ndarray:
    """Noise: nothing here takes longer for some images than for others."""
    shape = (batch, *self.about["image_shape"])
    return np.random.default_rng(0).random(shape, np.float32)


def add(run: Path, name: str) -> None:
  """Puts the pruned network of a finished run among the others."""
  done = finished(run, "--add")
  weights = {"params": done.weights("pruned_params"), "batch_stats": {}}
  if (run / "batch_stats").is_dir():
    weights["batch_stats"] = done.weights("batch_stats")
  NETWORKS.mkdir(parents=True, exist_ok=True)
  gsm_optax.save(NETWORKS / f"{name}.npz", weights)
  about = {key: done.results[key] for key in KEPT}
  about["image_shape"] = SHAPES[about["dataset"]]
  write_json(NETWORKS / f"{name}.json", about)


def load(name: str) -> Network:
  """One of the networks."""
  about = json.loads((NETWORKS / f"{name}.json").read_text())
  weights = gsm_optax.load(NETWORKS / f"{name}.npz")
  shape = tuple(about["image_shape"])
  model = models.load(
    about["model"], shape, 10, about["config"]["model"].get("options")
  )

  def apply_fn(weights: Any, images: jax.Array) -> jax.Array:
    return model.infer(weights["params"], weights["batch_stats"], images)

  return Network(about, weights, apply_fn)


def bytes_on_disk(weights: Any, small: Any) -> dict[str, int]:
  """Of each way to save the weights, and the shrunken ones."""
  safetensors = importlib.import_module("safetensors.numpy")
  leaves = {
    jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights)
  }
  compressed = io.BytesIO()
  writer: Any = np.savez_compressed
  writer(compressed, **leaves)
  masked: dict[str, np.ndarray] = {}
  for name, leaf in leaves.items():
    masked[f"{name}.mask"] = np.packbits(leaf != 0)
    masked[f"{name}.values"] = leaf[leaf != 0]
  return {
    "safetensors": len(safetensors.save(leaves)),
    "numpy.savez_compressed": len(compressed.getvalue()),
    "safetensors, with bit masks": len(safetensors.save(masked)),
    "gsm_optax.save": _saved(weights),
    "shrunk, gsm_optax.save": _saved(small),
  }


def _saved(weights: Any) -> int:
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "params.npz"
    gsm_optax.save(path, weights)
    return path.stat().st_size


Runs = dict[str, Callable[[], Any]]


def runs(network: Network, small: gsm_optax.Small, batch: int) -> Runs:
  """Each way to compute the logits of a batch."""
  images = network.images(batch)
  on_device = jnp.asarray(images)
  dense, shrunk = jax.jit(network.apply_fn), jax.jit(small.apply_fn)
  weights, fewer = (
    jax.tree.map(jnp.asarray, tree) for tree in (network.weights, small.params)
  )
  result: Runs = {
    "JAX": lambda: dense(weights, on_device),
    "JAX, shrunk": lambda: shrunk(fewer, on_device),
    "ONNX Runtime": _onnx(lambda x: network.apply_fn(network.weights, x), images),
    "ONNX Runtime, shrunk": _onnx(lambda x: small.apply_fn(small.params, x), images),
  }
  layers = network.weights["params"]
  if all(np.ndim(layer["kernel"]) == 2 for layer in layers.values()):
    sparse: Any = importlib.import_module("scipy.sparse")
    # A sparse matrix goes to the left: y' = W' x'.
    rows = [sparse.csr_array(layer["kernel"].T) for layer in layers.values()]
    biases = [layer["bias"] for layer in layers.values()]
    kernels = [layer["kernel"] for layer in layers.values()]
    flat = images.reshape(batch, -1)
    result["NumPy"] = lambda: perceptron(flat, kernels, biases, lambda x, w: x @ w)
    result["SciPy, CSR"] = lambda: perceptron(
      flat, rows, biases, lambda x, w: (w @ x.T).T
    )
  check(result)
  return result


def perceptron(
  x: np.ndarray,
  kernels: Sequence[Any],
  biases: Sequence[np.ndarray],
  times: Callable[[Any, Any], Any],
) -> np.ndarray:
  """A multilayer perceptron's logits."""
  last = len(kernels) - 1
  for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
    x = times(x, kernel) + bias
    if i < last:
      x = np.maximum(x, 0)
  return x


def _onnx(function: Callable[[Any], Any], images: np.ndarray) -> Callable[[], Any]:
  jax2onnx, onnxruntime = (
    importlib.import_module(name) for name in ("jax2onnx", "onnxruntime")
  )
  function(jnp.asarray(images))  # while tracing it swaps functions that `shrink` needs
  shape = jax.ShapeDtypeStruct(images.shape, jnp.float32)
  model = jax2onnx.to_onnx(function, [shape])
  session = onnxruntime.InferenceSession(
    model.SerializeToString(), providers=["CPUExecutionProvider"]
  )
  (name,) = (each.name for each in session.get_inputs())
  return lambda: session.run(None, {name: images})[0]


def check(runs: Runs) -> None:
  """Raises an AssertionError if two ways differ by more than rounding."""
  outputs = {name: np.asarray(run()) for name, run in runs.items()}
  expected = outputs["JAX"]
  for name, output in outputs.items():
    np.testing.assert_allclose(
      output, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max(), err_msg=name
    )


def measure(name: str, seconds: float) -> dict[str, Any]:
  """Bytes and times of a network; JSON."""
  network = load(name)
  small = gsm_optax.shrink(
    network.apply_fn, network.weights, jnp.asarray(network.images(1))
  )
  times = {
    str(batch): side_by_side(runs(network, small, batch), seconds, most=2000, turn=2e-3)
    for batch in BATCHES
  }
  shown = ("preset", "compression_ratio", "pruned_accuracy")
  about = {key: network.about[key] for key in shown}
  return {
    **about,
    "numbers": list(small.weights),
    "multiply_adds": list(small.multiply_adds),
    "bytes": bytes_on_disk(network.weights, small.params),
    "seconds": times,
  }


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  parser = ArgumentParser(prog="python -m experiments.benchmarks.deploy")
  parser.add_argument("--add", nargs=2, metavar=("RUN_FOLDER", "NAME"))
  parser.add_argument("--seconds", type=float, default=3.0, help="for each time (3)")
  default = RESULTS / "deploy"
  parser.add_argument("--out", type=Path, default=default, help="a folder")
  options = parser.parse_args(arguments)
  if options.add:
    run, name = options.add
    try:
      add(Path(run), name)
    except RunError as error:
      sys.exit(f"error: {error}")
    return
  names = sorted(path.stem for path in NETWORKS.glob("*.npz"))
  networks = {name: measure(name, options.seconds) for name in names}
  versions = {name: version(name) for name in PACKAGES}
  options.out.mkdir(parents=True, exist_ok=True)
  write_json(
    options.out / "deploy.json",
    {
      **surroundings(),
      "config": {"seconds": options.seconds, "batches": list(BATCHES)},
      "packages": versions,
      "networks": networks,
    },
  )
  print(json.dumps(networks, indent=2))


if __name__ == "__main__":
  main()
