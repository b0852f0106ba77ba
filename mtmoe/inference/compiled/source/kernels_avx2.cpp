// Kernels for processors with AVX2 and FMA: vectors of eight numbers.

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#include <immintrin.h>

#include <cstdint>

#define FAMILY avx2
#define LANES 8
#define TILE_ROWS 6
#define TILE_VECTORS 2
#define DOT_8_BITS(sum, four, weights) dot_8_bits(sum, four, weights)

typedef int32_t EightInts __attribute__((vector_size(32)));

// Two products of 1..127 and -127..127 have room in 16 bits.
static inline EightInts dot_8_bits(EightInts sum, int32_t four, const int8_t* weights) {
  const __m256i w = _mm256_loadu_si256((const __m256i*)weights);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi32(four), w);
  return (EightInts)_mm256_add_epi32((__m256i)sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#include "kernels_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
