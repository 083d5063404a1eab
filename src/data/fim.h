// Fill in the middle: documents rearranged as <begin> prefix <hole> suffix <end> middle, so that a model learns to write what stands between.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/spec.h"
#include "text/tokenizer.h"

namespace fathom {

class FillInMiddle {
 public:
  // Throws UserError where the rate is above 0 and the tokenizer has not the tokens.
  FillInMiddle(const FimSpec& spec, std::shared_ptr<const Tokenizer> tokenizer);

  // Whether the document that `bits` belong to is rearranged: for `rate` of all bits.
  bool Chooses(uint64_t bits) const;
  // The document's text cut at two random characters (from `bits`) and tokenised again.
  std::vector<int32_t> Rearrange(const std::vector<int32_t>& tokens, uint64_t bits) const;

 private:
  double rate_;
  int32_t begin_ = -1, hole_ = -1, end_ = -1;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace fathom
