"""The package is light: JAX and Optax, and the names it promises."""

import subprocess
import sys

import gsm_optax


def test_it_imports_nothing_but_jax_and_optax():
  heavy = ["flax", "orbax", "matplotlib", "sklearn", "experiments", "rich", "tyro"]
  program = f"import sys, gsm_optax; print([m for m in {heavy} if m in sys.modules])"
  command = [sys.executable, "-c", program]
  found = subprocess.run(command, capture_output=True, text=True, check=True)
  assert found.stdout.strip() == "[]"


def test_every_public_name_is_there_and_documented():
  for name in gsm_optax.__all__:
    assert getattr(gsm_optax, name).__doc__
