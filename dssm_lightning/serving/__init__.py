"""Serve bundles over HTTP: answers to raw queries, a page to look at them, and what operators need."""
