"""``python -m dssm_lightning``."""

from __future__ import annotations


def run() -> None:
    """Entry point of the console script; the finished CLI is of no use to a shell."""
    from dssm_lightning.cli import main

    main()


if __name__ == "__main__":
    run()
