"""``python -m dssm_lightning``."""

from __future__ import annotations

import atexit
import sys


def run() -> None:
    """Run the command line: an error that the user can mend is one line, and so is a signal; others are tracebacks."""
    from dssm_lightning.utils.interrupts import end_on_signals, end_quietly

    atexit.register(end_quietly)
    with end_on_signals():
        from dssm_lightning.utils.console import printable
        from dssm_lightning.utils.errors import UserError
        from dssm_lightning.utils.optional_packages import naming_packages

        try:
            with naming_packages("this command"):
                from dssm_lightning.cli.main import main

                main()
        except (UserError, OSError, FloatingPointError) as error:  # the last: a loss that is not finite
            sys.exit(printable(f"error: {' '.join(str(error).splitlines())}"))


if __name__ == "__main__":
    run()
