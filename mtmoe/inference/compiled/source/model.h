// Model: encoder and decoder of a translation model, for inference alone: what mtmoe/model/ computes, without gradients,
// padding and dropout.
//
// Letters: X rows (targets being written), N source tokens of all sentences, S of one, D width, H units of an LSTM,
// A width of the attention's score function, E experts, K of a token, V words.

#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "kernels.h"

namespace mtmoe {

// The settings that shape a model, in the order of `Shape` in library.py.
struct Shape {
  int32_t width, attention_width, vocabulary;
  int32_t encoder_layers, decoder_layers;
  int32_t encoder_bottom;     // 0 sum, 1 concatenate, 2 wide
  int32_t residual, bottom_residual;
  int32_t additive;           // attention: 0 product, 1 additive
  int32_t context;            // 0 parallel, 1 recurrent, 2 recurrent-all
  int32_t output_attention;
  float embedding_factor;
};

struct FeedForward {          // between LSTM layers; absent where there are no matrices
  const Matrix* gate = nullptr;
  std::vector<const Matrix*> first, second;  // of each expert
  std::vector<const Matrix*> dense;          // without experts the layer itself, else the shared ones beside them
  const float* choice_bias = nullptr;        // of each expert, or null
  int experts_per_token = 0;
  bool sigmoid = false;
  bool sigmoid_score = false;
  float gate_scale = 1;
  bool absent() const { return first.empty() && dense.empty(); }
};

struct Lstm {
  const Matrix* joined = nullptr;     // of input and last output together: decoder
  const Matrix* input = nullptr;      // apart: encoder
  const Matrix* recurrent = nullptr;
  const Matrix* projection = nullptr; // or null
  int hidden = 0, width = 0;
};

// Where a row goes on from: a row of the states before, and the memory of its source, which has `length` positions.
struct Origin {
  int64_t parent;
  const float* values;
  const float* keys;
  int64_t length;
};

struct Attention {
  const Matrix* query = nullptr;
  const float* scale = nullptr;
};

class Model {
 public:
  Model(const Shape& shape, bool in_8_bits, const Kernels& kernels);
  ~Model();
  Model(const Model&) = delete;

  // Takes over a copy of weights [outputs, inputs] and a bias (or null) under a name; gates stay in float32.
  void add_matrix(const std::string& name, const float* weights, const float* bias, int outputs, int inputs);
  // Keeps a pointer to numbers that outlive the model: embeddings, scales.
  void add_numbers(const std::string& name, const float* numbers) { numbers_[name] = numbers; }
  // The matrices that a layer has; sigmoid: on its output; sigmoid_score: gates are sigmoids, not a softmax, divided by
  // their sum and times the scale.
  void set_feed_forward(const std::string& name, int num_experts, int experts_per_token, int num_dense, bool sigmoid,
                        bool sigmoid_score, float gate_scale);
  // Finds everything by its name; false if something is missing.
  bool finish();

  int state_size() const { return state_size_; }
  long num_bytes() const { return num_bytes_; }

  // Encodes B sentences: ids side by side, lengths_B; writes values [N, D] and keys [N, A].
  void encode(const int64_t* ids, const int32_t* lengths, int num_sentences, float* values, float* keys) const;
  // One step of X rows; attention: [X, attention_size], zero where a source has no position.
  void step(int rows, const int64_t* tokens, const Origin* origins, const float* state_in, float* state_out,
            float* hidden, float* attention, int attention_size) const;
  // Logits [X, V] behind `hidden`.
  void project(int rows, const float* hidden, float* logits, long ld) const;
  int padded_vocabulary() const { return output_->padded_outputs; }
  const Kernels& kernels() const { return k_; }
  const Shape& shape() const { return shape_; }

 private:
  const Matrix* matrix(const std::string& name, bool optional = false);
  FeedForward feed_forward(const std::string& name);
  void choose_experts(const FeedForward& layer, const float* logits, float* scores, int* chosen, float* gates) const;
  void multiply(const Matrix& weights, const float* x, long ldx, int rows, float* y, long ldy) const;
  void add_experts(const FeedForward& layer, float* x, int rows) const;
  void attend(const Attention& attention, const float* query, int rows, const Origin* origins, float* context,
              float* weights, int ld_weights) const;
  void encode_together(const int64_t* ids, const int32_t* lengths, int num_sentences, float* values, float* keys) const;
  void run_lstm(const Lstm& layer, const float* x, int input, const std::vector<int>& order, const int32_t* lengths,
                const std::vector<long>& begins, bool backward, float* y, long ldy) const;
  template <typename T>
  T* room(long count);

  Shape shape_;
  bool in_8_bits_;
  const Kernels& k_;
  std::map<std::string, Matrix> matrices_;
  std::map<std::string, const float*> numbers_;
  struct FeedForwardShape {
    int num_experts, experts_per_token, num_dense;
    bool sigmoid, sigmoid_score;
    float gate_scale;
  };
  std::map<std::string, FeedForwardShape> feed_forward_shapes_;
  std::deque<void*> memory_;
  long num_bytes_ = 0;
  bool complete_ = true;
  int state_size_ = 0;

  const float *source_embedding_ = nullptr, *target_embedding_ = nullptr;
  std::vector<Lstm> encoder_, decoder_;  // encoder: both directions of the bottom layer first
  std::vector<FeedForward> encoder_experts_, decoder_experts_;  // after layer 1, 2, ...
  const Matrix *keys_ = nullptr, *output_ = nullptr, *output_projection_ = nullptr;
  Attention attention_, output_attention_;
};

}  // namespace mtmoe
