// Kernels: the arithmetic of a model's inference, compiled once for each family of processors.
//
// What a row gives depends on the row alone: sums run in the same order however many rows there are.
//
// Letters: X rows, O outputs, I inputs, S source positions, A width of the attention's score function, D width, V words.

#pragma once

#include <cstdint>

namespace mtmoe {

constexpr int BLOCK = 16;        // outputs that are stored together
constexpr int ALIGNMENT = 64;    // bytes
constexpr int QUAD = 4;          // 8-bit inputs that are multiplied together
constexpr int ZERO = 64;         // what stands for 0 among 8-bit inputs, which have no sign
constexpr float INPUT_STEPS = 63, WEIGHT_STEPS = 127;  // on each side of 0, as in mtmoe/model/ops/int8.py
constexpr float TINY = 1e-30f;

inline int rounded_up(int number, int step) { return (number + step - 1) / step * step; }

// Weights [O, I] in blocks of 16 outputs: in float32 [O/16][I][16], or in 8 bits [O/16][I/4][16][4]. Products are written
// in whole blocks, so that rows of outputs need room for `padded_outputs`.
struct Matrix {
  int outputs = 0, inputs = 0, padded_outputs = 0, padded_inputs = 0;
  float* bias = nullptr;       // [padded_outputs], or null
  float* values = nullptr;     // float32
  int8_t* quantised = nullptr; // 8 bits: else null
  float* scale = nullptr;      // of each output
  int32_t* offset = nullptr;   // of each output: what ZERO adds to a sum
};

struct Kernels {
  const char* name;
  // y = W x + bias; `ldx`, `ldy`: numbers from one row to the next.
  void (*product)(const float* x, long ldx, int rows, const Matrix& weights, float* y, long ldy);
  // Rounds rows to 8 bits, each by its own largest value; columns from `width` to `ldq` are ZERO.
  void (*quantise)(const float* x, long ldx, int rows, int width, uint8_t* q, long ldq, float* scale);
  // The same as `product`, of rows that are quantised.
  void (*product_of_8_bits)(const uint8_t* q, long ldq, const float* scale, int rows, const Matrix& weights, float* y,
                            long ldy);
  // One row of an LSTM: gates i, f, g, o, each of `hidden` numbers; `cell` is replaced.
  void (*lstm_cell)(const float* gates, float* cell, float* output, int hidden);
  void (*tanh)(float* x, int size);
  void (*sigmoid)(float* x, int size);
  void (*relu)(float* x, int size);
  void (*add)(const float* x, float* y, int size);                            // y += x
  void (*add_scaled)(const float* x, float factor, float* y, int size);       // y += factor x
  void (*multiply)(const float* x, float* y, int size);                       // y *= x
  float (*dot)(const float* x, const float* y, int size);
  float (*additive_score)(const float* query, const float* key, const float* scale, int size);  // eq. 21
  void (*softmax)(float* x, int size);                                        // in place
  float (*log_sum_exp)(const float* x, int size);
  float (*largest)(const float* x, int size);
};

const Kernels& plain_kernels();
#if defined(__x86_64__)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
#endif

}  // namespace mtmoe
