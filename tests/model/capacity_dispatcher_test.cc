#include "model/capacity_dispatcher.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace fathom {
namespace {

TEST(ExpertCapacity, IsTheEvenShareTimesTheFactorRoundedUp) {
  EXPECT_EQ(ExpertCapacity(1.0, 10, 2, 8), 3);
  EXPECT_EQ(ExpertCapacity(1.25, 64, 4, 32), 10);
  EXPECT_EQ(ExpertCapacity(0.01, 8, 1, 8), 1);
}

TEST(ExpertCapacity, KeepsTheLargestWeightsOfEachExpert) {
  at::manual_seed(6);
  const int64_t T = 37, K = 3, E = 5;
  const at::Tensor weights = at::rand({T, K}), choices = at::argsort(at::rand({T, E}), int64_t{1}, false).narrow(1, 0, K).to(at::kInt).contiguous();
  for (const int64_t capacity : {1, 7, 22, 200}) {
    const at::Tensor kept = KeptChoices(weights, choices, E, capacity);
    for (int64_t e = 0; e < E; ++e) {
      std::vector<float> stay, go;
      for (int64_t t = 0; t < T; ++t) {
        for (int64_t k = 0; k < K; ++k) {
          if (choices[t][k].item<int>() == e) (kept[t][k].item<bool>() ? stay : go).push_back(weights[t][k].item<float>());
        }
      }
      EXPECT_EQ(std::ssize(stay), std::min<int64_t>(capacity, std::ssize(stay) + std::ssize(go)));
      if (!stay.empty() && !go.empty()) EXPECT_GE(*std::min_element(stay.begin(), stay.end()), *std::max_element(go.begin(), go.end()));
    }
  }
}

TEST(ExpertCapacity, OfEqualWeightsTheEarlierStay) {
  const at::Tensor kept = KeptChoices(at::ones({4, 1}), at::zeros({4, 1}, at::kInt), 2, 2);
  EXPECT_TRUE(kept.flatten().to(at::kInt).equal(at::tensor({1, 1, 0, 0}, at::kInt)));
}

}  // namespace
}  // namespace fathom
