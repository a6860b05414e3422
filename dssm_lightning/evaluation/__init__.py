"""The whole corpus, ranked: metrics, baselines, comparisons."""
