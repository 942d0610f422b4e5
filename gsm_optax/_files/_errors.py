"""What is said where nothing can be read."""


class ReadError(Exception):
  """There is nothing to read; the message says what to do, in one line."""


def one_line(error: Exception) -> str:
  """An exception's message, of which libraries' may have several lines."""
  return " ".join(str(error).split()) or type(error).__name__


def needs(what: str, package: str) -> str:
  """What has to be installed."""
  return f"Reading {what} needs {package}: pip install 'gsm-optax[report]'."
