"""Tables encoded once into a cache that every process maps."""
