"""How far a cached output is from the uncached one, and how good it is by itself."""
