"""Find winning tickets and train them: see `experiments.jobs.tickets`."""

from experiments.jobs.tickets import main

if __name__ == "__main__":
  main()
