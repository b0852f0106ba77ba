// The kernels' bodies, included by a file for each family of processors, which defines FAMILY, LANES, DOT_8_BITS and the
// sizes of a tile. GCC's and Clang's vector types say what all families have in common.

#include <cmath>
#include <cstring>

#include "kernels.h"

namespace mtmoe {
namespace FAMILY {

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
constexpr int VECTORS_OF_BLOCK = BLOCK / LANES;

static inline Floats load(const float* from) {
  Floats value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
static inline void store(float* to, Floats value) { std::memcpy(to, &value, sizeof value); }
static inline Floats all(float value) { return Floats{} + value; }
// What is not a number stays so where it is `b`.
static inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }
static inline Floats smaller(Floats a, Floats b) { return a < b ? a : b; }

static inline float sum_of(Floats value) {
  float part[LANES];
  std::memcpy(part, &value, sizeof part);
  for (int width = LANES / 2; width; width /= 2)
    for (int lane = 0; lane < width; ++lane) part[lane] += part[lane + width];
  return part[0];
}
static inline float largest_of(Floats value) {
  float part[LANES];
  std::memcpy(part, &value, sizeof part);
  for (int width = LANES / 2; width; width /= 2)
    for (int lane = 0; lane < width; ++lane) part[lane] = part[lane] > part[lane + width] ? part[lane] : part[lane + width];
  return part[0];
}

// e^x to two units in the last place: 2^n times a polynomial of the rest, which is at most half of ln 2 from 0.
static inline Floats exponential(Floats x) {
  x = larger(all(-87.0f), smaller(all(88.0f), x));
  const float magic = 12582912.0f;  // 1.5 x 2^23: adding it rounds to a whole number
  Floats shifted = x * 1.44269504088896341f + magic;
  Floats n = shifted - magic;
  Floats r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Floats p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  Ints power = (__builtin_convertvector(n, Ints) + 127) << 23;
  Floats scale;
  std::memcpy(&scale, &power, sizeof scale);
  return p * scale;
}
static inline Floats sigmoid_of(Floats x) { return 1.0f / (1.0f + exponential(-x)); }
static inline Floats tanh_of(Floats x) { return 2.0f / (1.0f + exponential(-2.0f * x)) - 1.0f; }

// Calls `f` for each whole vector of numbers, then for the last ones among zeros.
template <typename F>
static inline void for_vectors(float* x, int size, F f) {
  int i = 0;
  for (; i + LANES <= size; i += LANES) store(x + i, f(load(x + i), i));
  if (i < size) {
    float rest[LANES] = {};
    std::memcpy(rest, x + i, (size - i) * sizeof(float));
    Floats value = f(load(rest), i);
    std::memcpy(x + i, &value, (size - i) * sizeof(float));
  }
}
static inline Floats part(const float* x, int begin, int size, float beyond = 0.0f) {
  if (begin + LANES <= size) return load(x + begin);
  float rest[LANES];
  for (int lane = 0; lane < LANES; ++lane) rest[lane] = begin + lane < size ? x[begin + lane] : beyond;
  return load(rest);
}

static void tanh_all(float* x, int size) { for_vectors(x, size, [](Floats v, int) { return tanh_of(v); }); }
static void sigmoid_all(float* x, int size) { for_vectors(x, size, [](Floats v, int) { return sigmoid_of(v); }); }
static void relu_all(float* x, int size) { for_vectors(x, size, [](Floats v, int) { return larger(all(0.0f), v); }); }
static void add_all(const float* x, float* y, int size) {
  for_vectors(y, size, [=](Floats v, int at) { return v + part(x, at, size); });
}
static void add_scaled_all(const float* x, float factor, float* y, int size) {
  for_vectors(y, size, [=](Floats v, int at) { return v + factor * part(x, at, size); });
}
static void multiply_all(const float* x, float* y, int size) {
  for_vectors(y, size, [=](Floats v, int at) { return v * part(x, at, size); });
}
static float dot(const float* x, const float* y, int size) {
  Floats sum = all(0.0f);
  for (int i = 0; i < size; i += LANES) sum += part(x, i, size) * part(y, i, size);
  return sum_of(sum);
}
static float additive_score(const float* query, const float* key, const float* scale, int size) {
  Floats sum = all(0.0f);
  for (int i = 0; i < size; i += LANES) sum += part(scale, i, size) * tanh_of(part(query, i, size) + part(key, i, size));
  return sum_of(sum);
}
static float largest(const float* x, int size) {
  Floats most = all(-INFINITY);
  for (int i = 0; i < size; i += LANES) most = larger(most, part(x, i, size, -INFINITY));
  return largest_of(most);
}
static void softmax(float* x, int size) {
  const float most = largest(x, size);
  Floats sum = all(0.0f);
  for (int i = 0; i < size; i += LANES) {
    float value[LANES] = {};
    Floats powers = exponential(part(x, i, size, -INFINITY) - most);
    const int here = size - i < LANES ? size - i : LANES;
    std::memcpy(value, &powers, here * sizeof(float));
    std::memcpy(x + i, value, here * sizeof(float));
    sum += load(value);
  }
  const float factor = 1.0f / sum_of(sum);
  for_vectors(x, size, [=](Floats v, int) { return v * factor; });
}
static float log_sum_exp(const float* x, int size) {
  const float most = largest(x, size);
  Floats sum = all(0.0f), nothing = all(0.0f);  // that is no number if one of them is none
  int i = 0;
  for (; i + LANES <= size; i += LANES) {
    sum += exponential(load(x + i) - most);
    nothing += load(x + i) * 0.0f;
  }
  float total = sum_of(sum + nothing);
  for (; i < size; ++i) total += std::exp(x[i] - most);
  return most + std::log(total);
}

static void lstm_cell(const float* gates, float* cell, float* output, int hidden) {
  for (int i = 0; i < hidden; i += LANES) {
    const Floats enter = sigmoid_of(part(gates, i, hidden)), forget = sigmoid_of(part(gates + hidden, i, hidden));
    const Floats candidate = tanh_of(part(gates + 2 * hidden, i, hidden));
    const Floats leave = sigmoid_of(part(gates + 3 * hidden, i, hidden));
    const Floats kept = forget * part(cell, i, hidden) + enter * candidate, out = leave * tanh_of(kept);
    const int here = hidden - i < LANES ? hidden - i : LANES;
    std::memcpy(cell + i, &kept, here * sizeof(float));
    std::memcpy(output + i, &out, here * sizeof(float));
  }
}

// A tile of a product: R rows times C vectors of outputs, in registers.
template <int R, int C>
static inline void tile(const float* x, long ldx, const Matrix& weights, int first, float* y, long ldy) {
  Floats sum[R][C];
  const float* w[C];
  for (int c = 0; c < C; ++c) {
    const int output = first + c * LANES;
    w[c] = weights.values + (long)(output / BLOCK) * weights.inputs * BLOCK + output % BLOCK;
    const Floats start = weights.bias ? load(weights.bias + output) : all(0.0f);
    for (int r = 0; r < R; ++r) sum[r][c] = start;
  }
  for (int i = 0; i < weights.inputs; ++i) {
    Floats column[C];
    for (int c = 0; c < C; ++c) column[c] = load(w[c] + (long)i * BLOCK);
    for (int r = 0; r < R; ++r) {
      const Floats value = all(x[r * ldx + i]);
      for (int c = 0; c < C; ++c) sum[r][c] += value * column[c];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) store(y + r * ldy + first + c * LANES, sum[r][c]);
}

template <int R, int C>
static inline void tile_of_8_bits(const uint8_t* q, long ldq, const float* scale, const Matrix& weights, int first,
                                  float* y, long ldy) {
  Ints sum[R][C];
  const int8_t* w[C];
  for (int c = 0; c < C; ++c) {
    const int output = first + c * LANES;
    w[c] = weights.quantised + (long)(output / BLOCK) * weights.padded_inputs * BLOCK + output % BLOCK * QUAD;
    Ints offset;
    std::memcpy(&offset, weights.offset + output, sizeof offset);
    for (int r = 0; r < R; ++r) sum[r][c] = -offset;
  }
  for (int i = 0; i < weights.padded_inputs; i += QUAD) {
    for (int r = 0; r < R; ++r) {
      int32_t four;
      std::memcpy(&four, q + r * ldq + i, sizeof four);
      for (int c = 0; c < C; ++c) sum[r][c] = DOT_8_BITS(sum[r][c], four, w[c] + (long)i * BLOCK);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) {
      const int output = first + c * LANES;
      Floats value = __builtin_convertvector(sum[r][c], Floats) * load(weights.scale + output) * scale[r];
      if (weights.bias) value += load(weights.bias + output);
      store(y + r * ldy + output, value);
    }
}

// Calls F<R, C> for all tiles: outputs outside, so that their weights stay in the nearest cache.
#define FOR_TILES(CALL)                                                                       \
  for (int first = 0; first < weights.padded_outputs;) {                                      \
    const bool wide = first + TILE_VECTORS * LANES <= weights.padded_outputs;                 \
    int row = 0;                                                                              \
    for (; row + TILE_ROWS <= rows; row += TILE_ROWS) {                                       \
      if (wide) CALL(TILE_ROWS, TILE_VECTORS); else CALL(TILE_ROWS, VECTORS_OF_BLOCK);        \
    }                                                                                         \
    switch (rows - row) {                                                                     \
      case 1: if (wide) CALL(1, TILE_VECTORS); else CALL(1, VECTORS_OF_BLOCK); break;         \
      case 2: if (wide) CALL(2, TILE_VECTORS); else CALL(2, VECTORS_OF_BLOCK); break;         \
      case 3: if (wide) CALL(3, TILE_VECTORS); else CALL(3, VECTORS_OF_BLOCK); break;         \
      case 4: if (wide) CALL(4, TILE_VECTORS); else CALL(4, VECTORS_OF_BLOCK); break;         \
      case 5: if (wide) CALL(5, TILE_VECTORS); else CALL(5, VECTORS_OF_BLOCK); break;         \
      default: break;                                                                         \
    }                                                                                         \
    first += wide ? TILE_VECTORS * LANES : BLOCK;                                             \
  }

static void product(const float* x, long ldx, int rows, const Matrix& weights, float* y, long ldy) {
#define CALL(R, C) tile<R, C>(x + row * ldx, ldx, weights, first, y + row * ldy, ldy)
  FOR_TILES(CALL)
#undef CALL
}

static void product_of_8_bits(const uint8_t* q, long ldq, const float* scale, int rows, const Matrix& weights, float* y,
                              long ldy) {
#define CALL(R, C) tile_of_8_bits<R, C>(q + row * ldq, ldq, scale + row, weights, first, y + row * ldy, ldy)
  FOR_TILES(CALL)
#undef CALL
}

static void quantise(const float* x, long ldx, int rows, int width, uint8_t* q, long ldq, float* scale) {
  typedef uint8_t Bytes __attribute__((vector_size(LANES)));
  for (int row = 0; row < rows; ++row) {
    const float* from = x + row * ldx;
    uint8_t* to = q + row * ldq;
    Floats most = all(0.0f), nothing = all(0.0f);  // that is no number if one of them is none
    for (int i = 0; i < width; i += LANES) {
      const Floats value = part(from, i, width);
      most = larger(most, larger(value, -value));
      nothing += value * 0.0f;
    }
    float step = largest_of(most) / INPUT_STEPS;
    step = step > TINY ? step : TINY;
    scale[row] = step + sum_of(nothing);
    const float factor = 1.0f / step;
    for (int i = 0; i < width; i += LANES) {
      const Ints rounded = __builtin_convertvector(part(from, i, width) * factor + (ZERO + 0.5f), Ints);
      const Bytes bytes = __builtin_convertvector(rounded, Bytes);
      const int here = width - i < LANES ? width - i : LANES;
      std::memcpy(to + i, &bytes, here);
    }
    std::memset(to + width, ZERO, ldq - width);
  }
}

}  // namespace FAMILY

#define STRING_OF(name) #name
#define NAME_OF(name) STRING_OF(name)
#define KERNELS_OF(family) family##_kernels
#define KERNELS_OF_FAMILY(family) KERNELS_OF(family)
const Kernels& KERNELS_OF_FAMILY(FAMILY)() {
  using namespace FAMILY;
  static const Kernels kernels = {NAME_OF(FAMILY), product,   quantise,       product_of_8_bits, lstm_cell,
                                  tanh_all,        sigmoid_all, relu_all,     add_all,           add_scaled_all,
                                  multiply_all,    dot,       additive_score, softmax,           log_sum_exp,
                                  largest};
  return kernels;
}

}  // namespace mtmoe
