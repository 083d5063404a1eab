#include "checkpoint/outgoing_tensor.h"

#include <algorithm>
#include <cstddef>

#include "checkpoint/parallel_pieces.h"

namespace fathom {
namespace {

constexpr int64_t kBufferBytes = 32 << 20, kPieceBytes = 1 << 20;

}  // namespace

int64_t OutgoingTensor::num_cols() const { return shape.empty() ? 1 : shape.back(); }

int64_t OutgoingTensor::num_rows() const {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

int64_t OutgoingTensor::num_bytes() const { return num_rows() * num_cols() * static_cast<int64_t>(c10::elementSize(dtype)); }

void WriteValues(const OutgoingTensor& tensor, OutputFile& file) {
  if (tensor.num_bytes() == 0) return;
  const int64_t row_bytes = tensor.num_cols() * static_cast<int64_t>(c10::elementSize(tensor.dtype));
  const int64_t rows_a_buffer = std::max<int64_t>(1, kBufferBytes / row_bytes), rows_a_piece = std::max<int64_t>(1, kPieceBytes / row_bytes);
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(rows_a_buffer, tensor.num_rows()) * row_bytes));
  for (int64_t begin = 0; begin < tensor.num_rows(); begin += rows_a_buffer) {
    const int64_t end = std::min(tensor.num_rows(), begin + rows_a_buffer);
    ForEachPiece((end - begin + rows_a_piece - 1) / rows_a_piece, [&](int64_t piece) {
      const int64_t row0 = begin + piece * rows_a_piece, row1 = std::min(end, row0 + rows_a_piece);
      tensor.read(row0, row1, buffer.data() + (row0 - begin) * row_bytes, tensor.dtype);
    });
    file.Write(buffer.data(), static_cast<size_t>((end - begin) * row_bytes));
    if (tensor.release) tensor.release(begin, end);
  }
}

}  // namespace fathom
