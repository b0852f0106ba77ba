// Search: greedy and beam search of sources of whose translations nothing is required but that they do not loop. It does
// what mtmoe/inference/search/beam_search.py does, step by step and to the bit; that is where the reasons are.
//
// Letters: X rows, each an active hypothesis, C candidates of one: the end, and then the likeliest words.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "model.h"
#include "repetition.h"

namespace mtmoe {

// In the order of `Options` in compiled_search.py.
struct SearchOptions {
  int32_t width, num_best;
  int32_t num_words;  // likeliest ones of a row
  int32_t early_stopping;  // 0 full, 1 exact, 2 best
  int32_t begin_of_sentence, end_of_sentence;
  double prune_margin, beam_margin;  // without a margin: infinity
  double coverage_beta;
};

// GNMT's coverage penalty (mtmoe/inference/search/gnmt_score.py) of attention that positions have had in all.
double coverage_penalty(const float* coverage, int num_positions, double beta);

// A finished translation of a source.
struct Found {
  double score, log_probability;
  bool cut_off;
  std::vector<int32_t> ids;
  std::vector<double> log_probabilities;  // of each word, then of the end
  std::vector<float> attention;           // [words and end, source positions]; empty where it is not kept
};

struct Done {
  int64_t key;
  std::vector<Found> found;  // best first
};

class Search {
 public:
  Search(const Model& model, const SearchOptions& options, const int64_t* never, int num_never, const Letters& letters);

  // Length penalties of 0, 1, ... tokens, as they are computed of a number, and of an array of numbers.
  void set_penalties(const double* of_number, const double* of_array, int number);
  // Takes in a source, with EOS at its end; max_length: of the translation, EOS not counted; it has a penalty.
  void add(int64_t key, const int64_t* ids, int length, int max_length, bool limits_loops, bool tells_attention);
  void drop(int64_t key);
  // Takes a step of all that is in it; false if the model's output is not a number.
  bool step();
  int num_sources() const { return (int)sources_.size(); }

  std::vector<Done> done;  // to be taken by the caller

 private:
  struct Node {  // a word of a hypothesis
    int parent;  // -1: none before it
    int32_t word;
    double log_probability;
    long attention;
  };
  struct Finished {
    double score, log_probability, of_end;
    int num_tokens, node;
    bool cut_off;
    long attention;
  };
  struct Source {
    int64_t key;
    int max_length, num_positions;
    bool keeps_attention;    // while it is searched for
    bool tells_attention;
    std::vector<int64_t> ids;
    std::unique_ptr<Repetition> repetition;
    std::shared_ptr<float[]> memory;  // of all that were encoded together
    const float *values = nullptr, *keys = nullptr;
    std::vector<Node> nodes;
    std::vector<Finished> finished;  // highest score first
    std::vector<float> attention;
    double best, to_beat;
  };
  struct Active {
    Source* source;
    int64_t parent;  // row of the states
    int node, length;
    int32_t word;
    double log_probability;
  };
  struct Cell {
    int row, column;
    double score;
  };

  void encode_newcomers();
  void find_banned(int rows);
  void extend(int first, int end, const int64_t* words, const double* log_probabilities, const double* of_end,
              const float* attention, long attention_size);
  void finish(Source& source, const Finished& finished);
  void leave(Source& source);
  std::vector<int32_t> words_behind(const Source& source, int node) const;
  double penalty_of_coverage(const Source& source, int node, long attention) const;

  const Model& model_;
  const SearchOptions options_;
  const std::vector<int64_t> never_;
  const Letters letters_;
  std::vector<double> penalty_of_number_, penalty_of_array_;
  std::map<int64_t, std::unique_ptr<Source>> sources_;
  std::vector<Source*> newcomers_;
  std::vector<Active> active_, next_;
  std::vector<float> state_, next_state_;
  std::vector<int64_t> banned_, ban_begins_;
  std::vector<double> scores_;
  std::vector<Cell> cells_;
  bool is_number_ = true;
};

}  // namespace mtmoe
