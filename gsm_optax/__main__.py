"""``python -m gsm_optax report PATH``: see `gsm_optax.report`."""

import sys

from gsm_optax import report

USAGE = """usage: python -m gsm_optax report PATH [--key KEY] [--density D] [--json]

report  prints how many weights are left in each layer of a checkpoint

Everything else, `shrink` included, is for Python: import gsm_optax."""

if __name__ == "__main__":
  _, *arguments = sys.argv
  if arguments[:1] == ["report"]:
    sys.exit(report.run(arguments[1:]))
  if arguments[:1] in (["-h"], ["--help"]):
    sys.exit(report.say(USAGE, sys.stdout))
  report.say(USAGE, sys.stderr)
  sys.exit(2)
