"""Results as `experiments.paper` commits them, with numbers made up."""

import json

from experiments.configs import recipes
from experiments.configs.recipe import changed, describe
from experiments.studies import studies

NESTED = describe(
  changed(
    recipes()["lenet300-mnist"], {"gsm.epochs": 4, "gsm.schedule.warmup_epochs": 1}
  )
)
"""The numbers of a run as they are committed today."""

FLAT = {
  "dataset": "mnist",
  "model": "lenet300",
  "density": 1 / 60,
  "seed": 0,
  "batch_size": 256,
  "held_out": 0,
  "drops": [2 / 3, 5 / 6],
  "base_epochs": 40,
  "base_learning_rate": 0.03,
  "base_momentum": 0.9,
  "base_weight_decay": 0.0,
  "gsm_epochs": 4,
  "learning_rate": 0.03,
  "warmup_epochs": 1,
  "momentum": 0.99,
  "weight_decay": 5e-4,
  "start_density": None,
  "density_epochs": 0,
  "active_share": 1.0,
  "passive_weight_decay": None,
  "nesterov": True,
  "schedule": "drops",
  "input_shift": 0,
  "smoothing": None,
  "fixed_after": None,
  "evaluate_every": 5,
}
"""The same as they were in version 0.1."""

CONFIGS = {"nested": NESTED, "flat": FLAT}

LAYERS = [
  {"path": "dense1/kernel", "size": 1000, "kept": 10, "density": 0.01},
  {"path": "dense2/kernel", "size": 100, "kept": 20, "density": 0.2},
]
WAY = {"one_shot_accuracy": 50.0, "retrained_accuracy": 97.0, "layers": LAYERS}


def results_of(entry, config=NESTED):
  """What the entry's job writes; accuracies grow by 0.1 with the seed."""
  seed = int(entry.name.rsplit("-", 1)[1])
  config = {**config, "a_field_that_is_gone": 1}
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
    **({"reestimated_accuracy": 97.25} if entry.recipe.reestimate else {}),
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


def write_results(folder, entries=None, config=NESTED):
  """Writes what is committed of the entries, by default of all of MNIST."""
  for entry in studies()["mnist"].entries if entries is None else entries:
    target = folder / entry.name
    target.mkdir(parents=True)
    (target / "results.json").write_text(json.dumps(results_of(entry, config)))
    records = [record_of("base", 40), *(record_of("gsm", n) for n in range(1, 5))]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (target / "metrics.jsonl").write_text(lines)
