#include "linalg/cholesky.hpp"

#include <algorithm>
#include <cmath>

namespace nettrim {
namespace {

namespace simd = Eigen::internal;

// Of a symmetric matrix the lower triangle, which becomes L of L S L', S being 1 for the first
// `positive` rows and -1 for the others.
template <class S>
class SignedCholesky {
 public:
  SignedCholesky(Part<S> lower, Index positive)
      : lower_(lower), positive_(positive), right_(kBlock * (lower.rows() + kColumns)) {}

  bool factor() {
    for (Index begin = 0; begin < size(); begin += kBlock) {
      const Index end = std::min(begin + kBlock, size());
      for (Index j = begin; j < end; j += kColumns) {
        if (!finish(begin, j, std::min(kColumns, end - j))) return false;
      }
      subtract_from_the_right(begin, end);
    }
    return true;
  }

 private:
  using Packet = typename simd::packet_traits<S>::type;
  static constexpr Index kLanes = simd::packet_traits<S>::size;
  // Columns that are finished before all to their right hear of them: so much of a few rows stays
  // in the nearest cache.
  static constexpr Index kBlock = 64;
  // Of a tile of sums, which registers hold.
  static constexpr Index kPackets = 3, kRows = kPackets * kLanes, kColumns = 4;

  Index size() const { return lower_.rows(); }
  S* at(Index i, Index j) { return lower_.data() + j * lower_.outerStride() + i; }
  S sign(Index j) const { return S(j < positive_ ? 1 : -1); }

  // What the columns of this block before some take from them, and then they themselves.
  bool finish(Index begin, Index j, Index width) {
    write_right(begin, j, j, width, right_.data());
    for (Index i = j; i < size();) i += subtract_rows(begin, j, width, i);
    if (!finish_corner(j, width)) return false;
    divide(j, width);
    return true;
  }

  // From some rows at least, whose number it returns.
  Index subtract_rows(Index begin, Index j, Index width, Index i) {
    const Index depth = j - begin, rows = size() - i, apart = lower_.outerStride();
    if (rows >= kRows && i > j) {
      subtract<kPackets>(at(i, begin), apart, depth, right_.data(), i, j, width);
      return kRows;
    }
    if (rows >= kLanes) {
      subtract<1>(at(i, begin), apart, depth, right_.data(), i, j, width);
      return kLanes;
    }
    Eigen::Matrix<S, kLanes, kBlock> left;  // beyond the last row there may be nothing to read
    left.leftCols(depth).setZero();
    left.topLeftCorner(rows, depth) = lower_.block(i, begin, rows, depth);
    subtract<1>(left.data(), kLanes, depth, right_.data(), i, j, width);
    return rows;
  }

  bool finish_corner(Index first, Index width) {
    for (Index j = first; j < first + width; ++j) {
      S square = *at(j, j) * sign(j);
      for (Index k = first; k < j; ++k) square -= sign(j) * sign(k) * *at(j, k) * *at(j, k);
      if (!(square > 0)) return false;
      *at(j, j) = std::sqrt(square);
      for (Index i = j + 1; i < first + width; ++i) {
        S sum = *at(i, j);
        for (Index k = first; k < j; ++k) sum -= sign(k) * *at(i, k) * *at(j, k);
        *at(i, j) = sum * sign(j) / *at(j, j);
      }
    }
    return true;
  }

  // The rows below a corner by the corner. Only the last columns are fewer, and have none.
  void divide(Index j, Index width) {
    if (width < kColumns) return;
    S by[kColumns], of[kColumns][kColumns];
    for (Index c = 0; c < kColumns; ++c) {
      by[c] = sign(j + c) / *at(j + c, j + c);
      for (Index d = 0; d < c; ++d) of[c][d] = sign(j + d) * *at(j + c, j + d);
    }
    S *const a = at(0, j), *const b = at(0, j + 1), *const c = at(0, j + 2),
             *const d = at(0, j + 3);
#pragma omp simd
    for (Index i = j + kColumns; i < size(); ++i) {
      a[i] *= by[0];
      b[i] = (b[i] - of[1][0] * a[i]) * by[1];
      c[i] = (c[i] - of[2][0] * a[i] - of[2][1] * b[i]) * by[2];
      d[i] = (d[i] - of[3][0] * a[i] - of[3][1] * b[i] - of[3][2] * c[i]) * by[3];
    }
  }

  // Of the rows from i, the columns from `begin` to `end` next to each other, and with their signs.
  void write_right(Index begin, Index end, Index i, Index width, S* out) {
    for (Index k = begin; k < end; ++k, out += kColumns) {
      Eigen::Map<Eigen::Matrix<S, kColumns, 1>> row(out);
      if (width == kColumns) {
        row = sign(k) * Eigen::Map<Eigen::Matrix<S, kColumns, 1>>(at(i, k));
      } else {
        row.setZero();
        row.head(width) = sign(k) * lower_.col(k).segment(i, width);
      }
    }
  }

  void subtract_from_the_right(Index begin, Index end) {
    const Index depth = end - begin;
    for (Index j = end; j < size(); j += kColumns) {
      write_right(begin, end, j, std::min(kColumns, size() - j),
                  right_.data() + (j - end) * kBlock);
    }
    Eigen::Matrix<S, kRows, kBlock> left;
    for (Index i = end; i < size(); i += kRows) {
      const Index height = std::min(kRows, size() - i);
      if (height < kRows) left.setZero();
      left.topLeftCorner(height, depth) = lower_.block(i, begin, height, depth);
      for (Index j = end; j < i + height; j += kColumns) {
        subtract<kPackets>(left.data(), kRows, depth, right_.data() + (j - end) * kBlock, i, j,
                           std::min(kColumns, size() - j));
      }
    }
  }

  // From the tile at (i, j), so far as it is in the lower triangle.
  template <Index Packets>
  void subtract(const S* left, Index apart, Index depth, const S* right, Index i, Index j,
                Index width) {
    constexpr Index rows = Packets * kLanes;
    if (i + rows <= size() && width == kColumns && j + kColumns <= i + 1) {
      return subtract<Packets>(left, apart, depth, right, at(i, j), lower_.outerStride());
    }
    const Index height = std::min(rows, size() - i);
    Eigen::Matrix<S, rows, kColumns> tile;
    tile.setZero();
    subtract<Packets>(left, apart, depth, right, tile.data(), rows);
    for (Index c = 0; c < width; ++c) {
      const Index above = std::clamp(j + c - i, Index(0), height);
      lower_.col(j + c).segment(i + above, height - above) +=
          tile.col(c).segment(above, height - above);
    }
  }

  template <Index Packets>
  static void subtract(const S* left, Index left_apart, Index depth, const S* right, S* out,
                       Index out_apart) {
    Packet sums[Packets][kColumns];
    for (auto& row : sums) {
      for (Packet& sum : row) sum = simd::pset1<Packet>(S(0));
    }
    for (Index k = 0; k < depth; ++k, left += left_apart, right += kColumns) {
      Packet x[Packets];
      for (Index p = 0; p < Packets; ++p) x[p] = simd::ploadu<Packet>(left + p * kLanes);
      for (Index c = 0; c < kColumns; ++c) {
        const Packet factor = simd::pset1<Packet>(right[c]);
        for (Index p = 0; p < Packets; ++p) sums[p][c] = simd::pmadd(x[p], factor, sums[p][c]);
      }
    }
    for (Index c = 0; c < kColumns; ++c) {
      for (Index p = 0; p < Packets; ++p) {
        S* const place = out + c * out_apart + p * kLanes;
        simd::pstoreu(place, simd::psub(simd::ploadu<Packet>(place), sums[p][c]));
      }
    }
  }

  Part<S> lower_;
  Index positive_;
  std::vector<S> right_;
};

}  // namespace

#define NETTRIM_FOR(S)                                                               \
  bool cholesky(Part<S> lower) { return cholesky(lower, lower.rows()); }             \
  bool cholesky(Part<S> lower, Index positive) {                                     \
    return SignedCholesky<S>(lower, positive).factor();                              \
  }                                                                                  \
  void solve_from_left(const ConstPart<S>& L, Part<S> X) {                           \
    if (X.size() > 0) L.triangularView<Eigen::Lower>().solveInPlace(X);              \
  }                                                                                  \
  void solve_from_right(const ConstPart<S>& L, Part<S> X) {                          \
    if (X.size() == 0) return;                                                       \
    L.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(X); \
  }
NETTRIM_FOR(float)
NETTRIM_FOR(double)
#undef NETTRIM_FOR

Eigen::VectorXd solve_factored(const ConstPart<double>& L, const Eigen::VectorXd& right) {
  Eigen::VectorXd x = right;
  if (x.size() == 0) return x;
  L.triangularView<Eigen::Lower>().solveInPlace(x);
  L.triangularView<Eigen::Lower>().transpose().solveInPlace(x);
  return x;
}

}  // namespace nettrim
