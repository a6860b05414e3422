"""Requests that no client would send, for ``fuzz_server.py``."""
