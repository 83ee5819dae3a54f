#!/usr/bin/env bash
# Make the virtual environment with the build of Paddle that fits this machine. Does nothing where it is up to date.
#
#   bash scripts/setup.sh [--paddle VERSION] [--dev]
#
# --paddle VERSION  that version (2.6.2 to 3.3.x), in .venv-VERSION
# --dev             the tools that scripts/test.sh needs, too
# PYTHON            the interpreter to build on (default python3)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "setup: $*" >&2; exit 2; }
say() { echo "setup: $*"; }

version="" dev=""
while [ $# -gt 0 ]; do
  case "$1" in
    --paddle) version="${2:-}"; [[ "$version" =~ ^[0-9]+(\.[0-9]+)+$ ]] || fail "--paddle takes a version such as 3.3.1"; shift 2 ;;
    --dev) dev=1; shift ;;
    *) fail "unknown argument '$1'; known: --paddle VERSION, --dev" ;;
  esac
done

python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null ||
  fail "'$python' is not a Python of 3.10 to 3.13; name one with PYTHON=..."
venv=".venv${version:+-$version}"

# The driver's CUDA version, e.g. 12.6, where a GPU answers.
cuda=""
if command -v nvidia-smi >/dev/null 2>&1; then
  cuda="$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)" || cuda=""
fi
if [ -n "$cuda" ]; then
  build=gpu why="nvidia-smi answers, its driver runs CUDA $cuda"
else
  build=cpu why="nvidia-smi does not answer here"
fi

stamp="$venv/.ppcls_lite-setup"
wanted="$(echo "$build $cuda $version"; cat requirements*.txt)"
# With --dev the stamp says so; an environment with the development tools also serves without them.
for done_as in "$wanted" "$wanted"$'\n'dev; do
  [ -n "$dev" ] && [ "$done_as" = "$wanted" ] && continue
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$done_as" ]; then
    say "$venv is up to date ($build build: $why)"
    exit 0
  fi
done

say "$build build of Paddle in $venv: $why (a minute or two)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
rm -f "$stamp"

install() { "$venv/bin/python" -m pip install -qq --disable-pip-version-check "$@"; }

requirements=(-r requirements-common.txt)
[ -n "$dev" ] && requirements+=(-r requirements-dev.txt)
pin="${version:+==$version}"

if [ "$build" = cpu ]; then
  install "paddlepaddle${pin:->=2.6.2,<3.4}" "${requirements[@]}" || fail "pip could not install; its message is above"
else
  # Paddle's own indexes, the newest that the driver runs first; the ordinary index ends at 2.6.2 (CUDA 11.8).
  installed=""
  for index in 13.0 12.9 12.6 11.8; do
    [ "$(printf '%s\n%s\n' "$index" "$cuda" | sort -V | head -n 1)" = "$index" ] || continue
    url="https://www.paddlepaddle.org.cn/packages/stable/cu${index/./}/"
    say "trying $url"
    if install "paddlepaddle-gpu${pin:->=2.6.2,<3.4}" --index-url "$url" --no-deps &&
       install "paddlepaddle-gpu${pin:->=2.6.2,<3.4}" --extra-index-url "$url" "${requirements[@]}"; then
      installed="from $url"; break
    fi
  done
  if [ -z "$installed" ]; then
    say "Paddle's own index did not serve; falling back to the ordinary index (2.6.2, CUDA 11.8, no kernels for Hopper)"
    install "paddlepaddle-gpu${pin:->=2.6.2,<3.4}" "${requirements[@]}" || fail "pip could not install; its message is above"
    installed="from the ordinary index"
  fi
  say "paddlepaddle-gpu $installed"
fi

"$venv/bin/python" -W ignore - <<'PY' || fail "Paddle does not import; remove $venv and try again"
import zlib  # before paddle 2.6, see ppcls_lite/__init__.py
import paddle
seen = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
print(f"setup: paddle {paddle.__version__}, {seen} GPU(s) usable")
if paddle.is_compiled_with_cuda() and not seen:
    print("setup: the GPU build sees no GPU it can use; training will run on the CPU")
PY
{ echo "$wanted"; [ -n "$dev" ] && echo dev; } > "$stamp" || true
say "done; activate with: source $venv/bin/activate"
