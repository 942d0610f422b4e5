"""Write the tables of the README and the docs: see `experiments.pages.tables`."""

from experiments.pages.tables import main

if __name__ == "__main__":
  main()
