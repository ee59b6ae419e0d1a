// Entries of a row at ascending places, and those of a row that are not zero.
#pragma once

#include <algorithm>
#include <array>
#include <bitset>
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

inline Index count_bits(std::uint64_t bits) {
  return static_cast<Index>(std::bitset<64>(bits).count());
}

template <class G>
Index copy_nonzeros(const G* row, Index first, Index size, std::int32_t* places, G* out) {
  Index n = 0;
  for (Index i = first; i < size; ++i) {
    places[n] = static_cast<std::int32_t>(i);
    out[n] = row[i];
    n += row[i] != G(0);
  }
  return n;
}

// Entries of a row that are not zero and their places, which have room for kPickedBeyond more. How
// many they are.
template <class G>
Index find_nonzeros(const G* row, Index size, std::int32_t* places, G* out);

#if defined(__AVX512F__)

inline void compress(const float* row, std::uint32_t mask, float* out) {
  const auto bits = static_cast<__mmask16>(mask);
  _mm512_storeu_ps(out, _mm512_maskz_compress_ps(bits, _mm512_maskz_loadu_ps(bits, row)));
}
inline void compress(const double* row, std::uint32_t mask, double* out) {
  const auto bits = static_cast<__mmask8>(mask);
  _mm512_storeu_pd(out, _mm512_maskz_compress_pd(bits, _mm512_maskz_loadu_pd(bits, row)));
}

inline Index compress_nonzeros(const float* row, std::uint32_t mask, std::int32_t first,
                               std::int32_t* places, float* out) {
  const auto there = static_cast<__mmask16>(mask);
  const __m512 x = _mm512_maskz_loadu_ps(there, row);
  const __mmask16 bits = _mm512_mask_cmp_ps_mask(there, x, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i own = _mm512_add_epi32(lanes, _mm512_set1_epi32(first));
  _mm512_storeu_ps(out, _mm512_maskz_compress_ps(bits, x));
  _mm512_storeu_si512(places, _mm512_maskz_compress_epi32(bits, own));
  return count_bits(bits);
}
inline Index compress_nonzeros(const double* row, std::uint32_t mask, std::int32_t first,
                               std::int32_t* places, double* out) {
  const auto there = static_cast<__mmask8>(mask);
  const __m512d x = _mm512_maskz_loadu_pd(there, row);
  const __mmask8 bits = _mm512_mask_cmp_pd_mask(there, x, _mm512_setzero_pd(), _CMP_NEQ_UQ);
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i own = _mm256_add_epi32(lanes, _mm256_set1_epi32(first));
  _mm512_storeu_pd(out, _mm512_maskz_compress_pd(bits, x));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(places), _mm256_maskz_compress_epi32(bits, own));
  return count_bits(bits);
}

template <class G>
Index find_nonzeros(const G* row, Index size, std::int32_t* places, G* out) {
  constexpr Index kLanes = 64 / sizeof(G);
  Index n = 0;
  for (Index first = 0; first < size; first += kLanes) {
    const Index left = std::min(kLanes, size - first);
    const auto mask = static_cast<std::uint32_t>((std::uint64_t(1) << left) - 1);
    n += compress_nonzeros(row + first, mask, std::int32_t(first), places + n, out + n);
  }
  return n;
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

// For every set of lanes the order that brings it to the front.
template <class G>
std::array<PickOrder, (1 << (32 / sizeof(G)))> orders_of_lanes() {
  constexpr std::uint32_t kParts = sizeof(G) / 4;
  std::array<PickOrder, (1 << (32 / sizeof(G)))> orders = {};
  for (std::uint32_t set = 0; set < orders.size(); ++set) {
    std::size_t to = 0;
    for (std::uint32_t part = 0; part < 8; ++part) {
      if ((set >> (part / kParts)) & 1) orders[set][to++] = static_cast<std::int32_t>(part);
    }
  }
  return orders;
}

inline std::uint32_t nonzero_lanes(const float* row) {
  const __m256 zero = _mm256_cmp_ps(_mm256_loadu_ps(row), _mm256_setzero_ps(), _CMP_NEQ_UQ);
  return static_cast<std::uint32_t>(_mm256_movemask_ps(zero));
}
inline std::uint32_t nonzero_lanes(const double* row) {
  const __m256d zero = _mm256_cmp_pd(_mm256_loadu_pd(row), _mm256_setzero_pd(), _CMP_NEQ_UQ);
  return static_cast<std::uint32_t>(_mm256_movemask_pd(zero));
}

template <class G>
Index find_nonzeros(const G* row, Index size, std::int32_t* places, G* out) {
  static const auto value_orders = orders_of_lanes<G>();
  static const auto place_orders = orders_of_lanes<float>();
  constexpr Index kLanes = 32 / sizeof(G);
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  Index n = 0, first = 0;
  for (; first + kLanes <= size; first += kLanes) {
    const std::uint32_t set = nonzero_lanes(row + first);
    reorder(row + first, value_orders[set], out + n);
    const __m256i own = _mm256_add_epi32(lanes, _mm256_set1_epi32(std::int32_t(first)));
    const __m256i* const order = reinterpret_cast<const __m256i*>(place_orders[set].data());
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(places + n),
                        _mm256_permutevar8x32_epi32(own, _mm256_loadu_si256(order)));
    n += count_bits(set);
  }
  return n + copy_nonzeros(row, first, size, places + n, out + n);
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
Index find_nonzeros(const G* row, Index size, std::int32_t* places, G* out) {
  return copy_nonzeros(row, 0, size, places, out);
}

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
