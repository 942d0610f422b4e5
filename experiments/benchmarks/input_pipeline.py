"""How many images a second are read from JPEGs, decoded and cropped for training.

    python -m experiments.benchmarks.input_pipeline --data-dir FOLDER

By no worker process, one, two, four and so on up to the number of cores, as an epoch of
`experiments.datasets.imagenet` does it, with its random crops to 224×224. Next to it is
how many such cores one H100 would keep busy by training a ResNet-50, according to
`experiments/results/gpu-graphs`.

Without a folder on JPEGs of noise, of the size that ImageNet's have in the mean, in
pixels (500×375) as in bytes (110 kB). They stay in memory: no disk is measured.
"""

import itertools
import json
import math
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from PIL import Image
from rich.console import Console
from rich.table import Table

from experiments.datasets.dataset import DataError
from experiments.datasets.imagenet import load
from experiments.run.files import write_json
from experiments.run.surroundings import surroundings

TRAINING = Path(__file__).parents[1] / "results" / "gpu-graphs" / "gpu.json"
"""Holds the time of a training step of ResNet-50 on an H100."""
DIFFERENT = 256
"""Generated images; there are further names for the same files."""


@dataclass(frozen=True)
class Benchmark:
  """What to measure."""

  data_dir: Path | None = None
  """Folder of train/CLASS/*.JPEG; images are generated where it is not given."""
  workers: tuple[int, ...] = ()
  """Numbers of worker processes; by default 0, 1, 2, 4 and so on up to all cores."""
  batch_size: int = 32
  batches: int = 4
  """Per worker and timing."""
  repeats: int = 5
  """Timings, of which the median counts; the images go on where the last one ended."""
  out: Path = Path("experiments/results/input")
  """Folder for input.json."""

  def images(self, workers: int) -> int:
    """How many are read, with those before the first timing."""
    return self.batch_size * max(workers, 1) * (1 + self.batches * self.repeats)


def noise(rng: np.random.Generator) -> Image.Image:
  """An image of 500×375 with details of all sizes.

  The small ones are just so faint that a JPEG of quality 95 has 110 kB.
  """
  pixels = np.zeros((375, 500, 3), np.float32)
  weights = 1.05 ** np.arange(8)
  for octave, weight in enumerate(weights / weights.sum()):
    shape = (375 // 2**octave, 500 // 2**octave, 3)
    coarse = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
    pixels += weight * np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC))
  return Image.fromarray(pixels.astype(np.uint8))


def generate(folder: Path, images: int) -> None:
  """Fills a folder with one class of training images."""
  rng = np.random.default_rng(0)
  by_class = folder / "train" / "noise"
  by_class.mkdir(parents=True)
  for number in range(images):
    path = by_class / f"{number}.JPEG"
    if number < DIFFERENT:
      noise(rng).save(path, quality=95)
    else:
      os.link(by_class / f"{number % DIFFERENT}.JPEG", path)


def measure(folder: Path, workers: int, benchmark: Benchmark) -> list[float]:
  """Images per second in each timing."""
  # One is held out, since test images are not needed then.
  data = load(folder, held_out=1, workers=workers)
  if data.train_size < benchmark.images(workers):
    raise DataError(
      f"{data.train_size} training images are not enough for {workers} workers: use"
      f" more than {benchmark.images(workers)}, or fewer --batches or --repeats."
    )
  batches = iter(data.epoch(jax.random.key(0), benchmark.batch_size))
  together = max(workers, 1)
  # All workers start at once and take turns: when each has given a batch, all are at
  # their second one.
  for _ in itertools.islice(batches, together):
    pass
  rates: list[float] = []
  for _ in range(benchmark.repeats):
    start = time.perf_counter()
    for _ in itertools.islice(batches, together * benchmark.batches):
      pass
    images = together * benchmark.batches * benchmark.batch_size
    rates.append(images / (time.perf_counter() - start))
  return rates


def training_rate() -> float:
  """Images per second that one H100 trains a ResNet-50 with, by SGD."""
  step = json.loads(TRAINING.read_text())["step"]
  if step["model"] != "resnet50":
    raise DataError(f"{TRAINING} is about {step['model']}: measure resnet50 again.")
  return step["batch_size"] / step["seconds"]["SGD"]


def doubled(cores: int) -> tuple[int, ...]:
  """0, 1, 2, 4 and so on, and the number of cores."""
  powers = [2**n for n in range(cores.bit_length())]
  return (0, *sorted({*powers, cores}))


def main() -> None:
  """The command line."""
  benchmark = tyro.cli(
    Benchmark,
    prog="python -m experiments.benchmarks.input_pipeline",
    description=__doc__,
  )
  if min(benchmark.batch_size, benchmark.batches, benchmark.repeats) < 1:
    sys.exit("error: --batch-size, --batches and --repeats must be at least 1.")
  if min(benchmark.workers, default=0) < 0:
    sys.exit("error: --workers must not be negative.")
  about = surroundings()
  about["versions"] |= {name: version(name) for name in ("grain", "pillow")}
  numbers = benchmark.workers or doubled(about["device"]["cpu_cores"] or 1)
  with ExitStack() as stack:
    folder = benchmark.data_dir
    if folder is None:
      folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
      generate(folder, benchmark.images(max(numbers)) + 1)
    try:
      wanted = training_rate()
      timings = {number: measure(folder, number, benchmark) for number in numbers}
    except DataError as error:
      sys.exit(f"error: {error}")
  rows: list[dict[str, Any]] = []
  for number, rates in timings.items():
    rate = statistics.median(rates)
    row = {"workers": number, "images_per_second": rate}
    rows.append(row | {"per_core": rate / max(number, 1), "timings": rates})
  best = max(rows, key=lambda row: row["images_per_second"])
  h100 = {
    "images_per_second": wanted,
    "cores_to_feed_it": math.ceil(wanted / best["per_core"]),
  }
  table = Table("workers", "images/s", "images/s per core")
  for row in rows:
    figures = (row["workers"], row["images_per_second"], row["per_core"])
    table.add_row(*(f"{figure:.0f}" for figure in figures))
  console = Console()
  console.print(table)
  console.print(
    f"An H100 trains a ResNet-50 on {wanted:.0f} images/s: {h100['cores_to_feed_it']}"
    " such cores."
  )
  config = asdict(benchmark) | {"workers": numbers, "out": str(benchmark.out)}
  del config["data_dir"]  # says nothing to others
  config["generated"] = benchmark.data_dir is None
  benchmark.out.mkdir(parents=True, exist_ok=True)
  results = {"rows": rows, "resnet50_on_h100": h100, "config": config, **about}
  write_json(benchmark.out / "input.json", results)
  console.print(f"Written to {benchmark.out / 'input.json'}")


if __name__ == "__main__":
  main()
