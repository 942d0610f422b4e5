"""Markdown tables."""

from collections.abc import Sequence

MISSING = "not run yet"
"""In the place of a number."""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table with a row of headings."""
  return "\n".join(
    [
      f"| {' | '.join(headings)} |",
      f"|{'---|' * len(headings)}",
      *(f"| {' | '.join(row)} |" for row in rows),
    ]
  )
