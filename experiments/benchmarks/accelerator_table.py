"""The table of `experiments.benchmarks.accelerator`'s results."""

from typing import Any

from experiments.markdown import table

_UPDATE = {
  "SGD": "SGD",
  "SGD with clip_by_global_norm": "clip + SGD",
  "gsm_optax.gsm": "`gsm`",
  "pass": "one pass",
  "keep_top_saliency": "`keep_top_saliency`",
  "… cold start": "… cold start",
  "lax.top_k": "`lax.top_k`",
  "jnp.sort": "`jnp.sort`",
}
"""Columns of the table of updates."""

_STEP = {
  "SGD": "SGD",
  "SGD that waits for all gradients": "SGD that waits for all",
  "SGD behind a loop": "SGD behind an empty loop",
  "SGD with clip_by_global_norm": "clip + SGD",
  "gsm_optax.gsm": "`gsm_optax.gsm`",
  "GSM by lax.top_k": "GSM by `lax.top_k`",
  "GSM by jnp.sort": "GSM by `jnp.sort`",
}
"""Columns of the table of steps."""


def gpu_table(results: dict[str, Any]) -> str:
  """Markdown: what was compared, the table of updates, and that of whole steps.

  A part that the results do not have is left out.

  Args:
    results: the file that `experiments.benchmarks.accelerator` writes.
  """
  parts = [
    make(results[name])
    for name, make in (
      ("exactness", _exactness),
      ("update", _update_table),
      ("step", _step_table),
    )
    if name in results
  ]
  return "\n\n".join(part for part in parts if part)


def _exactness(exactness: dict[str, Any]) -> str:
  if not exactness.get("comparisons"):
    return ""
  return (
    f"{exactness['comparisons']:,} comparisons with the CPU and NumPy, bit by bit:"
    f" {exactness['mismatches']:,} differ."
  )


def _update_table(update: dict[str, Any]) -> str:
  if not update.get("rows"):
    return ""
  head = [
    *("weights", "arrays", "copy, GB/s"),
    *(f"{title}, ms" for title in _UPDATE.values()),
    "compiling clip + SGD → `gsm`, s",
  ]
  rows: list[list[str]] = []
  for row in sorted(update["rows"], key=lambda row: row["weights"]):
    seconds = row["seconds"]
    compiling = row["compile_seconds"]
    cells = [
      f"{row['weights']:,}",
      str(row["leaves"]),
      f"{row['copy_gigabytes_per_second']:,.0f}",
      *(_milliseconds(seconds.get(name)) for name in _UPDATE),
      f"{compiling['SGD with clip_by_global_norm']:.1f}"
      f" → {compiling['gsm_optax.gsm']:.1f}",
    ]
    rows.append(cells)
  return table(head, rows)


def _milliseconds(seconds: float | None) -> str:
  """Three digits, as far as there are any behind the point."""
  if seconds is None:
    return ""
  milliseconds = 1e3 * seconds
  digits = 3 if milliseconds < 1 else 2 if milliseconds < 10 else 1
  return f"{milliseconds:,.{digits}f}"


def _step_table(step: dict[str, Any]) -> str:
  if not step.get("seconds"):
    return ""
  head = ["model, batch, image, type", *_STEP.values()]
  cells = [
    f"{step['model']}, {step['batch_size']}, {step['image_size']}², {step['dtype']}"
  ]
  for name in _STEP:
    ratio = step["ratio_to_sgd"].get(name)
    if ratio is None:
      cells.append("")
    elif name == "SGD":
      cells.append(f"{_milliseconds(step['seconds'][name])} ms")
    else:
      cells.append(f"{ratio:.3f} ×")
  return table(head, [cells])


def exactness_sentence(results: dict[str, Any]) -> str:
  """What was compared, and on which device."""
  return f"On an {results['device']['kind']}: {_exactness(results['exactness'])}"


def step_sentence(
  plain: dict[str, Any], graphs: dict[str, Any], *, sorts: bool = True
) -> str:
  """What a whole step costs, without and with loops in CUDA graphs.

  Args:
    plain: the results without.
    graphs: the results with.
    sorts: whether to name GSM by `lax.top_k` too.
  """
  step = plain["step"]
  network = step["model"].replace("resnet", "ResNet-")

  def added(results: dict[str, Any], name: str) -> str:
    return f"{100 * (results['step']['ratio_to_sgd'][name] - 1):.1f} %"

  clip, gsm, loop, top_k = (
    *("SGD with clip_by_global_norm", "gsm_optax.gsm"),
    *("SGD behind a loop", "GSM by lax.top_k"),
  )
  by_top_k = f", GSM by `lax.top_k` {added(graphs, top_k)}" if sorts else ""
  return (
    f"On an {plain['device']['kind']}, a step of {network} (batch {step['batch_size']},"
    f" {step['dtype']}) takes {1e3 * step['seconds']['SGD']:.1f} ms with SGD. With the"
    f" flag, clipping by the global norm adds {added(graphs, clip)}, `gsm`"
    f" {added(graphs, gsm)}{by_top_k}. Without it, clipping adds {added(plain, clip)},"
    f" `gsm` {added(plain, gsm)}, and a loop that ends at once {added(plain, loop)}."
  )
