"""Checks of a config and its data before training. Each finding has the line of the config that would change."""
