"""The experiments use the library as anyone can."""

import ast
from pathlib import Path

import experiments

FOLDER = Path(experiments.__file__).parent


def private_imports(program):
  """The names of the library's private modules and functions that are imported."""
  found = []
  for node in ast.walk(ast.parse(program)):
    if isinstance(node, ast.Import):
      found += [name.name for name in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
      found += [f"{node.module}.{name.name}" for name in node.names]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
      found.append(f"{node.value.id}.{node.attr}")
  return [
    name
    for name in found
    if name.startswith("gsm_optax.") and any(p[0] == "_" for p in name.split("."))
  ]


def test_private_imports_are_found():
  assert private_imports(
    "import gsm_optax._trees\nfrom gsm_optax import _gsm, gsm\nimport gsm_optax as g\n"
    "from gsm_optax._threshold import find\nfrom gsm_optax.report import main\n"
    "gsm_optax._gsm.x; gsm_optax.gsm"
  ) == [
    *("gsm_optax._trees", "gsm_optax._gsm", "gsm_optax._threshold.find"),
    "gsm_optax._gsm",
  ]


def test_no_private_module_of_the_library_is_imported():
  paths = sorted(FOLDER.rglob("*.py"))
  assert len(paths) > 50
  assert not [path for path in paths if private_imports(path.read_text())]
