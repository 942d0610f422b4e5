r"""Makes Markdown of the docstrings, as the API page needs it.

The docstrings hold what is usual in this field: ``.. math::`` and ``:math:``, links as
in reStructuredText, one ``Example:``, and names in backticks.
"""

import re
import textwrap
from typing import Any

import griffe

import gsm_optax

_MATH = re.compile(r"^\.\. math::(.*(?:\n[ \t].*|\n(?=\n[ \t]))*)", re.MULTILINE)
_INLINE_MATH = re.compile(r":math:`([^`]+)`")
_LINK = re.compile(r"`([^`<>]+?)\s+<([^<>]+)>`_")
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_COLON_IN_RETURNS = re.compile(r"^(Returns:\n[^:]*?):(?=\s)", re.MULTILINE)
_PUBLIC = re.compile(
  rf"(?<!`)`(?:gsm_optax\.)?({'|'.join(gsm_optax.__all__)})`(?!`|\]\[)"
)


def to_markdown(docstring: str) -> str:
  """The same docstring with its mathematics, links and names in Markdown."""
  docstring = _MATH.sub(_display, docstring)
  docstring = _INLINE_MATH.sub(r"$\1$", docstring)
  docstring = _LINK.sub(r"[\1](\2)", docstring)
  # Griffe takes one example for a remark, and its prompts for quotations.
  docstring = _EXAMPLE.sub("Examples:", docstring)
  # And what stands before a colon for a type, although the annotation has it.
  docstring = _COLON_IN_RETURNS.sub(r"\1&#58;", docstring)
  return _PUBLIC.sub(r"[`\1`][gsm_optax.\1]", docstring)


def _display(match: re.Match[str]) -> str:
  first, *others = match[1].split("\n")
  formula = "\n".join([first.strip(), textwrap.dedent("\n".join(others))]).strip()
  return f"$$\n\\begin{{aligned}}\n{formula}\n\\end{{aligned}}\n$$"


class Docstrings(griffe.Extension):
  """Converts every docstring before it is parsed."""

  def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
    """Called for each object of the package."""
    if obj.docstring:
      obj.docstring.value = to_markdown(obj.docstring.value)
