// Kernels for processors with AVX-512 and VNNI: vectors of sixteen numbers, and four 8-bit products at once.

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), \
                             apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif

#include <immintrin.h>

#include <cstdint>

#define FAMILY avx512
#define LANES 16
#define TILE_ROWS 6
#define TILE_VECTORS 4
#define DOT_8_BITS(sum, four, weights) dot_8_bits(sum, four, weights)

typedef int32_t SixteenInts __attribute__((vector_size(64)));

static inline SixteenInts dot_8_bits(SixteenInts sum, int32_t four, const int8_t* weights) {
  return (SixteenInts)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(four), _mm512_loadu_si512(weights));
}

#include "kernels_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
