"""The raw tables of a source: their column roles, their checks, and the completed tables."""
