"""Results as `experiments.paper` commits them, with numbers made up."""

import json
from dataclasses import asdict, replace

from experiments.configs import LENET300_MNIST
from experiments.paper import mnist_entries

LAYERS = [
  {"path": "dense1/kernel", "size": 1000, "kept": 10, "density": 0.01},
  {"path": "dense2/kernel", "size": 100, "kept": 20, "density": 0.2},
]
WAY = {"one_shot_accuracy": 50.0, "retrained_accuracy": 97.0, "layers": LAYERS}


def results_of(entry):
  """What the entry's job writes; accuracies grow by 0.1 with the seed."""
  seed = int(entry.name.rsplit("-", 1)[1])
  config = asdict(replace(LENET300_MNIST, gsm_epochs=4, warmup_epochs=1))
  config |= {"a_field_that_is_gone": 1}
  common = {"seed": seed, "base_accuracy": 98.0 + seed / 10, "config": config}
  if entry.job == "magnitude":
    return {**common, "global": WAY, "uniform": WAY}
  common |= {"layers": LAYERS, "density": 0.03, "compression_ratio": 60.0}
  if entry.job == "tickets":
    return {
      **common,
      "ticket_accuracy": 97.0 + seed / 10,
      "reinitialised_accuracy": 60.0,
      "shuffled_accuracy": 40.0,
      "wall_seconds": {"ticket": 30.0},
    }
  return {
    **common,
    "num_kept": 30,
    "gsm_accuracy": 97.5,
    "pruned_accuracy": 97.0 + seed / 10,
    "wall_seconds": {"total": 120.0},
    "images_per_second": {"gsm": 1000},
  }


def record_of(phase, epoch):
  """An evaluation: a tenth of the weights below 1e-3 with every epoch of GSM."""
  gone = 10 * epoch if phase == "gsm" else 0
  counts = [0] * 84
  counts[0], counts[80] = gone, 100 - gone
  return {
    "phase": phase,
    "epoch": epoch,
    "pruned_accuracy": 90.0 + epoch,
    "median_magnitude": 10.0 ** -(epoch if phase == "gsm" else 0),
    "active_set_changed": 0.5 / (epoch + 1),
    "reactivated": 0.2 / (epoch + 1),
    "log10_magnitude": {"lowest": -20.0, "highest": 1.0, "counts": counts},
  }


def write_results(folder, entries=None):
  """Writes what is committed of the entries, by default of all."""
  for entry in mnist_entries() if entries is None else entries:
    target = folder / entry.name
    target.mkdir(parents=True)
    (target / "results.json").write_text(json.dumps(results_of(entry)))
    records = [record_of("base", 40), *(record_of("gsm", n) for n in range(1, 5))]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (target / "metrics.jsonl").write_text(lines)
