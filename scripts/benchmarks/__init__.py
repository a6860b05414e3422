"""The comparisons of ``bench.py``, one module for each kind, and what they share."""
