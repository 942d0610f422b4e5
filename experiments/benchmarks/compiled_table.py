"""The tables of `experiments.benchmarks.compiled`."""

from collections.abc import Callable
from typing import Any

from rich.table import Table

_HEADINGS = (
  *("target", "network", "leaves", "passes"),
  *("kernels of a pass", "kernels of an update: gsm / clip"),
  "seconds to compile: gsm / clip",
  *("temporary float32 per weight", "words per weight: gsm / clip"),
  "all-reduces of a pass on eight devices",
)


def compiled_table(results: dict[str, Any]) -> str:
  """A Markdown table of ``compiled.json``."""
  lines = [f"| {' | '.join(_HEADINGS)} |", "|---" * len(_HEADINGS) + "|"]
  lines += [f"| {' | '.join(_cells(row))} |" for row in results["rows"]]
  return "\n".join(lines)


def console_table(rows: list[dict[str, Any]]) -> Table:
  """The same for the console."""
  table = Table()
  for heading in _HEADINGS:
    justify = "left" if heading in ("target", "network") else "right"
    table.add_column(heading, justify=justify)
  for row in rows:
    table.add_row(*_cells(row))
  return table


def _cells(row: dict[str, Any]) -> list[str]:
  passes = row["passes"]
  gsm, clip = (row["programs"].get(name, {}) for name in ("gsm", "clip"))

  def both(value: Callable[[dict[str, Any]], float | None], form: str) -> str:
    values = [_text(value(program), form) for program in (gsm, clip)]
    return " / ".join(values) if any(values) else ""

  on_eight = gsm.get("eight_devices", {})
  return [
    row["target"],
    row["network"],
    str(row["leaves"]),
    f"{sum(passes) / len(passes):.1f}" if passes else "",
    _text(gsm.get("kernels_of_a_pass"), ".0f"),
    both(lambda program: program.get("kernels_of_an_update"), ",.0f"),
    both(seconds_to_compile, ".1f"),
    _text(gsm.get("temporary_per_weight"), ".2f"),
    both(lambda program: program.get("words_per_weight"), ".1f"),
    _text(on_eight.get("all_reduces_of_a_pass"), ".0f"),
  ]


def seconds_to_compile(program: dict[str, Any]) -> float | None:
  """Lowering included; None where the program is not among the results."""
  if not program:
    return None
  return program["lower_seconds"] + program["compile_seconds"]


def _text(value: float | None, form: str) -> str:
  return "" if value is None else format(value, form)
