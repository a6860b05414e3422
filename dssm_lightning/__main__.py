"""``python -m dssm_lightning``."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path


def run() -> None:
    """Entry point of the console script: what the user can mend is one line, what only we can mend a traceback."""
    from dssm_lightning.cli import main

    try:
        main()
    except (OSError, FloatingPointError) as error:  # the latter: a loss that is not finite
        sys.exit(f"error: {error}")
    except ValueError as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if raised_in.parent.is_relative_to(Path(__file__).parent):
            sys.exit(f"error: {error}")
        raise


if __name__ == "__main__":
    run()
