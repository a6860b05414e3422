"""Ranking of the whole corpus: metrics, baselines, comparisons of two tests."""
