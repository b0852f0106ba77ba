// Scratch: room for the numbers of one call.

#pragma once

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#include "kernels.h"

namespace mtmoe {

// Room for the numbers of one call, used again by the next one of the same thread. Calls nest: what is taken within a
// `Scratch` is free again at its end.
class Scratch {
 public:
  Scratch() : block_(current_block), used_(current_used) {}
  ~Scratch() {
    current_block = block_;
    current_used = used_;
  }
  template <typename T>
  T* take(long count) {
    const long bytes = (count * (long)sizeof(T) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    while (current_block < blocks.size() && current_used + bytes > blocks[current_block].second) {
      ++current_block;
      current_used = 0;
    }
    if (current_block == blocks.size()) {
      const long size = std::max(bytes, 1L << 20);
      void* memory = nullptr;
      if (posix_memalign(&memory, ALIGNMENT, size)) throw std::bad_alloc();
      blocks.emplace_back((char*)memory, size);
      current_used = 0;
    }
    T* place = (T*)(blocks[current_block].first + current_used);
    current_used += bytes;
    return place;
  }

 private:
  struct Blocks : std::vector<std::pair<char*, long>> {
    ~Blocks() {
      for (auto& block : *this) std::free(block.first);
    }
  };
  static inline thread_local Blocks blocks;
  static inline thread_local size_t current_block = 0;
  static inline thread_local long current_used = 0;
  size_t block_;
  long used_;
};

}  // namespace mtmoe
