#include "linalg/sparse.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "linalg/parallel.hpp"

namespace nettrim {
namespace {

namespace simd = Eigen::internal;

// Share of entries that are not zero from which on a dense product is as fast; and time to find
// these entries, over that of a dense product with a packet of rows, for one product and for many.
constexpr double kMostDense = 0.3;
constexpr double kCostOfFinding = 8, kShareOfFinding = 1;
constexpr Index kTogether = 8;  // entries, which are often zero together

template <class S>
bool is_zero(const S* entries) {
  bool other = false;
  for (Index i = 0; i < kTogether; ++i) other |= entries[i] != S(0);
  return !other;
}

// out += factor rows X: of so many packets of rows, which lie column by column; `sums` has room for
// one more.
template <int Packets, class S>
void add_rows(const S* rows, S* sums, const SparseColumns<S>& X, S factor, Index height,
              Part<S> out) {
  using Packet = typename simd::packet_traits<S>::type;
  constexpr Index kLanes = simd::packet_traits<S>::size, kHeight = Packets * kLanes;
  for (Index j = 0; j < X.count(); ++j) {
    Packet sum[Packets];
    for (Packet& s : sum) s = simd::pset1<Packet>(S(0));
    const std::int32_t end = X.begin[static_cast<std::size_t>(j) + 1];
    for (std::int32_t k = X.begin[static_cast<std::size_t>(j)]; k < end; ++k) {
      const Packet x = simd::pset1<Packet>(X.value[static_cast<std::size_t>(k)]);
      const S* const a = rows + X.row[static_cast<std::size_t>(k)] * kHeight;
      for (Index i = 0; i < Packets; ++i) {
        sum[i] = simd::pmadd(simd::ploadu<Packet>(a + i * kLanes), x, sum[i]);
      }
    }
    for (Index i = 0; i < Packets; ++i) simd::pstoreu(sums + i * kLanes, sum[i]);
    out.col(j) += factor * Eigen::Map<const Eigen::Vector<S, Eigen::Dynamic>>(sums, height);
  }
}

// What a thread copies has a place that stays, for memory that is new is slow.
template <int Packets, class S>
void add_some_rows(const ConstPart<S>& A, Range r, const SparseColumns<S>& X, S factor,
                   Part<S> out) {
  constexpr Index kHeight = Packets * simd::packet_traits<S>::size;
  thread_local std::vector<S> rows;
  rows.resize(static_cast<std::size_t>(kHeight * (A.cols() + 1)));
  for (Index j = 0; j < A.cols(); ++j) {
    S* const column = rows.data() + j * kHeight;
    std::copy_n(A.col(j).data() + r.begin, r.size, column);
    std::fill(column + r.size, column + kHeight, S(0));
  }
  S* const sums = rows.data() + kHeight * A.cols();
  add_rows<Packets, S>(rows.data(), sums, X, factor, r.size, out.middleRows(r.begin, r.size));
}

template <class S>
void add_sparse(const ConstPart<S>& A, const SparseColumns<S>& X, S factor, Part<S> out) {
  constexpr Index kLanes = simd::packet_traits<S>::size;
  for (Range r = {0, 0}; r.begin < A.rows(); r.begin += r.size) {
    const Index left = A.rows() - r.begin;
    if (left > 4 * kLanes) {
      r.size = std::min(8 * kLanes, left);
      add_some_rows<8, S>(A, r, X, factor, out);
    } else {
      r.size = std::min(4 * kLanes, left);
      add_some_rows<4, S>(A, r, X, factor, out);
    }
  }
}

template <class S>
bool is_worth_it(Index left_rows, const ConstPart<S>& X, double cost) {
  const double packets = static_cast<double>(left_rows) / simd::packet_traits<S>::size;
  if (packets <= cost) return false;
  Index count = 0;
  for (Index j = 0; j < X.cols(); ++j) count += (X.col(j).array() != S(0)).count();
  const double share = static_cast<double>(count) / static_cast<double>(X.size());
  return (1 - share / kMostDense) * packets > cost;
}

}  // namespace

template <class S>
void SparseColumns<S>::read(const ConstPart<S>& X) {
  row.resize(static_cast<std::size_t>(X.size()) + 1);
  value.resize(row.size());
  begin.assign(1, 0);
  std::size_t n = 0;
  for (Index j = 0; j < X.cols(); ++j) {
    const auto column = X.col(j);
    for (Index first = 0; first < X.rows(); first += kTogether) {
      const Index last = std::min(first + kTogether, X.rows());
      if (last - first == kTogether && is_zero(column.data() + first)) continue;
      for (Index i = first; i < last; ++i) {
        row[n] = static_cast<std::int32_t>(i);
        value[n] = column[i];
        n += column[i] != S(0);
      }
    }
    begin.push_back(static_cast<std::int32_t>(n));
  }
}

template <class S>
void SparseColumns<S>::read_transposed(const SparseColumns& other, Index rows) {
  begin.assign(static_cast<std::size_t>(rows) + 2, 0);
  const auto n = static_cast<std::size_t>(other.begin.back());
  for (std::size_t k = 0; k < n; ++k) ++begin[static_cast<std::size_t>(other.row[k]) + 2];
  for (std::size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  row.resize(n);
  value.resize(n);
  for (Index j = 0; j < other.count(); ++j) {
    for (auto k = static_cast<std::size_t>(other.begin[static_cast<std::size_t>(j)]);
         k < static_cast<std::size_t>(other.begin[static_cast<std::size_t>(j) + 1]); ++k) {
      const auto place =
          static_cast<std::size_t>(begin[static_cast<std::size_t>(other.row[k]) + 1]++);
      row[place] = static_cast<std::int32_t>(j);
      value[place] = other.value[k];
    }
  }
  begin.pop_back();
}

template <class S>
void SparseSamples<S>::read(const ConstPart<S>& X, Index left_rows) {
  if (!is_worth_it<S>(left_rows, X, kShareOfFinding)) return;
  samples_.read(X);
  features_.read_transposed(samples_, X.rows());
}

template <class S>
void SparseSamples<S>::add_product_with_samples(const ConstPart<S>& A, const ConstPart<S>& X,
                                                Part<S> out, S factor) const {
  if (samples_.count() == 0) return add_product(A, X, out, factor);
  add_sparse<S>(A, samples_, factor, out);
}

template <class S>
void SparseSamples<S>::add_product_with_features(const ConstPart<S>& A, const ConstPart<S>& X,
                                                 Part<S> out, S factor) const {
  if (samples_.count() == 0) return add_product(A, X.transpose(), out, factor);
  add_sparse<S>(A, features_, factor, out);
}

namespace compiled {

template <class S>
void add_product_with_samples(const ConstPart<S>& A, const ConstPart<S>& X, Part<S> out, S factor) {
  if (!is_worth_it<S>(A.rows(), X, kCostOfFinding)) return nettrim::add_product(A, X, out, factor);
  thread_local SparseColumns<S> samples;
  samples.read(X);
  add_sparse<S>(A, samples, factor, out);
}

template <class S>
void add_product_with_features(const ConstPart<S>& A, const ConstPart<S>& X, Part<S> out,
                               S factor) {
  if (!is_worth_it<S>(A.rows(), X, kCostOfFinding))
    return nettrim::add_product(A, X.transpose(), out, factor);
  thread_local SparseColumns<S> samples, features;
  samples.read(X);
  features.read_transposed(samples, X.rows());
  add_sparse<S>(A, features, factor, out);
}

}  // namespace compiled

#define NETTRIM_FOR(S)                                                                        \
  template struct SparseColumns<S>;                                                           \
  template class SparseSamples<S>;                                                            \
  template void compiled::add_product_with_samples(const ConstPart<S>&, const ConstPart<S>&,  \
                                                   Part<S>, S);                               \
  template void compiled::add_product_with_features(const ConstPart<S>&, const ConstPart<S>&, \
                                                    Part<S>, S);
NETTRIM_FOR(float)
NETTRIM_FOR(double)
#undef NETTRIM_FOR

}  // namespace nettrim
