"""Run a study, such as the paper's MNIST results: see `experiments.studies.runner`."""

from experiments.studies.runner import main

if __name__ == "__main__":
  main()
