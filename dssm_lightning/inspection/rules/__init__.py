"""The rules by which `init` chooses settings, one topic in each file; docs/choosing.md has the measurements."""
