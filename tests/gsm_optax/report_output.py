"""What `python -m gsm_optax report` prints, called in this process."""

from gsm_optax.report import main


def output(capsys, *arguments):
  """The report alone, on standard output."""
  assert main([str(argument) for argument in arguments]) == 0
  captured = capsys.readouterr()
  assert not captured.err
  return captured.out.removesuffix("\n")


def error(capsys, *arguments):
  """The one sentence on standard error."""
  assert main([str(argument) for argument in arguments]) == 1
  captured = capsys.readouterr()
  assert not captured.out
  (sentence,) = captured.err.splitlines()
  return sentence
