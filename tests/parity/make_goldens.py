"""Makes tests/parity/goldens: one small checkpoint an architecture variant with transformers' answers. Needs the packages of .venv-test."""
import pathlib
import zlib

from reference import CASES, make_case

if __name__ == "__main__":
    for case in CASES:
        make_case(pathlib.Path(__file__).parent / "goldens" / case, case, zlib.crc32(case.encode()))
