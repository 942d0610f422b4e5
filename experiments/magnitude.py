"""Prune by magnitude, to compare with: see `experiments.jobs.magnitude`."""

from experiments.jobs.magnitude import main

if __name__ == "__main__":
  main()
