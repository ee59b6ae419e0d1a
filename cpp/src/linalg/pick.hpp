// Entries of a row at ascending places.
#pragma once

#include <cstdint>
#include <vector>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "nettrim/types.hpp"

namespace nettrim {

// What picks them may write so many entries more than there are.
constexpr Index kPickedBeyond = 16;

#if defined(__AVX512F__)

inline void compress(const float* row, std::uint32_t mask, float* out) {
  const auto bits = static_cast<__mmask16>(mask);
  _mm512_storeu_ps(out, _mm512_maskz_compress_ps(bits, _mm512_maskz_loadu_ps(bits, row)));
}
inline void compress(const double* row, std::uint32_t mask, double* out) {
  const auto bits = static_cast<__mmask8>(mask);
  _mm512_storeu_pd(out, _mm512_maskz_compress_pd(bits, _mm512_maskz_loadu_pd(bits, row)));
}

// A register at a time: its entries that are asked for move together.
template <class G>
class Picker {
 public:
  explicit Picker(const std::vector<Index>& places) {
    for (const Index place : places) {
      const Index first = place / kLanes * kLanes;
      if (chunks_.empty() || chunks_.back().first != first) chunks_.push_back({first, 0, 0});
      chunks_.back().mask |= std::uint32_t(1) << (place - first);
      ++chunks_.back().count;
    }
  }
  void pick(const G* row, G* out) const {
    for (const Chunk& chunk : chunks_) {
      compress(row + chunk.first, chunk.mask, out);
      out += chunk.count;
    }
  }

 private:
  static constexpr Index kLanes = 64 / sizeof(G);
  struct Chunk {
    Index first;
    std::uint32_t mask, count;
  };
  std::vector<Chunk> chunks_;
};

#else

template <class G>
class Picker {
 public:
  explicit Picker(const std::vector<Index>& places) : places_(places) {}
  void pick(const G* row, G* out) const {
    for (const Index place : places_) *out++ = row[place];
  }

 private:
  std::vector<Index> places_;
};

#endif

}  // namespace nettrim
