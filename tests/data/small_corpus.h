// Texts and a tokenizer small enough to be made anew in each test.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "data/dataset.h"
#include "data/tokenize.h"
#include "temporary_folder.h"
#include "text/bpe_trainer.h"

namespace fathom::testing {

inline const std::vector<std::string>& SpecialTokens() {
  static const std::vector<std::string> kTokens = {"<bos>", "<eos>", "<pad>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"};
  return kTokens;
}

// Documents of 1 to about 60 words, all different.
inline std::vector<std::string> Documents(int count, const std::string& word = "word") {
  std::vector<std::string> documents;
  for (int i = 0; i < count; ++i) {
    std::string text = word + std::to_string(i);
    for (int k = 0; k < (i * 37) % 60; ++k) text += (k % 7 == 3 ? "\n" : " ") + word + std::to_string((i + k * k) % 23) + (k % 5 == 0 ? ", naïve 文字" : "");
    documents.push_back(text);
  }
  return documents;
}

inline void WriteJsonLines(const std::filesystem::path& path, const std::vector<std::string>& documents) {
  std::string lines;
  for (const std::string& document : documents) lines += Json({{"text", document}}).dump() + "\n";
  WriteFileAtomically(path, lines);
}

inline std::filesystem::path WriteTokenizer(const std::filesystem::path& folder, int vocab_size = 400) {
  std::filesystem::create_directories(folder);
  WordCounts words;
  const WordSplitter splitter("deepseek-v3");
  for (const std::string& document : Documents(50)) splitter.Count(document, words);
  const TrainedBpe trained = TrainBpe(words, {.vocab_size = vocab_size, .special_tokens = SpecialTokens()});
  const GgufVocabulary vocabulary = VocabularyOf(trained, "deepseek-v3", SpecialTokens(), "<bos>", "<eos>", "<pad>");
  WriteFileAtomically(folder / "tokenizer.json", HubTokenizer(vocabulary).dump());
  WriteFileAtomically(folder / "tokenizer_config.json", HubTokenizerConfig(vocabulary, 1024).dump());
  return folder;
}

inline SourceSpec SourceOf(const std::filesystem::path& path, const std::string& domain = "general") {
  SourceSpec source;
  source.name = path.filename().string();
  source.paths = {path.string()};
  source.domain = domain;
  return source;
}

// The message of the UserError that `act` throws; "" when it throws none.
template <typename Act>
std::string UserErrorOf(Act act) {
  try {
    act();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

}  // namespace fathom::testing
