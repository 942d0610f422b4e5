"""Jobs: what a command line runs, from a recipe to a result."""
