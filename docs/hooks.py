"""Shows committed pictures of the results in the pages, from where they lie.

A page names them as in the repository, ``../experiments/results/…``, so that they are
seen there too.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
PICTURE = re.compile(r"\]\((\.\./experiments/results/[^)]+\.png)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
  """Adds the pictures of all pages to the files of the site."""
  text = "".join(page.read_text() for page in sorted(DOCS.glob("*.md")))
  for picture in sorted(set(PICTURE.findall(text))):
    path = (DOCS / picture).resolve()
    files.append(
      File.generated(config, f"pictures/{path.name}", abs_src_path=str(path))
    )
  return files


def on_page_markdown(markdown: str, **_: Any) -> str:
  """Names them as they are in the site."""
  return PICTURE.sub(lambda match: f"](pictures/{Path(match[1]).name})", markdown)
