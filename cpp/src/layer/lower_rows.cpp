#include "layer/lower_rows.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "linalg/cholesky.hpp"

namespace nettrim::layer {
namespace {

using Vector = Eigen::VectorXd;

constexpr double kLittle = 10;  // times the tolerance
// Shares of the tolerance: excesses that are left, and those that must not grow meanwhile.
constexpr double kLeft = 0.8, kWatched = 0.4;
constexpr std::size_t kMostRows = 64;  // of an output
constexpr double kRidge = 1e-9;        // of the rows' products, over their trace

struct HighRows {
  std::vector<Index> samples;
  std::vector<double> excesses;
  bool any() const {
    return std::any_of(excesses.begin(), excesses.end(), [](double e) { return e > 0; });
  }
};

template <class S>
HighRows high_rows(const UnitProgram<S>& p, Index output, const Matrix<S>& signals,
                   double tolerated) {
  HighRows high;
  p.with_entries([&](auto entry) {
    for (Index i = 0; i < p.n_samples(); ++i) {
      const auto e = entry(i * p.n_outputs() + output);
      const double excess = static_cast<double>(signals(output, i) - e.target);
      if (e.active || !(excess > kWatched * tolerated)) continue;
      high.samples.push_back(i);
      high.excesses.push_back(std::max(excess - kLeft * tolerated, 0.0));
    }
  });
  return high;
}

template <class S>
std::vector<Index> used_features(const Matrix<S>& weights, Index output) {
  std::vector<Index> used;
  for (Index j = 0; j < weights.cols(); ++j) {
    if (weights(output, j) != 0) used.push_back(j);
  }
  return used;
}

// False if the rows have too little to do with the weights in use.
template <class S>
bool lower(const UnitProgram<S>& p, Index output, const HighRows& high, Matrix<S>& weights) {
  const auto used = used_features(weights, output);
  const auto n = static_cast<Index>(high.samples.size());
  Matrix<double> A(static_cast<Index>(used.size()), n);
  for (Index k = 0; k < n; ++k) {
    const Index i = high.samples[static_cast<std::size_t>(k)];
    A.col(k) = p.X({i, 1}).template cast<double>()(used, 0) * static_cast<double>(p.x_scale);
  }
  Matrix<double> gram = A.transpose() * A;
  gram.diagonal().array() += kRidge * gram.trace();
  if (!cholesky(gram)) return false;
  const Vector excess = Eigen::Map<const Vector>(high.excesses.data(), n);
  const Vector change = A * solve_factored(gram, excess);
  for (std::size_t k = 0; k < used.size(); ++k) {
    weights(output, used[k]) -= static_cast<S>(change[static_cast<Index>(k)]);
  }
  return true;
}

template <class S>
bool only_rows_are_high(const UnitProgram<S>& p, const Certificate& c, double tol) {
  if (!c.finite() || std::abs(c.gap()) > tol) return false;
  if (p.constrained() && c.residual > p.level * (1 + tol)) return false;
  return c.violation > tol * p.largest && c.violation <= kLittle * tol * p.largest;
}

// False if there are too many.
template <class S>
bool lower_rows(const UnitProgram<S>& p, double tolerated, Matrix<S>& weights) {
  Matrix<S> signals(p.n_outputs(), p.n_samples());
  p.signals_of(weights, signals);
  std::atomic<bool> lowered = true;
  parallel_for_uneven(p.n_outputs(), p.threads, [&](Index m, int) {
    const HighRows high = high_rows(p, m, signals, tolerated);
    if (!high.any()) return;
    if (high.samples.size() > kMostRows || !lower(p, m, high, weights)) lowered = false;
  });
  return lowered;
}

}  // namespace

template <class S>
void lower_last_rows(const UnitProgram<S>& p, double tol, EngineResult<S>& a) {
  if (!only_rows_are_high(p, a.certificate, tol)) return;
  Matrix<S> weights = a.weights;
  if (!lower_rows(p, tol * p.largest, weights)) return;
  const Certificate c = certify(p, weights, a.dual);
  if (!proved(p, c, tol)) return;
  a.weights = std::move(weights);
  a.certificate = c;
}

template void lower_last_rows(const UnitProgram<float>&, double, EngineResult<float>&);
template void lower_last_rows(const UnitProgram<double>&, double, EngineResult<double>&);

}  // namespace nettrim::layer
