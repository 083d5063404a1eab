#include "train/muon.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "ops/tolerance.h"
#include "train/optimizer.h"
#include "train/tiny_training.h"

namespace fathom {
namespace {

// The iteration written out for one matrix in float64.
at::Tensor PlainOrthogonalize(const at::Tensor& x_NM) {
  at::Tensor x = x_NM.to(at::kDouble);
  x = x / (x.norm() + 1e-7);
  for (int step = 0; step < 5; ++step) {
    const at::Tensor square = x.matmul(x.t());
    x = 3.4445 * x + (-4.7750 * square + 2.0315 * square.matmul(square)).matmul(x);
  }
  return x;
}

TEST(Muon, OrthogonalizeIsNewtonSchulzOfEachMatrixByItself) {
  at::manual_seed(3);
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{8, 20}, {20, 8}, {7, 7}, {1, 5}}) {
    const at::Tensor x = at::randn({3, rows, cols}) * at::tensor({1e-4, 1.0, 50.0}).view({3, 1, 1}).to(at::kFloat);
    const at::Tensor y = Orthogonalize(x);
    for (int64_t b = 0; b < 3; ++b) {
      EXPECT_LT((y[b].to(at::kDouble) - PlainOrthogonalize(x[b])).abs().max().item<double>(), 2e-3) << rows << " x " << cols;
      const at::Tensor singular = at::linalg_svdvals(y[b].to(at::kDouble));
      EXPECT_LT(singular.max().item<double>(), 1.3);
      EXPECT_GT(singular.max().item<double>(), 0.6);
    }
  }
}

TEST(Muon, MatricesAreEveryLinearWeightOnceAndUpProjectionsAHeadEach) {
  const ModelConfig config = TinyMixture(1);
  TinyModel model{config};
  const auto leaves = model.TrainableLeaves();
  std::vector<at::Tensor> seen;
  for (const auto& [name, leaf] : leaves) seen.push_back(at::zeros(leaf.sizes(), at::kInt));
  int64_t num_q_heads = 0, num_experts = 0;
  for (const LeafMatrix& matrix : ListMatrices(model)) {
    seen[matrix.leaf].as_strided({matrix.rows, matrix.cols}, {matrix.row_stride, 1}, matrix.offset).add_(1);
    const std::string& name = leaves[matrix.leaf].first;
    num_q_heads += name.starts_with("model.layers.0.") && name.find("q_b_proj") != std::string::npos && matrix.rows == config.qk_nope_head_dim + config.qk_rope_head_dim;
    num_experts += leaves[matrix.leaf].second.dim() == 3 && name.starts_with("model.layers.1.");
  }
  EXPECT_EQ(num_q_heads, config.num_attention_heads);
  EXPECT_EQ(num_experts, 3 * config.n_routed_experts) << "gate, up and down of each expert";
  for (size_t i = 0; i < leaves.size(); ++i) {
    const std::string& name = leaves[i].first;
    const bool is_other = leaves[i].second.dim() < 2 || name.find("embed") != std::string::npos || name.find("head") != std::string::npos ||
                          name.find("mlp.gate.weight") != std::string::npos;
    EXPECT_TRUE(seen[i].eq(is_other ? 0 : 1).all().item<bool>()) << name;
  }
}

// The formula of the header for a leaf that holds two matrices one above the other.
TEST(Muon, AStepIsTheFormulaForEachMatrixOfALeaf) {
  at::manual_seed(4);
  for (const bool with_master : {false, true}) {
    const at::Tensor master = at::randn({10, 6}), gradient = at::randn({10, 6}), momentum = at::randn({10, 6});
    std::vector<MuonLeaf> leaves(1);
    leaves[0] = {with_master ? master.to(at::kBFloat16) : master.clone(), gradient, momentum.clone(), with_master ? master.clone() : at::Tensor(), {{0, 0, 4, 6, 6}, {0, 24, 6, 6, 6}}};
    const MuonOptions options{.momentum = 0.9, .weight_decay = 0.2, .lr = 0.01, .max_norm = 1};
    const at::Tensor norm = gradient.norm().reshape({1});
    MuonStep(leaves, norm, options);
    const at::Tensor g = gradient / (norm + 1e-6), m = 0.9 * momentum + g, u = g + 0.9 * m;
    at::Tensor expected = master * (1 - 0.01 * 0.2);
    expected.narrow(0, 0, 4) -= 0.01 * 0.2 * std::sqrt(6.0) * PlainOrthogonalize(u.narrow(0, 0, 4)).to(at::kFloat);
    expected.narrow(0, 4, 6) -= 0.01 * 0.2 * std::sqrt(6.0) * PlainOrthogonalize(u.narrow(0, 4, 6)).to(at::kFloat);
    EXPECT_TRUE(at::allclose(leaves[0].momentum, m, 1e-5, 1e-6));
    EXPECT_TRUE(at::allclose(with_master ? leaves[0].master : leaves[0].weight, expected, 1e-4, 1e-5));
    if (with_master) EXPECT_TRUE(leaves[0].weight.equal(leaves[0].master.to(at::kBFloat16)));
  }
}

TEST(Muon, WritesNothingWhereTheNormIsNotFinite) {
  std::vector<MuonLeaf> leaves(1);
  leaves[0] = {at::ones({4, 4}), at::full({4, 4}, std::numeric_limits<float>::quiet_NaN()), at::ones({4, 4}), {}, {{0, 0, 4, 4, 4}}};
  MuonStep(leaves, at::full({1}, std::numeric_limits<float>::quiet_NaN()), {.max_norm = 1});
  EXPECT_TRUE(leaves[0].weight.equal(at::ones({4, 4})));
  EXPECT_TRUE(leaves[0].momentum.equal(at::ones({4, 4})));
}

}  // namespace
}  // namespace fathom
