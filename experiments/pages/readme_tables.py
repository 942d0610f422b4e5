"""What the README shows of the results: one table, and the speed in three numbers."""

import json
from typing import Any

from experiments.markdown import table
from experiments.studies.results import RESULTS, Results, mean, of_all_seeds, read

NETWORKS = (
  ("LeNet-300-100, MNIST", "60×", "98.19 → 98.18", "mnist", "lenet300-fast"),
  ("LeNet-300-100, MNIST", "150×", "", "mnist", "lenet300-150x"),
  ("LeNet-5, MNIST", "125×", "99.21 → 99.22", "mnist", "lenet5-125x-fast"),
  ("LeNet-5, MNIST", "300×", "99.21 → 99.06", "mnist", "lenet5-300x-fast"),
  ("LeNet-5, MNIST", "500×", "", "mnist", "lenet5-far"),
  ("ResNet-56, CIFAR-10", "10×", "94.05 → 93.80", "cifar10_paper", "resnet56-10x"),
)
"""Network, compression, what the paper has, and the study and entry here."""


def readme_results() -> str:
  """Each network as the paper has it, and as it is here."""
  studies: dict[str, Results] = {}
  rows: list[list[str]] = []
  for network, size, paper, study, entry in NETWORKS:
    results = studies.setdefault(study, read(RESULTS / study))
    runs = of_all_seeds(results, entry)
    here = f"**{mean(runs, 'pruned_accuracy'):.2f}**"
    base = mean(runs, "base_accuracy")
    if base > 20:  # else it begins with an untrained network
      here = f"{base:.2f} → {here}"
    rows.append([network, size, paper, f"{here} ({_seeds(len(runs))})"])
  return table(["network", "size", "paper", "here"], rows)


def _seeds(number: int) -> str:
  return f"{number} seeds" if number > 1 else "1 seed"


def readme_speed() -> str:
  """What a step of training costs on a CPU and a GPU, and an update for each weight."""
  cpu, gpu, selection = (
    json.loads((RESULTS / folder / f"{file}.json").read_text())
    for folder, file in (
      *(("step", "step"), ("gpu-graphs", "gpu")),
      ("selection", "selection"),
    )
  )
  rows = {row["model"]: row["ratio_to_sgd"] for row in cpu["rows"]}
  largest = max(selection["rows"], key=lambda row: row["weights"])
  nanoseconds = 1e9 * largest["seconds"]["keep_top_saliency"] / largest["weights"]
  clip, top_k = "SGD with clip_by_global_norm", "GSM by lax.top_k"
  small, deep = rows["lenet300"], rows["resnet20"]
  step = gpu["step"]["ratio_to_sgd"]
  ours = "gsm_optax.gsm"

  def against(ratios: dict[str, float]) -> list[str]:
    return [f"{ratios[name]:.2f}" for name in (ours, clip, top_k)]

  rows_of_table = [
    [f"LeNet-300-100, {_processor(cpu)}", *against(small)],
    [f"ResNet-20, {_processor(cpu)}", *against(deep)],
    [f"ResNet-50, {gpu['device']['kind']}", *against(step)],
  ]
  headings = ["", "`gsm`", "clipping by the global norm", "GSM by `lax.top_k`"]
  return "\n".join(
    [
      "A step of training, in steps of SGD:",
      "",
      table(headings, rows_of_table),
      "",
      f"The update of {largest['weights']:,} weights takes {nanoseconds:.1f} ns a"
      f" weight on {_processor(selection)}.",
    ]
  )


def _processor(results: dict[str, Any]) -> str:
  device = results["device"]
  return f"{device['kind']}, {device['cpu_cores']} cores"
