// Ids and texts of Hugging Face's `tokenizers` for small tokenizers of every family and option (make_goldens.py).
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "places.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

const Json& Goldens() {
  static const Json kGoldens = ReadJsonFile(SourceFolder() / "tests/text/data/tokenizer_goldens.json");
  return kGoldens;
}

std::shared_ptr<const Tokenizer> TokenizerOf(const Json& pipeline) {
  Json data = pipeline["tokenizer"];
  data["model"] = Goldens()["models"][pipeline["model"].get<size_t>()];
  data["model"].update(pipeline["model_options"]);
  return Tokenizer::FromJson(data.dump(), "");
}

std::string Stream(const std::shared_ptr<const Tokenizer>& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  StreamDetokenizer stream(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) {
    const std::string piece = stream.Push(id);
    EXPECT_NO_THROW(Json(piece).dump()) << "half a character";  // dump refuses what is not UTF-8
    text += piece;
  }
  return text + stream.Finish();
}

TEST(TokenizerGoldens, EveryFamilyAndOptionGivesTheIdsAndTextsOfHuggingFace) {
  size_t num_texts = 0;
  for (const Json& pipeline : Goldens()["pipelines"]) {
    const std::string name = pipeline["name"];
    const auto tokenizer = TokenizerOf(pipeline);
    for (const Json& golden : pipeline["cases"]) {
      const std::string text = golden["text"];
      SCOPED_TRACE(name + ": " + golden.dump());
      const std::vector<int32_t> ids = golden["ids"];
      EXPECT_EQ(tokenizer->Encode(text, {}), ids);
      EXPECT_EQ(tokenizer->Encode(text, {.match_special = false}), golden.value("ids_without_special", ids));
      const std::string decoded = golden.value("decoded", text);
      EXPECT_EQ(tokenizer->Decode(ids, false), decoded);
      EXPECT_EQ(Stream(tokenizer, ids, false), decoded);
      const std::string skipped = golden.value("decoded_without_special", decoded);
      EXPECT_EQ(tokenizer->Decode(ids, true), skipped);
      EXPECT_EQ(Stream(tokenizer, ids, true), skipped);
      ++num_texts;
    }
  }
  EXPECT_GT(num_texts, 1000u);
}

}  // namespace
}  // namespace fathom
