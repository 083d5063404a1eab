"""Writes the files that tests/checkpoint reads: tests/checkpoint/data/{dtypes.safetensors,model.bin,ggml.gguf,...} and what they hold.

Run with the environment of `make parity`: .venv-test/bin/python tests/checkpoint/make_tensor_files.py
The values come from fixed seeds; running it again gives the same tensors.
"""
import collections
import json
import pathlib

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

DATA = pathlib.Path(__file__).parent / "data"
DATA.mkdir(exist_ok=True)


def every_dtype():
    values = torch.tensor([[0.0, 1.0, -2.5, 3.25], [100.0, -0.125, 7.0, 2.0], [0.5, 48.0, -96.0, 4.0]])
    tensors = {str(d).removeprefix("torch."): values.to(d) for d in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)}
    for d in (torch.int8, torch.int16, torch.int32, torch.int64):
        tensors[str(d).removeprefix("torch.")] = values.to(d)
    for d in (torch.uint8, torch.uint16, torch.uint32, torch.uint64):
        tensors[str(d).removeprefix("torch.")] = values.abs().to(torch.int32).to(d)
    tensors["bool"] = values > 1
    return tensors


def write_safetensors():
    tensors = every_dtype()
    tensors["float8_e8m0fnu"] = torch.tensor([0.5, 1.0, 2.0, 2.0**-20]).to(torch.float8_e8m0fnu)
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(3, 0, 2)
    save_file(tensors, DATA / "dtypes.safetensors", metadata={"format": "pt"})


def write_torch_bin():
    tensors = collections.OrderedDict(every_dtype())
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors["base"] = base
    tensors["transposed"] = base.t()
    tensors["slice"] = base[1:3, 2:5]
    tensors["row"] = base[2]
    tensors["expanded"] = base[:, :1].expand(4, 3)
    tensors["scalar"] = torch.tensor(2.5)
    tensors["parameter"] = torch.nn.Parameter(torch.tensor([1.5, 2.5]))
    torch.save(tensors, DATA / "tensors.bin")
    module = torch.nn.Linear(3, 2)
    torch.manual_seed(1)
    torch.nn.init.normal_(module.weight)
    torch.save(module.state_dict(), DATA / "state_dict.bin")
    torch.save({"a": torch.ones(2)}, DATA / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"a": torch.ones(2), "b": torch.Size([1])}, DATA / "size.bin")

    class Evil:
        def __reduce__(self):
            import os
            return os.system, ("true",)

    torch.save({"a": Evil()}, DATA / "evil.bin")
    torch.save({"a": 3}, DATA / "integer.bin")
    torch.save([torch.ones(2)], DATA / "list.bin")


QUANTS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]


def write_ggml():
    """Random blocks (every bit pattern is a block; the half-precision scales are kept finite), and their values by gguf.quants."""
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(DATA / "ggml.gguf", "llama")
    goldens = {}
    half_places = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
                   "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}
    for name in QUANTS:
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        if name in half_places:
            raw = rng.integers(0, 256, (3, 512 // block, size), dtype=np.uint8)
            for place in half_places[name]:
                scale = rng.standard_normal((3, 512 // block)).astype(np.float16)
                raw[..., place:place + 2] = scale[..., None].view(np.uint8)
            raw = raw.reshape(3, -1)
        else:
            values = rng.standard_normal((3, 512)).astype(np.float32)
            raw = gguf.quants.quantize(values, kind)
        goldens[name] = torch.from_numpy(np.ascontiguousarray(gguf.quants.dequantize(raw, kind), dtype=np.float32).copy())
        writer.add_tensor(name, raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(goldens, DATA / "ggml.safetensors")


if __name__ == "__main__":
    write_safetensors()
    write_torch_bin()
    write_ggml()
    print(sorted((p.name, p.stat().st_size) for p in DATA.iterdir()))
