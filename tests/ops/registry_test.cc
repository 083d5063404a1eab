#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>

#include <string>

namespace fathom::ops {
namespace {

TEST(Registry, EveryOperatorHasAnAutogradKernelAndACpuKernel) {
  int num_operators = 0;
  for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name.rfind("fathom::", 0) != 0) continue;
    ++num_operators;
    const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name.name.c_str(), name.overload_name.c_str());
    EXPECT_TRUE(op.hasKernelForDispatchKey(c10::DispatchKey::Autograd)) << name.name << " would cut the graph in silence";
    EXPECT_TRUE(op.hasKernelForDispatchKey(c10::DispatchKey::CPU)) << name.name;
  }
  EXPECT_GE(num_operators, 20);
}

}  // namespace
}  // namespace fathom::ops
