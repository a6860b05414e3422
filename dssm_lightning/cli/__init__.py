"""The command line: Lightning's verbs, and commands that are plain functions."""
