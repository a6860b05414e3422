"""The page at ``/``: one HTML file, its style and its modules, without a build step."""
