// The library's functions, as compiled_model.py calls them. Those that return a status return 0, or 1 where memory has
// run out.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>

#include "best_of_row.h"
#include "model.h"
#include "scratch.h"

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace mtmoe {
namespace {

constexpr long LOGITS_AT_ONCE = 1 << 18;  // 1 MB: they stay in a cache

const Kernels& kernels_of(int family) {
#if defined(__x86_64__)
  if (family == 2) return avx512_kernels();
  if (family == 1) return avx2_kernels();
#endif
  (void)family;
  return plain_kernels();
}

template <typename F>
int guarded(F f) {
  try {
    f();
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

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
}  // namespace mtmoe

using mtmoe::Model;

// Counts up when a function takes or does something else; `INTERFACE` in library.py is the one that it knows.
EXPORT int mtmoe_interface() { return 2; }

// The best family of kernels that this processor has: 2 AVX-512 with VNNI, 1 AVX2, 0 any.
EXPORT int mtmoe_best_family() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}

EXPORT Model* mtmoe_new(const mtmoe::Shape* shape, int in_8_bits, int family) {
  return new (std::nothrow) Model(*shape, in_8_bits, mtmoe::kernels_of(family));
}
EXPORT void mtmoe_delete(Model* model) { delete model; }
EXPORT int mtmoe_add_matrix(Model* model, const char* name, const float* weights, const float* bias, int outputs,
                            int inputs) {
  return mtmoe::guarded([&] { model->add_matrix(name, weights, bias, outputs, inputs); });
}
EXPORT int mtmoe_add_numbers(Model* model, const char* name, const float* numbers) {
  return mtmoe::guarded([&] { model->add_numbers(name, numbers); });
}
EXPORT int mtmoe_set_feed_forward(Model* model, const char* name, int num_experts, int experts_per_token, int num_dense,
                                  int sigmoid) {
  return mtmoe::guarded([&] { model->set_feed_forward(name, num_experts, experts_per_token, num_dense, sigmoid); });
}
// Returns the numbers that the state of a row has; -1 if something is missing.
EXPORT int mtmoe_finish(Model* model) { return model->finish() ? model->state_size() : -1; }
EXPORT long mtmoe_num_bytes(const Model* model) { return model->num_bytes(); }

EXPORT int mtmoe_encode(const Model* model, const int64_t* ids, const int32_t* lengths, int num_sentences,
                        float* values, float* keys) {
  return mtmoe::guarded([&] { model->encode(ids, lengths, num_sentences, values, keys); });
}
EXPORT int mtmoe_step(const Model* model, int rows, const int64_t* tokens, const mtmoe::Origin* origins,
                      const float* state_in, float* state_out, float* hidden, float* attention, int attention_size) {
  return mtmoe::guarded(
      [&] { model->step(rows, tokens, origins, state_in, state_out, hidden, attention, attention_size); });
}
EXPORT int mtmoe_project(const Model* model, int rows, const float* hidden, float* logits) {
  return mtmoe::guarded([&] {
    const int size = model->shape().vocabulary, ld = model->padded_vocabulary();
    if (size == ld) return model->project(rows, hidden, logits, ld);
    mtmoe::Scratch scratch;
    float* padded = scratch.take<float>((long)rows * ld);
    model->project(rows, hidden, padded, ld);
    for (int row = 0; row < rows; ++row)
      std::memcpy(logits + (long)row * size, padded + (long)row * ld, size * sizeof(float));
  });
}

// The likeliest next words of each row, and what is asked for besides; log-probabilities are over all words.
// never: symbols that are not to be found in any row. banned: further ones, of row x those from ban_begins[x] to
// ban_begins[x + 1] (null: none). proposed: [X, P].
EXPORT int mtmoe_next_words(const Model* model, int rows, const float* hidden, int wanted, const int64_t* never,
                            int num_never, const int64_t* banned, const int64_t* ban_begins, const int64_t* proposed,
                            int num_proposed, int end_of_sentence, int64_t* words, double* log_probabilities,
                            double* of_end, double* of_proposed) {
  return mtmoe::guarded([&] {
    const int size = model->shape().vocabulary, width = model->shape().width;
    const long ld = model->padded_vocabulary();
    const int at_once = (int)std::max(6L, mtmoe::LOGITS_AT_ONCE / ld / 6 * 6);
    mtmoe::Scratch scratch;
    float* room = scratch.take<float>((long)std::min(rows, at_once) * ld);
    float* values = scratch.take<float>(wanted);
    const float never_found = -std::numeric_limits<float>::infinity();
    for (int first = 0; first < rows; first += at_once) {
      const int here = std::min(at_once, rows - first);
      model->project(here, hidden + (long)first * width, room, ld);
      for (int row = first; row < first + here; ++row) {
        float* logits = room + (row - first) * ld;
        const float all = model->kernels().log_sum_exp(logits, size);
        of_end[row] = logits[end_of_sentence] - all;
        for (int i = 0; i < num_proposed; ++i) {
          const long at = (long)row * num_proposed + i;
          of_proposed[at] = logits[proposed[at]] - all;
        }
        for (int i = 0; i < num_never; ++i) logits[never[i]] = never_found;
        if (ban_begins)
          for (int64_t i = ban_begins[row]; i < ban_begins[row + 1]; ++i) logits[banned[i]] = never_found;
        mtmoe::find_largest(logits, size, wanted, model->kernels(), values, words + (long)row * wanted);
        for (int i = 0; i < wanted; ++i) log_probabilities[(long)row * wanted + i] = values[i] - all;
      }
    }
  });
}
