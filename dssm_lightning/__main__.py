"""``python -m dssm_lightning``."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path


def run() -> None:
    """Entry point of the console script: what the user can mend is one line, what only we can mend a traceback."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from dssm_lightning.cli.main import main

    try:
        main()
    except (OSError, FloatingPointError, MisconfigurationException) as error:  # the second: a loss that is not finite
        sys.exit(f"error: {error}")
    except ValueError as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        settings = last.name == "__init__"  # what a library's class cannot be made of are the settings, as a rate of −1
        if settings or Path(last.filename).parent.is_relative_to(Path(__file__).parent):
            sys.exit(f"error: {error}")
        raise


if __name__ == "__main__":
    run()
