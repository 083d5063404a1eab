// The pickle inside a torch.save file, read by a machine that knows only the opcodes and globals which a dictionary of tensors needs. Nothing is
// ever called or imported: a global outside the list is refused by name. Source: CPython's pickletools, PyTorch's torch/_utils.py.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace fathom {

// A view of a storage, as torch._utils._rebuild_tensor_v2 takes it.
struct PickledTensor {
  std::string name;
  std::string storage_key;      // the member data/KEY of the archive
  int64_t storage_bytes = 0;
  at::ScalarType dtype = at::kFloat;
  int64_t storage_offset = 0;   // in elements
  std::vector<int64_t> shape, strides;
};

// The tensors of the dictionary {name: tensor} that `pickle` holds, in its order. Throws UserError naming the opcode, global or value
// that does not belong there.
std::vector<PickledTensor> ReadTensorPickle(std::span<const std::byte> pickle, const std::string& what);

}  // namespace fathom
