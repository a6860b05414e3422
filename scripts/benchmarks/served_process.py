"""A server of one bundle, with a handler beside it that always gives the same answer: `serving` times both.

python scripts/benchmarks/served_process.py FOLDER FILE_OF_THE_CONSTANT_ANSWER
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from dssm_lightning.serving.listening import listen
from dssm_lightning.serving.process import make_server
from dssm_lightning.serving.requests import SearchBody, read_body
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import ServingSettings, name_bundles


def main(folder: str, answer: str) -> None:
    """Print the port, then serve until a signal comes."""
    content = Path(answer).read_bytes()
    serving = Serving(ServingSettings(name_bundles([folder])))
    serving.open()
    server = make_server(serving)

    async def constant(request: Request) -> Response:
        await read_body(request, SearchBody, serving.settings.limits.max_body)
        return Response(content, media_type="application/json")

    app = server.config.app
    app.router.add_route("/constant", constant, ["POST"])
    app.router.routes.insert(0, app.router.routes.pop())  # as near as the search
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        server.run([listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
