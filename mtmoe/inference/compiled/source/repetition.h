// Repetition: which subwords a translation may not go on with, because it would loop. It says what
// mtmoe/inference/text/subword_repetition.py and mtmoe/data/repetition.py say, where the reasons are.

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace mtmoe {

// What the subwords of a vocabulary consist of, [V] each; memory of the caller (`SubwordLetters`).
struct Letters {
  const int32_t* letters_of = nullptr;
  const int32_t* words_of = nullptr;
  const int32_t* begins_within = nullptr;
  const int32_t* ends_within = nullptr;
  const int32_t* most_in_row = nullptr;
};

// How often a phrase may stand in a row, by its letters and words.
struct RepetitionLimits {
  int short_word = 3, some = 2, many = 1, single = 1;
  bool may_chain = false;
  int times(int num_letters, int num_words, int num_symbols) const;
};

class Repetition {
 public:
  // source: subwords of what is translated, without special symbols.
  Repetition(const Letters& letters, std::vector<int32_t> source) : letters_(letters), source_(std::move(source)) {}
  // Adds the subwords that `ids` may not go on with; one may be there twice.
  void add_looping_words(const std::vector<int32_t>& ids, std::vector<int64_t>& words);

 private:
  bool may_loop(const std::vector<int32_t>& ids) const;
  void find_periods(const std::vector<int32_t>& ids);
  void find_following(const std::vector<int32_t>& ids, const RepetitionLimits& limits);
  const RepetitionLimits& limits();  // found when they are first asked for

  const Letters& letters_;
  std::vector<int32_t> source_;
  std::optional<RepetitionLimits> limits_;
  std::vector<int> periods_;
  std::vector<int32_t> found_;
};

}  // namespace mtmoe
