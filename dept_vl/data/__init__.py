"""Data sets in their official file formats."""
