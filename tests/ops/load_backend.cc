// Loads the CUDA backend before any test where FATHOM_TEST_DEVICE asks for it. Part of every test program that runs on a device.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "ops/cuda_backend.h"

namespace fathom::ops {
namespace {

class LoadBackend : public ::testing::Environment {
 public:
  void SetUp() override {
    const char* device = std::getenv("FATHOM_TEST_DEVICE");
    if (device == nullptr || std::string(device).rfind("cuda", 0) != 0) return;
    std::string why;
    ASSERT_TRUE(LoadCudaBackend(&why)) << why;
  }
};

const ::testing::Environment* const kLoadBackend = ::testing::AddGlobalTestEnvironment(new LoadBackend);

}  // namespace
}  // namespace fathom::ops
