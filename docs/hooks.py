"""Shows committed pictures of the results in the pages, from where they lie."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

RESULTS = Path(__file__).parents[1] / "experiments" / "results"

EXPLANATIONS = ["layers", "compression", "momentum", "reactivation", "shrinkage"]
PICTURES = [
  *("mnist/lenet300-60x-0/report.png", "selection/selection.png"),
  *(f"mnist/{name}.png" for name in EXPLANATIONS),
]
"""Each becomes ``pictures/NAME``."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
  """Adds the pictures to the files of the site."""
  for picture in PICTURES:
    path = RESULTS / picture
    files.append(
      File.generated(config, f"pictures/{path.name}", abs_src_path=str(path))
    )
  return files
