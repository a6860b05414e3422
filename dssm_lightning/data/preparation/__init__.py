"""Preparation of the data: tables are encoded once into a cache, which every process maps into memory."""
