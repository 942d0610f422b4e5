"""Train a study's runs on a GPU for some minutes: see `experiments.studies.sitting`."""

from experiments.studies.sitting import main

if __name__ == "__main__":
  main()
