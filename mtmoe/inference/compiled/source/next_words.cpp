#include "next_words.h"

#include <algorithm>
#include <limits>

#include "best_of_row.h"
#include "scratch.h"

namespace mtmoe {

namespace {

constexpr long LOGITS_AT_ONCE = 1 << 18;  // 1 MB: they stay in a cache

// The `wanted` largest numbers of a row, largest first, and their places; the first ones of equal numbers.
void find_largest(const float* row, int size, int wanted, const Kernels& k, float* values, int64_t* places) {
  constexpr int STRIDE = 64;
  BestOfRow<int64_t> found(wanted, values, places);
  for (int begin = 0; begin < size; begin += STRIDE) {
    const int end = std::min(begin + STRIDE, size);
    if (!found.lets_in(k.largest(row + begin, end - begin))) continue;
    for (int at = begin; at < end; ++at) found.add(row[at], at);
  }
}

}  // namespace

void next_words(const Model& model, int rows, const float* hidden, const Asked& asked, int64_t* words,
                double* log_probabilities, double* of_end, double* of_proposed) {
  const int size = model.shape().vocabulary, width = model.shape().width, wanted = asked.wanted;
  const long ld = model.padded_vocabulary();
  const int at_once = (int)std::max(6L, LOGITS_AT_ONCE / ld / 6 * 6);
  Scratch scratch;
  float* room = scratch.take<float>((long)std::min(rows, at_once) * ld);
  float* values = scratch.take<float>(wanted);
  const float never_found = -std::numeric_limits<float>::infinity();
  for (int first = 0; first < rows; first += at_once) {
    const int here = std::min(at_once, rows - first);
    model.project(here, hidden + (long)first * width, room, ld);
    for (int row = first; row < first + here; ++row) {
      float* logits = room + (row - first) * ld;
      const float all = model.kernels().log_sum_exp(logits, size);
      of_end[row] = logits[asked.end_of_sentence] - all;
      for (int i = 0; i < asked.num_proposed; ++i) {
        const long at = (long)row * asked.num_proposed + i;
        of_proposed[at] = logits[asked.proposed[at]] - all;
      }
      for (int i = 0; i < asked.num_never; ++i) logits[asked.never[i]] = never_found;
      if (asked.ban_begins)
        for (int64_t i = asked.ban_begins[row]; i < asked.ban_begins[row + 1]; ++i) logits[asked.banned[i]] = never_found;
      find_largest(logits, size, wanted, model.kernels(), values, words + (long)row * wanted);
      for (int i = 0; i < wanted; ++i) log_probabilities[(long)row * wanted + i] = values[i] - all;
    }
  }
}

}  // namespace mtmoe
