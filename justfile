# The commands of daily work; `just` lists them. CONTRIBUTING.md explains when to run which.

python := if path_exists(".venv/bin/python") == "true" { ".venv/bin/python" } else { "python" }

# list these commands
help:
    @just --list --unsorted

# format, lint, types and spelling, as they must pass before a change lands
check:
    {{python}} -m ruff format --check .
    {{python}} -m ruff check .
    {{python}} -m mypy
    {{python}} -m codespell_lib

# both tiers of the tests; arguments go to pytest
test *arguments:
    {{python}} -m pytest --slow {{arguments}}

# the default tier of the tests; arguments go to pytest
test-fast *arguments:
    {{python}} -m pytest {{arguments}}

# build the documentation site, with warnings as errors
docs:
    {{python}} -m mkdocs build --strict

# measure speed: all benchmarks, or the named ones
bench *names:
    {{python}} scripts/bench.py {{names}}
