"""Prints the lower bounds of the dependencies in pyproject.toml, as constraints."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
extras = project["optional-dependencies"].values()
for requirement in sum(extras, project["dependencies"]):
  if match := re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement):
    print(f"{match[1]}=={match[2]}")
