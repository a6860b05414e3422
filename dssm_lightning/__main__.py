"""``python -m dssm_lightning``."""

from __future__ import annotations

import sys


def run() -> None:
    """Run the command line: an error that the user can mend is one line, any other is a traceback."""
    from dssm_lightning.cli.main import main
    from dssm_lightning.utils.errors import UserError

    try:
        main()
    except (UserError, OSError, FloatingPointError) as error:  # the last: a loss that is not finite
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    run()
