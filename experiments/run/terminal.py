"""Text for whatever terminal there is."""

import codecs
import io
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from rich.markup import escape

from experiments.run.errors import reason

P = ParamSpec("P")

SIMPLER = {"×": "x", "→": "->", "…": "...", "–": "-", "µ": "u", "±": "+-", "−": "-"}
"""For terminals that do not know the characters of these pages."""


def speak_plainly() -> None:
  """Prints something simpler for characters that the terminal does not know."""
  codecs.register_error("simpler", _simpler)
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # a test's may be another
      stream.reconfigure(errors="simpler")


def _simpler(error: UnicodeError) -> tuple[str, int]:
  if not isinstance(error, UnicodeEncodeError):
    raise error
  text = error.object[error.start : error.end]
  plain = (
    SIMPLER.get(each, each.encode("ascii", "backslashreplace").decode())
    for each in text
  )
  return "".join(plain), error.end


def printable(text: str) -> str:
  """The text with escapes for what a terminal would obey, or not show."""
  return "".join(
    each if each.isprintable() else each.encode("unicode_escape").decode()
    for each in text
  )


def shown(name: str) -> str:
  """A name from a file, of which `rich` takes no part for markup either."""
  return escape(printable(name))


def on_any_terminal(main: Callable[P, None]) -> Callable[P, None]:
  """Lets a program end in words where its output cannot be shown or written."""

  @wraps(main)
  def run(*arguments: P.args, **options: P.kwargs) -> None:
    speak_plainly()
    try:
      main(*arguments, **options)
      sys.stdout.flush()
    except OSError as error:
      give_up_printing()
      what = f"{printable(str(error.filename))}: " if error.filename else ""
      sys.exit(f"error: {what}{reason(error)}.")

  return run


def give_up_printing() -> None:
  """Sends to nowhere what Python would print at its end, where that fails."""
  try:
    sys.stdout.flush()
  except OSError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
