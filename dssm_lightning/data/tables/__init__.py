"""Raw tables, completed and checked."""
