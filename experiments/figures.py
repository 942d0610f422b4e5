"""Draw the pictures of the studies: see `experiments.pages.figures`."""

from experiments.pages.figures import main

if __name__ == "__main__":
  main()
