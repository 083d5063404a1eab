"""Writes texts.parquet beside itself: 300 rows in several row groups, with nulls and a column that is a dictionary.

  python tests/data/files/make_parquet.py        (pyarrow)
"""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

texts = [None if i % 50 == 7 else f"row {i} 文字" * (i % 5 + 1) for i in range(300)]
table = pa.table({"id": list(range(300)), "text": texts, "kind": pa.array([f"kind {i % 3}" for i in range(300)]).dictionary_encode(), "large": pa.array([f"L{i}" for i in range(300)], pa.large_string())})
pq.write_table(table, pathlib.Path(__file__).parent / "texts.parquet", row_group_size=64, compression="zstd")
