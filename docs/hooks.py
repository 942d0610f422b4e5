"""Pictures of the results, and formulas, for pages that need no network.

A page names committed pictures as in the repository, ``../experiments/results/…``, so
that they are seen there too. Formulas become MathML, which browsers show by themselves.
"""

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
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


FORMULA = re.compile(
  r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.S
)
"""What pymdownx.arithmatex has marked."""


def on_page_content(content: str, **_: Any) -> str:
  """Replaces LaTeX by MathML."""
  return FORMULA.sub(_to_mathml, content)


def _to_mathml(match: re.Match[str]) -> str:
  is_block = match["tag"] == "div"
  # The converter knows of the two names of the same thing one.
  latex = html.unescape(match["latex"]).replace("{aligned}", "{split}")
  mathml = convert(latex, display="block" if is_block else "inline")
  return f'<div class="formula">{mathml}</div>' if is_block else mathml
