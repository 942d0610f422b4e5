"""The tables of `experiments.benchmarks.compiled`."""

from collections.abc import Callable, Iterator
from typing import Any

from rich import box
from rich.table import Table

from experiments.markdown import table

_HEADINGS = (
  *("target", "network", "leaves", "passes", "kernels: a pass"),
  *("kernels: an update, gsm / clip", "seconds to compile, gsm / clip"),
  "temporary float32 per weight",
  *("words per weight, gsm / clip", "all-reduces: a pass on eight devices"),
)
_TARGETS = {"h100": "H100", "v5e": "TPU v5e", "cpu": "CPU"}


def compiled_table(results: dict[str, Any]) -> str:
  """A Markdown table of ``compiled.json``."""
  return table(_HEADINGS, [_cells(row) for row in results["rows"]])


def _cells(row: dict[str, Any]) -> list[str]:
  passes = row["passes"]
  gsm, clip = (row["programs"].get(name, {}) for name in ("gsm", "clip"))

  def both(value: Callable[[dict[str, Any]], float | None], form: str) -> str:
    ours, theirs = (_text(value(program), form) for program in (gsm, clip))
    ours = ours and f"**{ours}**"
    return " / ".join(filter(None, (ours, theirs)))

  on_eight = gsm.get("eight_devices", {})
  return [
    _TARGETS[row["target"]],
    f"`{row['network']}`",
    str(row["leaves"]),
    f"{sum(passes) / len(passes):.2f}" if passes else "",
    _text(gsm.get("kernels_of_a_pass"), ",.0f"),
    both(lambda program: program.get("kernels_of_an_update"), ",.0f"),
    both(seconds_to_compile, ".1f"),
    _text(gsm.get("temporary_per_weight"), ".2f"),
    both(lambda program: program.get("words_per_weight"), ".1f"),
    _text(on_eight.get("all_reduces_of_a_pass"), ".0f"),
  ]


def console_tables(rows: list[dict[str, Any]]) -> Iterator[Table]:
  """For each target, with a line for each network and program."""
  for target in dict.fromkeys(row["target"] for row in rows):
    table = Table(title=_TARGETS[target], box=box.SIMPLE, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("kernels\na pass", "kernels\nupdate", "compile\nseconds"):
      table.add_column(heading, justify="right")
    for heading in ("float32\n/weight", "words\n/weight", "reduces\na pass"):
      table.add_column(heading, justify="right")
    for row in rows:
      if row["target"] == target:
        table.add_row(row["network"])
        for program, result in row["programs"].items():
          table.add_row(f"  {program}", *_numbers(result))
        table.add_section()
    yield table


def _numbers(result: dict[str, Any]) -> list[str]:
  return [
    _text(result.get("kernels_of_a_pass"), ",.0f"),
    _text(result.get("kernels_of_an_update"), ",.0f"),
    _text(seconds_to_compile(result), ".1f"),
    _text(result["temporary_per_weight"], ".2f"),
    _text(result["words_per_weight"], ".1f"),
    _text(result.get("eight_devices", {}).get("all_reduces_of_a_pass"), ".0f"),
  ]


def seconds_to_compile(program: dict[str, Any]) -> float | None:
  """Lowering included; None where the program is not among the results."""
  if not program:
    return None
  return program["lower_seconds"] + program["compile_seconds"]


def _text(value: float | None, form: str) -> str:
  return "" if value is None else format(value, form)
