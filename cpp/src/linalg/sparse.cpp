#include "linalg/sparse.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "linalg/parallel.hpp"
#include "linalg/pick.hpp"

namespace nettrim {
namespace {

namespace simd = Eigen::internal;

// Share of entries that are not zero from which on a dense product is as fast; and time to find
// these entries, over that of a dense product with a packet of rows, for one product and for many.
constexpr double kMostDense = 0.4;
constexpr double kCostOfFinding = 3, kShareOfFinding = 0.4;
// Bytes on the left that the nearest cache holds beside what streams by, and entries of a column
// for which it is worth while to read its sums and to write them.
constexpr Index kNearBytes = 32 << 10, kWorthSums = 12;

// Columns of the left that are passed through at a time, so that they stay near.
template <class S>
Index columns_at_once(Index height, const SparseColumns<S>& X, Index columns) {
  const Index near = kNearBytes / (height * static_cast<Index>(sizeof(S)));
  const Index entries = std::max<Index>(X.begin.back(), 1);
  return std::min(columns, std::max(near, kWorthSums * X.count() * columns / entries));
}

// out += factor A X, of so many packets of rows of A. What a thread copies has a place that stays,
// for memory that is new is slow.
template <int Packets, class S>
void add_rows(const ConstPart<S>& A, Range r, const SparseColumns<S>& X, S factor, Part<S> out) {
  using Packet = typename simd::packet_traits<S>::type;
  constexpr Index kLanes = simd::packet_traits<S>::size, kHeight = Packets * kLanes;
  thread_local Matrix<S> rows, sums;
  thread_local std::vector<std::int32_t> next;  // entry of each column
  const Index at_once = columns_at_once(kHeight, X, A.cols());
  rows.setZero(kHeight, at_once);
  sums.setZero(kHeight, X.count());
  next.assign(X.begin.begin(), X.begin.end() - 1);
  for (Index first = 0; first < A.cols(); first += at_once) {
    const Index last = std::min(first + at_once, A.cols());
    rows.topLeftCorner(r.size, last - first) = A.block(r.begin, first, r.size, last - first);
    for (Index j = 0; j < X.count(); ++j) {
      std::int32_t k = next[static_cast<std::size_t>(j)];
      const std::int32_t end = X.begin[static_cast<std::size_t>(j) + 1];
      S* const out_sums = sums.col(j).data();
      Packet sum[Packets];
      for (Index i = 0; i < Packets; ++i) sum[i] = simd::ploadu<Packet>(out_sums + i * kLanes);
      for (; k < end && X.row[static_cast<std::size_t>(k)] < last; ++k) {
        const Packet x = simd::pset1<Packet>(X.value[static_cast<std::size_t>(k)]);
        const S* const a = rows.col(X.row[static_cast<std::size_t>(k)] - first).data();
        for (Index i = 0; i < Packets; ++i) {
          sum[i] = simd::pmadd(simd::ploadu<Packet>(a + i * kLanes), x, sum[i]);
        }
      }
      for (Index i = 0; i < Packets; ++i) simd::pstoreu(out_sums + i * kLanes, sum[i]);
      next[static_cast<std::size_t>(j)] = k;
    }
  }
  out.middleRows(r.begin, r.size) += factor * sums.topRows(r.size);
}

template <class S>
void add_sparse(const ConstPart<S>& A, const SparseColumns<S>& X, S factor, Part<S> out) {
  constexpr Index kLanes = simd::packet_traits<S>::size;
  for (Range r = {0, 0}; r.begin < A.rows(); r.begin += r.size) {
    const Index left = A.rows() - r.begin;
    if (left > 4 * kLanes) {
      r.size = std::min(8 * kLanes, left);
      add_rows<8, S>(A, r, X, factor, out);
    } else {
      r.size = std::min(4 * kLanes, left);
      add_rows<4, S>(A, r, X, factor, out);
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
  begin.assign(1, 0);
  std::size_t n = 0;
  for (Index j = 0; j < X.cols(); ++j) {
    const std::size_t most = n + static_cast<std::size_t>(X.rows() + kPickedBeyond);
    if (row.size() < most) row.resize(std::max(most, 2 * row.size()));
    value.resize(row.size());
    const S* const column = X.col(j).data();
    n += static_cast<std::size_t>(find_nonzeros(column, X.rows(), &row[n], &value[n]));
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
