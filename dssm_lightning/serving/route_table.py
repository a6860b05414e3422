"""The paths that an application has: a closed set, by which requests are counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dssm_lightning.serving.telemetry import OTHER

Methods = frozenset[str]


class RouteTable:
    """The paths and methods of an application's routes.

    Args:
        routes: of Starlette or FastAPI.

    Example:
        >>> from starlette.routing import Route
        >>> table = RouteTable([Route("/pictures/{bundle}/{row}", print), Route("/ready", print)])
        >>> table.label("/pictures/emoji/17"), table.label("/.git/config")
        ('/pictures/{bundle}/{row}', 'other')
    """

    def __init__(self, routes: Iterable[Any]) -> None:
        self._exact: dict[str, Methods] = {}
        self._patterns: list[tuple[Any, str]] = []
        for route in routes:
            path, methods = getattr(route, "path", None), getattr(route, "methods", None)
            if path is None:
                continue
            if "{" in path and path not in self._exact:
                self._patterns.append((route.path_regex, path))
            self._exact[path] = self._exact.get(path, frozenset()) | frozenset(methods or ("GET",))

    @property
    def paths(self) -> list[str]:
        """The paths as they were declared."""
        return list(self._exact)

    def label(self, path: str) -> str:
        """Return the path as its route declares it; "other" for a path that no route has."""
        if path in self._exact and "{" not in path:
            return path
        return next((declared for pattern, declared in self._patterns if pattern.match(path)), OTHER)

    def methods(self, path: str) -> list[str]:
        """Return the methods that a path has; none for a path that no route has."""
        found = self._exact.get(self.label(path))
        if found is None:
            return []
        return sorted(found | {"OPTIONS"} | ({"HEAD"} if "GET" in found else set()))
