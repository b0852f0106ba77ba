// Next words: the likeliest ones of rows, from what the decoder gives.

#pragma once

#include <cstdint>

#include "model.h"

namespace mtmoe {

// What is asked for besides. never: symbols that are not to be found in any row. banned: further ones, of row x those
// from ban_begins[x] to ban_begins[x + 1] (null: none). proposed: [X, P].
struct Asked {
  int wanted;
  const int64_t* never;
  int num_never;
  const int64_t* banned;
  const int64_t* ban_begins;
  const int64_t* proposed;
  int num_proposed;
  int end_of_sentence;
};

// Writes words [X, wanted], the likeliest first, and log-probabilities over all words: theirs, those of the end [X],
// and of what is proposed.
void next_words(const Model& model, int rows, const float* hidden, const Asked& asked, int64_t* words,
                double* log_probabilities, double* of_end, double* of_proposed);

}  // namespace mtmoe
