// The library's functions, as compiled_model.py and compiled_search.py call them. Those that return a status return 0, 1
// where memory has run out, or 2 for what is not a number.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>

#include "model.h"
#include "next_words.h"
#include "scratch.h"
#include "search.h"

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace mtmoe {
namespace {

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
  } catch (const std::domain_error&) {
    return 2;
  }
}

}  // namespace
}  // namespace mtmoe

using mtmoe::Model;
using mtmoe::Search;

// Counts up when a function takes or does something else; `INTERFACE` in library.py is the one that it knows.
EXPORT int mtmoe_interface() { return 4; }

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
                                  int sigmoid, int sigmoid_score, float gate_scale) {
  return mtmoe::guarded([&] {
    model->set_feed_forward(name, num_experts, experts_per_token, num_dense, sigmoid, sigmoid_score, gate_scale);
  });
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
    const mtmoe::Asked asked = {wanted, never, num_never, banned, ban_begins, proposed, num_proposed, end_of_sentence};
    mtmoe::next_words(*model, rows, hidden, asked, words, log_probabilities, of_end, of_proposed);
  });
}

// Coverage penalties of rows [X, ld], each of so many positions.
EXPORT void mtmoe_coverage_penalty(int rows, const float* coverage, long ld, const int64_t* lengths, double beta,
                                   double* penalties) {
  for (int row = 0; row < rows; ++row)
    penalties[row] = mtmoe::coverage_penalty(coverage + row * ld, (int)lengths[row], beta);
}

EXPORT Search* mtmoe_search_new(const Model* model, const mtmoe::SearchOptions* options, const int64_t* never,
                                int num_never, const mtmoe::Letters* letters) {
  Search* search = nullptr;
  mtmoe::guarded([&] { search = new Search(*model, *options, never, num_never, *letters); });
  return search;
}
EXPORT void mtmoe_search_delete(Search* search) { delete search; }
EXPORT int mtmoe_search_set_penalties(Search* search, const double* of_number, const double* of_array, int number) {
  return mtmoe::guarded([&] { search->set_penalties(of_number, of_array, number); });
}
EXPORT int mtmoe_search_add(Search* search, int64_t key, const int64_t* ids, int length, int max_length,
                            int limits_loops, int tells_attention) {
  return mtmoe::guarded([&] { search->add(key, ids, length, max_length, limits_loops, tells_attention); });
}
EXPORT int mtmoe_search_drop(Search* search, int64_t key) {
  return mtmoe::guarded([&] { search->drop(key); });
}
// Takes steps until a source is done, at most so many (0: any number). Returns a status, 2 for what is not a number.
// sizes: of the sources that are done their number, and those of their hypotheses, tokens, and numbers of attention.
EXPORT int mtmoe_search_steps(Search* search, int most, int64_t* sizes) {
  int status = mtmoe::guarded([&] {
    for (int number = 0; search->done.empty() && search->num_sources() && (!most || number < most); ++number)
      if (!search->step()) throw std::domain_error("not a number");
  });
  std::fill(sizes, sizes + 4, 0);
  for (const mtmoe::Done& done : search->done) {
    ++sizes[0];
    for (const mtmoe::Found& found : done.found) {
      ++sizes[1];
      sizes[2] += (int64_t)found.log_probabilities.size();
      sizes[3] += (int64_t)found.attention.size();
    }
  }
  return status;
}
// Gives the sources that are done, and forgets them. Of each source its key and number of hypotheses; of each hypothesis
// its tokens (the end counted), numbers of attention, whether it was cut off; score and log-probability; then word by
// word the ids (of the end as well) and log-probabilities.
EXPORT void mtmoe_search_take(Search* search, int end_of_sentence, int64_t* of_sources, int64_t* of_hypotheses,
                              double* scores, int64_t* ids, double* log_probabilities, float* attention) {
  for (const mtmoe::Done& done : search->done) {
    *of_sources++ = done.key;
    *of_sources++ = (int64_t)done.found.size();
    for (const mtmoe::Found& found : done.found) {
      *of_hypotheses++ = (int64_t)found.log_probabilities.size();
      *of_hypotheses++ = (int64_t)found.attention.size();
      *of_hypotheses++ = found.cut_off;
      *scores++ = found.score;
      *scores++ = found.log_probability;
      ids = std::copy(found.ids.begin(), found.ids.end(), ids);
      *ids++ = end_of_sentence;
      log_probabilities = std::copy(found.log_probabilities.begin(), found.log_probabilities.end(), log_probabilities);
      attention = std::copy(found.attention.begin(), found.attention.end(), attention);
    }
  }
  search->done.clear();
}
