#!/usr/bin/env python3
"""Fails on an #include that the table of docs/architecture.md forbids.

A folder may include the folders it links in its CMakeLists.txt (transitively) and no other: the table is
written here once, and the CMake targets are checked against it too.
"""
import pathlib
import re
import sys

ALLOWED = {
    "base": set(),
    "ops": {"base"},
    "text": {"base"},
    "data": {"base", "text"},
    "parquet": {"data"},
    "model": {"base", "ops"},
    "checkpoint": {"base", "ops", "model"},
    "engine": {"base", "ops", "text", "model", "checkpoint"},
    "serve": {"base", "ops", "text", "model", "checkpoint", "engine"},
    "train": {"base", "ops", "text", "data", "model", "checkpoint"},
    "bench": {"base", "ops", "text", "model", "checkpoint", "engine", "train"},
    "cuda": {"base", "ops"},
    "cli": {"base", "ops", "text", "data", "model", "checkpoint", "engine", "serve", "train", "bench"},
}
# Libraries whose headers stand behind one interface of ours.
BEHIND = {"xgrammar": {"src/engine/grammar.cc"}}


def main() -> int:
    root = pathlib.Path(sys.argv[1])
    errors, num_files = [], 0
    for folder in sorted((root / "src").iterdir()):
        if not folder.is_dir():
            continue
        if folder.name not in ALLOWED:
            errors.append(f"src/{folder.name}: not in the table of tests/house/check_includes.py")
            continue
        may = ALLOWED[folder.name] | {folder.name}
        for path in folder.rglob("*"):
            if path.suffix not in {".h", ".cc", ".cu", ".cuh"}:
                continue
            num_files += 1
            for number, line in enumerate(path.read_text().splitlines(), 1):
                found = re.match(r'\s*#include "([a-z_]+)/', line)
                if found and found[1] not in may:
                    errors.append(f"{path.relative_to(root)}:{number}: src/{folder.name} may not include {found[1]}/")
                library = re.match(r"\s*#include [<\"]([a-z_]+)/", line)
                if library and library[1] in BEHIND and str(path.relative_to(root)) not in BEHIND[library[1]]:
                    errors.append(f"{path.relative_to(root)}:{number}: {library[1]} is for {', '.join(BEHIND[library[1]])} alone")
                if path.suffix == ".h" and re.match(r"\s*#include <torch/(torch|all)\.h>", line):
                    errors.append(f"{path.relative_to(root)}:{number}: torch/torch.h in a header")
        cmake = (folder / "CMakeLists.txt").read_text()
        for dep in re.findall(r"\bfathom_([a-z]+)\b", re.sub(r"#.*", "", cmake)):
            if dep in ALLOWED and dep not in may:
                errors.append(f"src/{folder.name}/CMakeLists.txt links fathom_{dep}")
    print("\n".join(errors) if errors else f"{num_files} files include only what they may")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
