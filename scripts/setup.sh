#!/usr/bin/env bash
# Create the virtual environment with the build of Paddle that fits this machine; do nothing if it is up to date.
#
#   bash scripts/setup.sh [--paddle VERSION] [--dev]
#
# --paddle VERSION  install this version (2.6.2 to 3.3.x), in .venv-VERSION
# --dev             also install the tools that scripts/test.sh needs
# PYTHON            environment variable: the interpreter (default: python3)
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
  fail "'$python' is not Python 3.10 to 3.13; set PYTHON to one that is"
venv=".venv${version:+-$version}"

# Whether there is a GPU, and the CUDA version of its driver, such as 12.6 (empty if nvidia-smi does not print it).
cuda="" gpus=""
if command -v nvidia-smi >/dev/null 2>&1 && gpus="$(nvidia-smi --list-gpus 2>/dev/null)" && [[ "$gpus" == *GPU* ]]; then
  cuda="$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA[A-Za-z ]* Version: *\([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p' | head -n 1)" || cuda=""
  build=gpu why="nvidia-smi finds a GPU, the driver supports CUDA ${cuda:-of unknown version}"
else
  build=cpu why="nvidia-smi finds no GPU"
fi

stamp="$venv/.ppcls_lite-setup"
wanted="$(echo "$build $cuda $version"; cat requirements*.txt)"
# An environment that was set up with --dev is also up to date without --dev.
for done_as in "$wanted" "$wanted"$'\n'dev; do
  [ -n "$dev" ] && [ "$done_as" = "$wanted" ] && continue
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$done_as" ] && "$venv/bin/python" -c "" 2>/dev/null; then
    say "$venv is up to date ($build build: $why)"
    exit 0
  fi
done

say "$build build of Paddle in $venv: $why (a minute or two)"
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  "$python" -m venv --clear "$venv" || fail "'$python' cannot create virtual environments; install its venv package"
fi
# Both builds of Paddle install into the same folder, so only one of them can be there.
uninstall() { "$venv/bin/python" -m pip uninstall -qq -y "$@" 2>/dev/null || true; }
other=$([ "$build" = gpu ] && echo paddlepaddle || echo paddlepaddle-gpu)
if "$venv/bin/python" -m pip show -qq "$other" 2>/dev/null; then
  uninstall paddlepaddle paddlepaddle-gpu
fi
rm -f "$stamp"

install() { "$venv/bin/python" -m pip install -qq --disable-pip-version-check "$@"; }

requirements=(-r requirements-common.txt)
[ -n "$dev" ] && requirements+=(-r requirements-dev.txt)
# Paddle2ONNX needs Paddle 3.
[ -n "$dev" ] && [[ "$version" != 2.* ]] && requirements+=(-r requirements-deploy.txt "openvino>=2024.0")
pin="${version:+==$version}"

if [ "$build" = cpu ]; then
  install "paddlepaddle${pin:->=2.6.2,<3.4}" "${requirements[@]}" || fail "pip failed; its message is above"
else
  # Try Paddle's own indexes, from the newest that the driver supports; PyPI ends at 2.6.2 (CUDA 11.8).
  installed=""
  for index in 13.0 12.9 12.6 11.8; do
    [ -n "$cuda" ] && [ "$(printf '%s\n%s\n' "$index" "$cuda" | sort -V | head -n 1)" = "$index" ] || continue
    url="https://www.paddlepaddle.org.cn/packages/stable/cu${index/./}/"
    say "trying $url"
    uninstall paddlepaddle-gpu
    if install "paddlepaddle-gpu${pin:->=2.6.2,<3.4}" --index-url "$url" --no-deps &&
       install "paddlepaddle-gpu${pin:->=2.6.2,<3.4}" --extra-index-url "$url" "${requirements[@]}"; then
      installed="from $url"; break
    fi
  done
  if [ -z "$installed" ]; then
    say "Paddle's own indexes failed; falling back to PyPI (2.6.2, CUDA 11.8, no kernels for Hopper)"
    install "paddlepaddle-gpu${pin:->=2.6.2,<3.4}" "${requirements[@]}" || fail "pip failed; its message is above"
    installed="from PyPI"
  fi
  say "paddlepaddle-gpu $installed"
fi

"$venv/bin/python" -W ignore - <<'PY' || fail "Paddle cannot be imported; remove $venv and try again"
import zlib  # before paddle 2.6, see ppcls_lite/__init__.py
import paddle
seen = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
print(f"setup: paddle {paddle.__version__}, {seen} GPU(s) found")
if paddle.is_compiled_with_cuda():
    try:
        paddle.set_device("gpu")
        paddle.nn.Conv2D(3, 8, 3)(paddle.rand([1, 3, 8, 8])).numpy()
        print("setup: a convolution ran on the GPU")
    except Exception as error:
        print(f"setup: this build cannot compute on this GPU ({str(error).strip().splitlines()[-1]});")
        print("setup: set Global.device=cpu, or install a build for this GPU from Paddle's own index")
PY
{ echo "$wanted"; [ -n "$dev" ] && echo dev; } > "$stamp" || true
say "done; activate with: source $venv/bin/activate"
