# Sourced by the other scripts: make .venv beside the project and install it with the given extra ("" or "[test]").
# A second call with nothing changed costs a second.

make_environment() {
  local extra=$1 root=$2 stamp
  stamp="$root/.venv/installed$(echo "$extra" | tr -d '[]' | sed 's/^./-&/')"
  if [ ! -x "$root/.venv/bin/python" ]; then
    python3 -m venv "$root/.venv"
  fi
  if [ ! -f "$stamp" ] || [ "$root/pyproject.toml" -nt "$stamp" ]; then
    "$root/.venv/bin/python" -m pip install --quiet --upgrade pip
    "$root/.venv/bin/python" -m pip install --quiet --editable "$root$extra"
    touch "$stamp"
  fi
}
