"""Speed, against the alternatives and against the memory, in the same run."""
