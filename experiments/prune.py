"""Train a base model, train it on under GSM, prune it: see `experiments.jobs.prune`."""

from experiments.jobs.prune import main

if __name__ == "__main__":
  main()
