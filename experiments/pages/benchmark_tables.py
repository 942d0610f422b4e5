"""Tables of the benchmarks on a CPU."""

import statistics
from collections.abc import Sequence
from typing import Any

from experiments.markdown import table


def step_table(results: dict[str, Any]) -> str:
  """A Markdown table of ``step.json``: whole training steps, as ratios to SGD's."""
  rows: list[list[str]] = []
  for row in results["rows"]:
    ratios = row["ratio_to_sgd"]
    torch = ratios.get("PyTorch GSM by torch.topk")
    rows.append(
      [
        f"{row['model']}, {row['batch_size']}",
        f"{1e3 * row['seconds']['SGD']:.1f} ms",
        f"{ratios['SGD that waits for all gradients']:.2f} ×",
        f"{ratios['SGD with clip_by_global_norm']:.2f} ×",
        f"**{ratios['gsm_optax.gsm']:.2f} ×**",
        f"{ratios['GSM by lax.top_k']:.1f} ×",
        "" if torch is None else f"{torch:.1f} ×",
      ]
    )
  return table(
    [
      *("model, batch", "SGD", "SGD that waits for all gradients"),
      *("SGD with `optax.clip_by_global_norm`", "`gsm_optax.gsm`"),
      *("GSM by `lax.top_k`", "PyTorch: GSM by `torch.topk` over its SGD"),
    ],
    rows,
  )


def selection_table(results: dict[str, Any]) -> str:
  """A Markdown table of ``selection.json``: the update alone, in passes."""
  others = ["lax.top_k", "jnp.sort", "np.partition", "torch.topk", "torch.kthvalue"]
  names = ["keep_top_saliency", "… cold start", *others]
  rows: list[list[str]] = []
  for row in sorted(results["rows"], key=lambda row: row["weights"]):
    passes = row["passes"]
    cells = [f"{passes[name]:.1f}" if name in passes else "" for name in names]
    one_pass = f"{1e3 * row['seconds']['pass']:.2f} ms"
    rows.append([f"{row['weights']:,}", one_pass, *cells])
  return table(["weights", "one pass", *names], rows)


def input_table(results: dict[str, Any]) -> str:
  """A Markdown table of ``input.json``: how quickly images are read."""
  gpu = results["resnet50_on_h100"]
  rows = [
    [
      str(row["workers"]),
      f"{row['images_per_second']:,.0f}",
      f"{row['per_core']:,.0f}",
    ]
    for row in results["rows"]
  ]
  note = (
    f"An H100 that trains a ResNet-50 takes {gpu['images_per_second']:,.0f} images/s,"
    f" which {gpu['cores_to_feed_it']} such cores read."
  )
  return table(["worker processes", "images/s", "per core"], rows) + f"\n\n{note}"


def unit_scores_table(results: Sequence[dict[str, Any]]) -> str:
  """A Markdown table of how well scores of channels rank them."""
  labels = {
    "kernel": "the kernel that makes the channel",
    "kernel, signed": "the same, magnitude of the sum",
    "scale and offset": "its scale and offset",
    "all weights": "all of its weights",
  }
  rows: list[list[str]] = []
  for name, label in labels.items():
    row = [label]
    for result in results:
      for key in ("rank_correlations", "within_groups"):
        values = result[key][name]
        error = statistics.stdev(values) / len(values) ** 0.5
        row.append(f"{statistics.mean(values):.2f} ± {error:.2f}")
    rows.append(row)
  names = [result["config"]["data"] for result in results]
  headings = [f"{name}, {of}" for name in names for of in ("all", "within a layer")]
  return table(["score", *headings], rows)


def shrink_time_table(results: dict[str, Any]) -> str:
  """A Markdown table of how long it takes to find what can be removed."""
  rows = [
    [
      name,
      f"{found['weights'][0]:,}",
      f"{found['units'][0]:,} → {found['units'][1]:,}",
      f"{found['one_round_seconds']:.1f}",
      f"{found['shrink_seconds']:.1f}",
      f"{found['rounds_to_fixed_point']:.1f}",
    ]
    for name, found in results["networks"].items()
  ]
  headings = ["", "weights", "units", "`channel_groups`, s", "`shrink`, s"]
  return table([*headings, "of it to find all, rounds"], rows)


def _network(found: dict[str, Any]) -> str:
  """A network in words."""
  ratio = f"{found['compression_ratio']:.0f}×"
  return f"`{found['preset']}`, {ratio}, {found['pruned_accuracy']:.1f} %"


def deploy_bytes_table(results: dict[str, Any]) -> str:
  """A Markdown table of ``deploy.json``: bytes on disk."""
  networks: list[dict[str, Any]] = list(results["networks"].values())
  rows = [
    [name, *(f"{found['bytes'][name]:,}" for found in networks)]
    for name in networks[0]["bytes"]
  ]
  return table(["", *map(_network, networks)], rows)


def deploy_times_table(results: dict[str, Any]) -> str:
  """A Markdown table of ``deploy.json``: milliseconds."""
  names = ["JAX", "JAX, shrunk", "ONNX Runtime", "ONNX Runtime, shrunk"]
  names += ["NumPy", "SciPy, CSR"]
  rows: list[list[str]] = []
  for found in results["networks"].values():
    for batch, seconds in found["seconds"].items():
      least = min(seconds.values())
      cells = [
        _least(f"{1e3 * seconds[name]:.3g}", seconds[name] == least)
        if name in seconds
        else ""
        for name in names
      ]
      rows.append([_network(found), batch, *cells])
  return table(["", "batch", *names], rows)


def _least(text: str, is_least: bool) -> str:
  return f"**{text}**" if is_least else text


def deploy_words(results: dict[str, Any]) -> str:
  """Where a dense network is the quickest."""
  won = [
    f"`{found['preset']}` at batch {batch}"
    for found in results["networks"].values()
    for batch, seconds in found["seconds"].items()
    if min(seconds, key=lambda name: seconds[name]) in ("JAX", "ONNX Runtime", "NumPy")
  ]
  packages = ", ".join(f"{name} {v}" for name, v in results["packages"].items())
  where = f"Dense wins for {', '.join(won)}." if won else "Dense is nowhere quickest."
  return f"{where} ({results['device']['kind']}; {packages}.)"


def structure_step_table(results: dict[str, Any]) -> str:
  """Whole training steps with each structure, as ratios to SGD's."""
  names = list(
    dict.fromkeys(name for row in results["rows"] for name in row["seconds"])
  )
  rows = [
    [
      f"{row['model']}, {row['batch_size']}",
      f"{1e3 * row['seconds']['SGD']:.1f} ms",
      *(
        f"{ratio:.2f} ×" if (ratio := row["ratio_to_sgd"].get(name)) else ""
        for name in names[1:]
      ),
    ]
    for row in results["rows"]
  ]
  return table(
    [
      "model, batch",
      "SGD",
      *(f"`{name}`" if "(" in name else name for name in names[1:]),
    ],
    rows,
  )
