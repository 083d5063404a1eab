#include "checkpoint/save_tensors.h"

#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace fathom {
namespace {

const char* DtypeName(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return "F32";
    case at::kBFloat16: return "BF16";
    case at::kHalf: return "F16";
    default: break;
  }
  FATHOM_CHECK(false, "tensors of type {} are not written", static_cast<int>(dtype));
  return "";
}

}  // namespace

void SaveTensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  OrderedJson header = OrderedJson::object();
  std::vector<at::Tensor> on_host;
  int64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    on_host.push_back(tensor.cpu().contiguous());
    const int64_t end = offset + static_cast<int64_t>(on_host.back().nbytes());
    header[name] = {{"dtype", DtypeName(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // the data begins at a multiple of 8
  std::string length(8, '\0');
  for (int byte = 0; byte < 8; ++byte) length[byte] = static_cast<char>(uint64_t{text.size()} >> (8 * byte));
  std::vector<std::string_view> pieces = {length, text};
  for (const at::Tensor& tensor : on_host) pieces.emplace_back(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  WriteFileAtomically(path, pieces);
}

}  // namespace fathom
