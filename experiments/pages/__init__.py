"""The tables of the README and the docs, and the pictures, from what is committed."""
