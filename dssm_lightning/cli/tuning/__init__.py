"""The parts of ``tune`` that run fits, and what it shows."""
