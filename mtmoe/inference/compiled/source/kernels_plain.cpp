// Kernels for any processor: vectors of four numbers, as SSE2 and NEON have.

#include <cstdint>
#include <cstring>

#define FAMILY plain
#define LANES 4
#define TILE_ROWS 3
#define TILE_VECTORS 4
#define DOT_8_BITS(sum, four, weights) dot_8_bits(sum, four, weights)

typedef int32_t FourInts __attribute__((vector_size(16)));

static inline FourInts dot_8_bits(FourInts sum, int32_t four, const int8_t* weights) {
  uint8_t x[4];
  std::memcpy(x, &four, sizeof x);
  for (int lane = 0; lane < 4; ++lane)
    for (int i = 0; i < 4; ++i) sum[lane] += (int32_t)x[i] * weights[4 * lane + i];
  return sum;
}

#include "kernels_body.h"
