"""Runs of a second or two, and all that they give."""

import json

import numpy as np

from experiments.jobs import prune
from experiments.run.weights import load_weights

SHORT = ("--base.epochs", "1", "--gsm.epochs", "3", "--evaluate-every", "2")
WEIGHTS = ("base", "params", "pruned_params")


def run(folder, *flags, main=prune.main):
  main([*SHORT, "--out", str(folder), *flags])


def bits(folder):
  """All that a run gives but its times."""
  results = json.loads((folder / "results.json").read_text())
  for times in ("wall_seconds", "images_per_second", "git_commit"):
    results.pop(times, None)
  if results.get("shrunk"):
    del results["shrunk"]["seconds"]
    results["shrunk"].get("rounded", {}).pop("seconds", None)
  found = {"results": results, "metrics": (folder / "metrics.jsonl").read_text()}
  for name in WEIGHTS:
    leaves = load_weights(folder / name)
    found[name] = str(
      {key: array.tobytes().hex() for key, array in _flat(leaves).items()}
    )
  return found


def _flat(tree, prefix=""):
  if not isinstance(tree, dict):
    return {} if tree is None else {prefix: np.asarray(tree)}
  return {
    name: leaf
    for key, part in tree.items()
    for name, leaf in _flat(part, f"{prefix}/{key}").items()
  }
