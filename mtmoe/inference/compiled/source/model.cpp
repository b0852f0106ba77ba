#include "model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>

#include "best_of_row.h"
#include "scratch.h"

namespace mtmoe {

namespace {

constexpr long TOKENS_AT_ONCE = 2048;  // of the encoder: so much room it takes at most
constexpr int MOST_CHOSEN = 64;  // experts of a token, as `_MOST_CHOSEN` in compiled_model.py

// The k largest numbers, the largest first. One more is looked at: where it equals the last one, the library of torch
// decides which of them is in (as in a gate that has learned nothing, all of whose logits are 0).
void choose_best(const float* numbers, int size, int k, float* values, int* places) {
  if (k < 1 || k > MOST_CHOSEN) std::abort();
  const int wanted = std::min(k + 1, size);
  float best[MOST_CHOSEN + 1];
  int at[MOST_CHOSEN + 1];
  BestOfRow<int> found(wanted, best, at);
  for (int i = 0; i < size; ++i) found.add(numbers[i], i);
  if (wanted > k && best[k - 1] == best[k]) {  // as aten/src/ATen/native/TopKImpl.h chooses
    std::vector<std::pair<float, int>> all(size);
    for (int i = 0; i < size; ++i) all[i] = {numbers[i], i};
    const auto larger = [](const std::pair<float, int>& a, const std::pair<float, int>& b) {
      return (std::isnan(a.first) && !std::isnan(b.first)) || a.first > b.first;
    };
    if (wanted * 64L <= size) {
      std::partial_sort(all.begin(), all.begin() + wanted, all.end(), larger);
    } else {
      std::nth_element(all.begin(), all.begin() + wanted - 1, all.end(), larger);
      std::sort(all.begin(), all.begin() + wanted - 1, larger);
    }
    for (int i = 0; i < k; ++i) {
      best[i] = all[i].first;
      at[i] = all[i].second;
    }
  }
  std::copy(best, best + k, values);
  std::copy(at, at + k, places);
}

}  // namespace

Model::Model(const Shape& shape, bool in_8_bits, const Kernels& kernels)
    : shape_(shape), in_8_bits_(in_8_bits), k_(kernels) {}

Model::~Model() {
  for (void* block : memory_) std::free(block);
}

template <typename T>
T* Model::room(long count) {
  void* memory = nullptr;
  const long bytes = count * (long)sizeof(T);
  if (posix_memalign(&memory, ALIGNMENT, std::max(bytes, 1L))) throw std::bad_alloc();
  std::memset(memory, 0, bytes);
  memory_.push_back(memory);
  num_bytes_ += bytes;
  return (T*)memory;
}

void Model::add_matrix(const std::string& name, const float* weights, const float* bias, int outputs, int inputs) {
  Matrix m;
  m.outputs = outputs;
  m.inputs = inputs;
  m.padded_outputs = rounded_up(outputs, BLOCK);
  m.padded_inputs = rounded_up(inputs, QUAD);
  const bool is_gate = name.size() > 5 && name.compare(name.size() - 5, 5, ".gate") == 0;
  if (bias) {
    m.bias = room<float>(m.padded_outputs);
    std::memcpy(m.bias, bias, outputs * sizeof(float));
  }
  if (!in_8_bits_ || is_gate) {
    m.values = room<float>((long)m.padded_outputs * inputs);
    for (int o = 0; o < outputs; ++o)
      for (int i = 0; i < inputs; ++i)
        m.values[(long)(o / BLOCK) * inputs * BLOCK + (long)i * BLOCK + o % BLOCK] = weights[(long)o * inputs + i];
  } else {
    m.quantised = room<int8_t>((long)m.padded_outputs * m.padded_inputs);
    m.scale = room<float>(m.padded_outputs);
    m.offset = room<int32_t>(m.padded_outputs);
    for (int o = 0; o < outputs; ++o) {
      const float* row = weights + (long)o * inputs;
      float most = 0, nothing = 0;
      for (int i = 0; i < inputs; ++i) {
        most = std::max(most, std::fabs(row[i]));
        nothing += row[i] * 0.0f;
      }
      const float step = std::max(most / WEIGHT_STEPS, TINY);
      m.scale[o] = step + nothing;
      int8_t* block = m.quantised + (long)(o / BLOCK) * m.padded_inputs * BLOCK + o % BLOCK * QUAD;
      for (int i = 0; i < inputs; ++i) {
        const int rounded = (int)std::nearbyint(row[i] / step);
        block[(long)(i / QUAD) * BLOCK * QUAD + i % QUAD] = (int8_t)rounded;
        m.offset[o] += ZERO * rounded;
      }
    }
  }
  matrices_[name] = m;
}

void Model::set_feed_forward(const std::string& name, int num_experts, int experts_per_token, int num_dense,
                             bool sigmoid, bool sigmoid_score, float gate_scale) {
  feed_forward_shapes_[name] = {num_experts, experts_per_token, num_dense, sigmoid, sigmoid_score, gate_scale};
}

const Matrix* Model::matrix(const std::string& name, bool optional) {
  const auto found = matrices_.find(name);
  if (found != matrices_.end()) return &found->second;
  complete_ = complete_ && optional;
  return nullptr;
}

FeedForward Model::feed_forward(const std::string& name) {
  FeedForward layer;
  const auto found = feed_forward_shapes_.find(name);
  if (found == feed_forward_shapes_.end()) return layer;
  const FeedForwardShape& shape = found->second;
  layer.experts_per_token = shape.experts_per_token;
  layer.sigmoid = shape.sigmoid;
  layer.sigmoid_score = shape.sigmoid_score;
  layer.gate_scale = shape.gate_scale;
  const auto bias = numbers_.find(name + ".choice_bias");
  if (bias != numbers_.end()) layer.choice_bias = bias->second;
  for (int i = 0; i < shape.num_dense; ++i) layer.dense.push_back(matrix(name + ".dense" + std::to_string(i)));
  if (shape.num_experts) layer.gate = matrix(name + ".gate");
  for (int i = 0; i < shape.num_experts; ++i) {
    layer.first.push_back(matrix(name + ".first" + std::to_string(i)));
    layer.second.push_back(matrix(name + ".second" + std::to_string(i)));
  }
  return layer;
}

bool Model::finish() {
  const auto numbers = [&](const std::string& name) {
    const auto found = numbers_.find(name);
    complete_ = complete_ && found != numbers_.end();
    return found == numbers_.end() ? nullptr : found->second;
  };
  source_embedding_ = numbers("source_embedding");
  target_embedding_ = numbers("target_embedding");
  output_ = matrix("output");
  keys_ = matrix("keys");
  attention_ = {matrix("attention.query"), numbers("attention.scale")};
  if (shape_.output_attention) {
    output_attention_ = {matrix("output_attention.query"), numbers("output_attention.scale")};
    output_projection_ = matrix("output_attention.projection");
  }
  const auto encoder_layer = [&](const std::string& name) {
    Lstm layer;
    layer.input = matrix(name + ".input");
    layer.recurrent = matrix(name + ".recurrent");
    layer.projection = matrix(name + ".projection", true);
    if (layer.recurrent) {
      layer.hidden = layer.recurrent->outputs / 4;
      layer.width = layer.recurrent->inputs;
    }
    encoder_.push_back(layer);
  };
  encoder_layer("encoder.forward");
  encoder_layer("encoder.backward");
  for (int i = 2; i <= shape_.encoder_layers; ++i) encoder_layer("encoder." + std::to_string(i));
  for (int i = 1; i <= shape_.encoder_layers; ++i)
    encoder_experts_.push_back(feed_forward("encoder.moe" + std::to_string(i)));
  for (int i = 1; i <= shape_.decoder_layers; ++i) {
    const std::string name = "decoder." + std::to_string(i);
    Lstm layer;
    layer.joined = matrix(name + ".joined");
    layer.projection = matrix(name + ".projection", true);
    layer.hidden = layer.joined ? layer.joined->outputs / 4 : 0;
    layer.width = shape_.width;
    decoder_.push_back(layer);
    decoder_experts_.push_back(feed_forward("decoder.moe" + std::to_string(i)));
    state_size_ += layer.width + layer.hidden;
  }
  if (shape_.context) state_size_ += shape_.width;  // the query
  return complete_;
}

void Model::multiply(const Matrix& weights, const float* x, long ldx, int rows, float* y, long ldy) const {
  if (!rows) return;
  if (!weights.quantised) {
    k_.product(x, ldx, rows, weights, y, ldy);
    return;
  }
  Scratch scratch;
  uint8_t* q = scratch.take<uint8_t>((long)rows * weights.padded_inputs);
  float* scale = scratch.take<float>(rows);
  k_.quantise(x, ldx, rows, weights.inputs, q, weights.padded_inputs, scale);
  k_.product_of_8_bits(q, weights.padded_inputs, scale, rows, weights, y, ldy);
}

// The k best experts of a row of logits, and their gates: a softmax over their logits (eqs. 3 and 5), or over the
// logarithms of their sigmoids, which is these divided by their sum. With a bias the best are those of score plus bias.
// scores: room for all experts.
void Model::choose_experts(const FeedForward& layer, const float* logits, float* scores, int* chosen,
                           float* gates) const {
  const int num_experts = (int)layer.first.size(), k = layer.experts_per_token;
  if (layer.choice_bias) {
    std::copy(logits, logits + num_experts, scores);
    if (layer.sigmoid_score)
      k_.sigmoid(scores, num_experts);
    else
      k_.softmax(scores, num_experts);
    for (int i = 0; i < num_experts; ++i) scores[i] += layer.choice_bias[i];
    choose_best(scores, num_experts, k, gates, chosen);
    for (int i = 0; i < k; ++i) gates[i] = logits[chosen[i]];
  } else {
    choose_best(logits, num_experts, k, gates, chosen);
  }
  if (layer.sigmoid_score)
    for (int i = 0; i < k; ++i) gates[i] = std::min(gates[i], 0.0f) - std::log1p(std::exp(-std::fabs(gates[i])));
  k_.softmax(gates, k);
  if (layer.gate_scale != 1.0f)
    for (int i = 0; i < k; ++i) gates[i] *= layer.gate_scale;
}

// x += f(x), with the sigmoid on f where the layer has it; without residual connections x = f(x).
void Model::add_experts(const FeedForward& layer, float* x, int rows) const {
  if (layer.absent() || !rows) return;
  const int width = shape_.width;
  const long ld = rounded_up(width, BLOCK);
  Scratch scratch;
  float* y = scratch.take<float>(rows * ld);
  if (!layer.dense.empty()) {
    const float* from = x;
    long ld_from = width;
    for (size_t i = 0; i < layer.dense.size(); ++i) {
      const Matrix& weights = *layer.dense[i];
      const bool last = i + 1 == layer.dense.size();
      float* to = last ? y : scratch.take<float>((long)rows * weights.padded_outputs);
      multiply(weights, from, ld_from, rows, to, weights.padded_outputs);
      if (!last) k_.relu(to, rows * weights.padded_outputs);
      from = to;
      ld_from = weights.padded_outputs;
    }
  } else {
    std::fill(y, y + rows * ld, 0.0f);
  }
  if (!layer.first.empty()) {
    const int num_experts = (int)layer.first.size(), k = layer.experts_per_token;
    const long ld_gate = layer.gate->padded_outputs, hidden = layer.first[0]->padded_outputs;
    float* logits = scratch.take<float>(rows * ld_gate);
    multiply(*layer.gate, x, width, rows, logits, ld_gate);
    int* chosen = scratch.take<int>((long)rows * k);
    float* gates = scratch.take<float>((long)rows * k);
    int* counts = scratch.take<int>(num_experts + 1);
    float* scores = scratch.take<float>(num_experts);
    std::fill(counts, counts + num_experts + 1, 0);
    for (int row = 0; row < rows; ++row) {
      int* own = chosen + (long)row * k;
      choose_experts(layer, logits + row * ld_gate, scores, own, gates + (long)row * k);
      for (int i = 0; i < k; ++i) ++counts[own[i] + 1];
    }
    std::partial_sum(counts, counts + num_experts + 1, counts);
    const int pairs = rows * k;
    int* row_of = scratch.take<int>(pairs);
    float* gate_of = scratch.take<float>(pairs);
    int* next = scratch.take<int>(num_experts);
    std::copy(counts, counts + num_experts, next);
    for (int pair = 0; pair < pairs; ++pair) {
      const int place = next[chosen[pair]]++;
      row_of[place] = pair / k;
      gate_of[place] = gates[pair];
    }
    int most = 0;
    for (int expert = 0; expert < num_experts; ++expert) most = std::max(most, counts[expert + 1] - counts[expert]);
    float* in = scratch.take<float>((long)most * width);
    float* inner = scratch.take<float>(most * hidden);
    float* out = scratch.take<float>(most * ld);
    // Rows are rounded once, not for each of their experts.
    const bool rounds = layer.first[0]->quantised;
    const int ldq = layer.first[0]->padded_inputs;
    uint8_t* rounded = scratch.take<uint8_t>(rounds ? (long)rows * ldq : 0);
    uint8_t* rounded_in = scratch.take<uint8_t>(rounds ? (long)most * ldq : 0);
    float* scale = scratch.take<float>(rounds ? rows : 0);
    float* scale_in = scratch.take<float>(rounds ? most : 0);
    if (rounds) k_.quantise(x, width, rows, width, rounded, ldq, scale);
    for (int expert = 0; expert < num_experts; ++expert) {
      const int begin = counts[expert], number = counts[expert + 1] - begin;
      if (!number) continue;
      if (rounds) {
        for (int i = 0; i < number; ++i) {
          std::memcpy(rounded_in + (long)i * ldq, rounded + (long)row_of[begin + i] * ldq, ldq);
          scale_in[i] = scale[row_of[begin + i]];
        }
        k_.product_of_8_bits(rounded_in, ldq, scale_in, number, *layer.first[expert], inner, hidden);
      } else {
        for (int i = 0; i < number; ++i)
          std::memcpy(in + (long)i * width, x + (long)row_of[begin + i] * width, width * sizeof(float));
        multiply(*layer.first[expert], in, width, number, inner, hidden);
      }
      k_.relu(inner, number * (int)hidden);
      multiply(*layer.second[expert], inner, hidden, number, out, ld);
      for (int i = 0; i < number; ++i)
        k_.add_scaled(out + i * ld, gate_of[begin + i], y + row_of[begin + i] * ld, width);
    }
  }
  for (int row = 0; row < rows; ++row) {
    if (layer.sigmoid) k_.sigmoid(y + row * ld, width);
    if (shape_.residual)
      k_.add(y + row * ld, x + (long)row * width, width);
    else
      std::memcpy(x + (long)row * width, y + row * ld, width * sizeof(float));
  }
}

// context [X, D] (rows side by side) and, where asked for, weights [X, ld_weights].
void Model::attend(const Attention& attention, const float* query, int rows, const Origin* origins, float* context,
                   float* weights, int ld_weights) const {
  const int width = shape_.width, size = shape_.attention_width;
  const long ld = attention.query->padded_outputs;
  Scratch scratch;
  float* projected = scratch.take<float>(rows * ld);
  multiply(*attention.query, query, width, rows, projected, ld);
  int longest = 0;
  for (int row = 0; row < rows; ++row) longest = std::max(longest, (int)origins[row].length);
  float* scores = scratch.take<float>(longest);
  for (int row = 0; row < rows; ++row) {
    float* own = projected + row * ld;
    const int length = (int)origins[row].length;
    if (!shape_.additive) {
      k_.tanh(own, size);
      k_.multiply(attention.scale, own, size);
    }
    for (int s = 0; s < length; ++s) {
      const float* key = origins[row].keys + (long)s * size;
      scores[s] = shape_.additive ? k_.additive_score(own, key, attention.scale, size) : k_.dot(own, key, size);
    }
    k_.softmax(scores, length);
    float* to = context + (long)row * width;
    std::fill(to, to + width, 0.0f);
    for (int s = 0; s < length; ++s) k_.add_scaled(origins[row].values + (long)s * width, scores[s], to, width);
    if (weights) {
      float* of_row = weights + (long)row * ld_weights;
      std::memcpy(of_row, scores, length * sizeof(float));
      std::fill(of_row + length, of_row + ld_weights, 0.0f);
    }
  }
}

void Model::step(int rows, const int64_t* tokens, const Origin* origins, const float* state_in, float* state_out,
                 float* hidden, float* attention, int attention_size) const {
  const int width = shape_.width;
  Scratch scratch;
  float* x = hidden;
  for (int row = 0; row < rows; ++row) {
    const float* from = target_embedding_ + tokens[row] * width;
    for (int i = 0; i < width; ++i) x[(long)row * width + i] = from[i] * shape_.embedding_factor;
  }
  float* weights = attention;
  float* context = scratch.take<float>((long)rows * width);
  const int query_at = state_size_ - width;  // of a state, where there is one
  if (shape_.context) {
    float* query = scratch.take<float>((long)rows * width);
    for (int row = 0; row < rows; ++row)
      std::memcpy(query + (long)row * width, state_in + origins[row].parent * state_size_ + query_at, width * sizeof(float));
    attend(attention_, query, rows, origins, context, weights, attention_size);
  }
  int at = 0;  // where the state of a layer begins
  for (size_t number = 0; number < decoder_.size(); ++number) {
    const Lstm& layer = decoder_[number];
    const bool with_context = number ? shape_.context != 1 : shape_.context != 0;
    const int inputs = layer.joined->inputs;
    const long ld = layer.joined->padded_outputs;
    float* joined = scratch.take<float>((long)rows * inputs);
    for (int row = 0; row < rows; ++row) {
      float* to = joined + (long)row * inputs;
      std::memcpy(to, x + (long)row * width, width * sizeof(float));
      to += width;
      if (with_context) {
        std::memcpy(to, context + (long)row * width, width * sizeof(float));
        to += width;
      }
      std::memcpy(to, state_in + origins[row].parent * state_size_ + at, layer.width * sizeof(float));
    }
    float* gates = scratch.take<float>(rows * ld);
    multiply(*layer.joined, joined, inputs, rows, gates, ld);
    float* projected = nullptr;
    float* output = nullptr;
    if (layer.projection) {
      projected = scratch.take<float>((long)rows * layer.projection->padded_outputs);
      output = scratch.take<float>((long)rows * layer.hidden);
    }
    for (int row = 0; row < rows; ++row) {
      float* own = state_out + (long)row * state_size_ + at;
      float* cell = own + layer.width;
      std::memcpy(cell, state_in + origins[row].parent * state_size_ + at + layer.width, layer.hidden * sizeof(float));
      k_.lstm_cell(gates + row * ld, cell, output ? output + (long)row * layer.hidden : own, layer.hidden);
    }
    if (projected) {
      multiply(*layer.projection, output, layer.hidden, rows, projected, layer.projection->padded_outputs);
      for (int row = 0; row < rows; ++row)
        std::memcpy(state_out + (long)row * state_size_ + at,
                    projected + (long)row * layer.projection->padded_outputs, layer.width * sizeof(float));
    }
    const bool residual = number ? shape_.residual : shape_.bottom_residual;
    for (int row = 0; row < rows; ++row) {
      const float* own = state_out + (long)row * state_size_ + at;
      if (residual)
        k_.add(own, x + (long)row * width, width);
      else
        std::memcpy(x + (long)row * width, own, width * sizeof(float));
    }
    if (!number) {
      if (shape_.context)
        for (int row = 0; row < rows; ++row)
          std::memcpy(state_out + (long)row * state_size_ + query_at, x + (long)row * width, width * sizeof(float));
      else
        attend(attention_, x, rows, origins, context, weights, attention_size);
    }
    add_experts(decoder_experts_[number], x, rows);
    at += layer.width + layer.hidden;
  }
  if (shape_.output_attention) {
    attend(output_attention_, x, rows, origins, context, weights, attention_size);
    const long ld = output_projection_->padded_outputs;
    float* seen = scratch.take<float>(rows * ld);
    multiply(*output_projection_, context, width, rows, seen, ld);
    for (int row = 0; row < rows; ++row) {
      if (shape_.residual)
        k_.add(seen + row * ld, x + (long)row * width, width);
      else
        std::memcpy(x + (long)row * width, seen + row * ld, width * sizeof(float));
    }
  }
}

void Model::project(int rows, const float* hidden, float* logits, long ld) const {
  multiply(*output_, hidden, shape_.width, rows, logits, ld);
}

// One direction of a layer over all sentences; y [N, ldy] gets the outputs. order: sentences, the longest first.
void Model::run_lstm(const Lstm& layer, const float* x, int input, const std::vector<int>& order,
                     const int32_t* lengths, const std::vector<long>& begins, bool backward, float* y, long ldy) const {
  const int hidden = layer.hidden, width = layer.width, num_sentences = (int)order.size();
  const long num_tokens = begins.back();
  Scratch scratch;
  const long ld = layer.input->padded_outputs;
  float* of_input = scratch.take<float>(num_tokens * ld);
  multiply(*layer.input, x, input, (int)num_tokens, of_input, ld);
  float* last = scratch.take<float>((long)num_sentences * width);
  float* cell = scratch.take<float>((long)num_sentences * hidden);
  float* gates = scratch.take<float>(num_sentences * ld);
  float* output = layer.projection ? scratch.take<float>((long)num_sentences * hidden) : last;
  const long ld_projected = layer.projection ? layer.projection->padded_outputs : 0;
  float* projected = scratch.take<float>(num_sentences * ld_projected);
  std::fill(last, last + (long)num_sentences * width, 0.0f);
  std::fill(cell, cell + (long)num_sentences * hidden, 0.0f);
  int active = num_sentences;
  for (int t = 0; t < lengths[order[0]]; ++t) {
    while (active && lengths[order[active - 1]] <= t) --active;
    multiply(*layer.recurrent, last, width, active, gates, ld);
    for (int i = 0; i < active; ++i) {
      const int sentence = order[i];
      const long token = begins[sentence] + (backward ? lengths[sentence] - 1 - t : t);
      k_.add(of_input + token * ld, gates + i * ld, 4 * hidden);
      k_.lstm_cell(gates + i * ld, cell + (long)i * hidden, output + (long)i * hidden, hidden);
    }
    if (layer.projection) {
      multiply(*layer.projection, output, hidden, active, projected, ld_projected);
      for (int i = 0; i < active; ++i)
        std::memcpy(last + (long)i * width, projected + i * ld_projected, width * sizeof(float));
    }
    for (int i = 0; i < active; ++i) {
      const int sentence = order[i];
      const long token = begins[sentence] + (backward ? lengths[sentence] - 1 - t : t);
      std::memcpy(y + token * ldy, last + (long)i * width, width * sizeof(float));
    }
  }
}

void Model::encode(const int64_t* ids, const int32_t* lengths, int num_sentences, float* values, float* keys) const {
  for (int first = 0; first < num_sentences;) {
    int number = 0;
    long num_tokens = 0;
    while (first + number < num_sentences && (!number || num_tokens + lengths[first + number] <= TOKENS_AT_ONCE))
      num_tokens += lengths[first + number++];
    encode_together(ids, lengths + first, number, values, keys);
    ids += num_tokens;
    values += num_tokens * shape_.width;
    keys += num_tokens * shape_.attention_width;
    first += number;
  }
}

void Model::encode_together(const int64_t* ids, const int32_t* lengths, int num_sentences, float* values,
                            float* keys) const {
  const int width = shape_.width;
  std::vector<long> begins(num_sentences + 1, 0);
  for (int b = 0; b < num_sentences; ++b) begins[b + 1] = begins[b] + lengths[b];
  const long num_tokens = begins.back();
  std::vector<int> order(num_sentences);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return lengths[a] > lengths[b]; });
  Scratch scratch;
  float* x = values;
  for (long n = 0; n < num_tokens; ++n)
    for (int i = 0; i < width; ++i) x[n * width + i] = source_embedding_[ids[n] * width + i] * shape_.embedding_factor;
  const bool wide = shape_.encoder_bottom == 2, sum = shape_.encoder_bottom == 0;
  const int part = encoder_[0].width, bottom_width = sum ? width : 2 * part;
  float* bottom = scratch.take<float>(num_tokens * bottom_width);
  run_lstm(encoder_[0], x, width, order, lengths, begins, false, bottom, bottom_width);
  float* back = scratch.take<float>(num_tokens * part);
  run_lstm(encoder_[1], x, width, order, lengths, begins, true, back, part);
  for (long n = 0; n < num_tokens; ++n) {
    if (sum)
      k_.add(back + n * part, bottom + n * bottom_width, part);
    else
      std::memcpy(bottom + n * bottom_width + part, back + n * part, part * sizeof(float));
  }
  const float* below = x;
  int below_width = width;
  if (wide) {  // twice as wide until the second layer, and no experts in between
    below = bottom;
    below_width = bottom_width;
  } else {
    for (long n = 0; n < num_tokens; ++n) {
      if (shape_.residual)
        k_.add(bottom + n * width, x + n * width, width);
      else
        std::memcpy(x + n * width, bottom + n * width, width * sizeof(float));
    }
    add_experts(encoder_experts_[0], x, (int)num_tokens);
  }
  float* output = scratch.take<float>(num_tokens * width);
  for (int number = 2; number <= shape_.encoder_layers; ++number) {
    run_lstm(encoder_[number], below, below_width, order, lengths, begins, false, output, width);
    for (long n = 0; n < num_tokens; ++n) {
      if (shape_.residual && !(wide && number == 2))
        k_.add(output + n * width, x + n * width, width);
      else
        std::memcpy(x + n * width, output + n * width, width * sizeof(float));
    }
    below = x;
    below_width = width;
    add_experts(encoder_experts_[number - 1], x, (int)num_tokens);
  }
  const int size = shape_.attention_width;
  const long ld = keys_->padded_outputs;
  float* projected = scratch.take<float>(num_tokens * ld);
  multiply(*keys_, x, width, (int)num_tokens, projected, ld);
  for (long n = 0; n < num_tokens; ++n) {
    if (!shape_.additive) k_.tanh(projected + n * ld, size);
    std::memcpy(keys + n * size, projected + n * ld, size * sizeof(float));
  }
}

}  // namespace mtmoe
