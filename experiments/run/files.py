"""Files that are whole or not there."""

import json
import os
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""Ends the names of what is being written, which then takes its own name."""


def write_json(path: Path, content: Any) -> None:
  """Writes a whole file or none."""
  partial = path.with_name(path.name + PARTIAL)
  partial.write_text(json.dumps(content, indent=2) + "\n")
  os.replace(partial, path)
