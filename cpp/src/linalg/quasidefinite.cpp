#include "linalg/quasidefinite.hpp"

#include "linalg/cholesky.hpp"

namespace nettrim {
namespace {

// A pivot this much smaller than its diagonal is rounding.
constexpr double kRounding = 1e-14;

}  // namespace

Eigen::Block<Matrix<double>> QuasidefiniteFactor::prepare(Index size, Index room) {
  size_ = size;
  room_ = std::max(room, size_);
  if (packed_.rows() < room_) {
    // Columns start at aligned addresses, whatever the matrix served for before: sums are then
    // taken in the same order.
    const Index aligned = (room_ + 7) / 8 * 8;
    packed_.resize(aligned, aligned);
  }
  d_.resize(packed_.rows());
  spike_.resize(packed_.rows());
  return packed_.topLeftCorner(size_, size_);
}

bool QuasidefiniteFactor::factor(Index positive) {
  if (!cholesky(packed_.topLeftCorner(size_, size_), positive)) return false;
  for (Index j = 0; j < size_; ++j) {
    const double pivot = packed_(j, j);
    d_[j] = j < positive ? pivot * pivot : -pivot * pivot;
    packed_.col(j).segment(j + 1, size_ - j - 1) *= 1 / pivot;
  }
  return true;
}

bool QuasidefiniteFactor::append(Eigen::Ref<Vector> entries, double diagonal, bool positive) {
  const Index n = size_;
  double pivot = diagonal;
  if (n > 0) {
    packed_.topLeftCorner(n, n).triangularView<Eigen::UnitLower>().solveInPlace(entries);
    for (Index j = 0; j < n; ++j) {
      const double v = d_[j] == 0 ? 0 : entries[j] / d_[j];
      pivot -= v * entries[j];
      packed_(n, j) = v;
    }
  }
  const double sure = kRounding * std::abs(diagonal);
  if (positive ? !(pivot > sure) : !(pivot < -sure)) return false;
  d_[n] = pivot;
  ++size_;
  return true;
}

// The trailing block takes up what the row leaves behind: a rank-one update of L D L'.
bool QuasidefiniteFactor::remove(Index row) {
  const Index after = size_ - row - 1;
  double alpha = d_[row];
  auto v = spike_.head(after);
  v = packed_.col(row).segment(row + 1, after);
  packed_.row(row).head(row).setZero();
  packed_.col(row).segment(row + 1, after).setZero();
  d_[row] = 0;
  for (Index j = 0; j < after; ++j) {
    const Index k = row + 1 + j;
    if (d_[k] == 0 || v[j] == 0) continue;
    const double p = v[j];
    const double d = d_[k] + alpha * p * p;
    if (!(d / d_[k] > kRounding)) return false;
    const double beta = alpha * p / d;
    alpha *= d_[k] / d;
    d_[k] = d;
    const Index rest = after - j - 1;
    double* const column = packed_.col(k).data() + k + 1;
    double* const spike = v.data() + j + 1;
#pragma omp simd
    for (Index i = 0; i < rest; ++i) {
      spike[i] -= p * column[i];
      column[i] += beta * spike[i];
    }
  }
  return true;
}

void QuasidefiniteFactor::solve(Eigen::Ref<Vector> x) const {
  if (size_ == 0) return;
  const auto L = packed_.topLeftCorner(size_, size_);
  L.triangularView<Eigen::UnitLower>().solveInPlace(x);
  for (Index j = 0; j < size_; ++j) x[j] = d_[j] == 0 ? 0 : x[j] / d_[j];
  L.transpose().triangularView<Eigen::UnitUpper>().solveInPlace(x);
}

}  // namespace nettrim
