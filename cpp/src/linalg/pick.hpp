// Entries of a row at ascending places.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "nettrim/types.hpp"

namespace nettrim {

// What picks them may write so many entries more than there are, and read so many beyond the row.
constexpr Index kPickedBeyond = 16;

// Into the caches, for it is picked from soon.
template <class G>
void fetch_ahead(const G* row, Index size) {
  constexpr auto kLine = static_cast<Index>(64 / sizeof(G));
  for (Index i = 0; i < size; i += kLine) Eigen::internal::prefetch(row + i);
}

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

#elif defined(__AVX2__)

using PickOrder = std::array<std::int32_t, 8>;

inline void reorder(const float* row, const PickOrder& order, float* out) {
  const __m256i places = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(order.data()));
  _mm256_storeu_ps(out, _mm256_permutevar8x32_ps(_mm256_loadu_ps(row), places));
}
inline void reorder(const double* row, const PickOrder& order, double* out) {
  reorder(reinterpret_cast<const float*>(row), order, reinterpret_cast<float*>(out));
}

// A register at a time, in an order that brings the entries that are asked for to its front.
template <class G>
class Picker {
 public:
  explicit Picker(const std::vector<Index>& places) {
    for (const Index place : places) {
      const Index first = place / kLanes * kLanes;
      if (chunks_.empty() || chunks_.back().first != first) chunks_.push_back({{}, first, 0});
      Chunk& chunk = chunks_.back();
      for (Index part = 0; part < kParts; ++part) {
        const auto to = static_cast<std::size_t>(kParts * chunk.count + part);
        chunk.order[to] = static_cast<std::int32_t>(kParts * (place - first) + part);
      }
      ++chunk.count;
    }
  }
  void pick(const G* row, G* out) const {
    for (const Chunk& chunk : chunks_) {
      reorder(row + chunk.first, chunk.order, out);
      out += chunk.count;
    }
  }

 private:
  static constexpr Index kParts = sizeof(G) / 4;  // of an entry, which move one by one
  static constexpr Index kLanes = 32 / sizeof(G);
  struct Chunk {
    PickOrder order;
    Index first, count;
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
