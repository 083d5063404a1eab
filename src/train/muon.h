// Muon: momentum whose update is the nearest orthogonal matrix (Jordan et al. 2024, kellerjordan.github.io/posts/muon; weight decay and the scale that lets it
// share AdamW's learning rate: Moonlight, arXiv 2502.16982, 2.2).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/model.h"

namespace fathom {

// A matrix that is orthogonalised by itself: a view of a leaf.
struct LeafMatrix {
  size_t leaf = 0;          // index into the model's TrainableLeaves()
  int64_t offset = 0;       // of its first value in the leaf
  int64_t rows = 0, cols = 0, row_stride = 0;
};

// The matrices of attention, feed-forward networks, experts and MTP's projections, one for each weight of the table although leaves hold several; the projections
// from which heads are cut (q, k, v and their up-projections from a latent) are one matrix a head, keys and values apart. Embedding, head, router, norms and
// biases are none.
std::vector<LeafMatrix> ListMatrices(Model& model);

// Newton-Schulz: five steps of X <- a X + b (X X^T) X + c (X X^T)^2 X with (a, b, c) = (3.4445, -4.7750, 2.0315) from X / |X|_F, each matrix by itself. x [B, N, M];
// singular values come to between 0.7 and 1.2 (they are not all 1: it is a few steps). Products in float32 on the CPU and bfloat16 elsewhere; gives float32.
at::Tensor Orthogonalize(const at::Tensor& x_BNM);

struct MuonOptions {
  double momentum = 0.95;
  double weight_decay = 0.1;  // decoupled, as AdamW's
  double lr = 1e-3;
  double max_norm = 0;        // gradients are scaled as ops/adamw/adamw.h says; 0: as they are
};

// One leaf's step over its matrices: with g the clipped gradient and mu the momentum
//   m = mu m + g,   u = g + mu m (Nesterov),   w = w (1 - lr weight_decay) - lr 0.2 sqrt(max(N, M)) Orthogonalize(u)
// for each matrix [N, M]: 0.2 sqrt(max(N, M)) gives u the root mean square of AdamW's updates. Where the gradients' `norm` is not finite nothing is written. The host
// reads nothing. master: a float32 copy that the update is computed on, undefined: the weight alone.
struct MuonLeaf {
  at::Tensor weight, gradient, momentum, master;
  std::vector<LeafMatrix> matrices;
};
void MuonStep(std::vector<MuonLeaf>& leaves, const at::Tensor& norm, const MuonOptions& options);

}  // namespace fathom
