#include "layer/regularisation.hpp"

#include <cmath>
#include <limits>

namespace nettrim::layer {
namespace {

using Vector = Eigen::VectorXd;

constexpr double kOutOfSense = 1e9;     // weights of an output, at unit size
constexpr double kBallRounding = 1e-9;  // of the norm that the ball allows

Vector or_zeros(const Vector& slopes, Index outputs) {
  return slopes.size() > 0 ? slopes : Vector::Zero(outputs);
}

}  // namespace

template <class S>
std::shared_ptr<const UnitRegularisation<S>> regularisation_of(const UnitProgram<S>& p) {
  const Regularisation<S>& given = p.given.regularisation;
  if (given.ridge == 0 && given.pull == 0) return nullptr;
  auto r = std::make_shared<UnitRegularisation<S>>();
  const double scale = static_cast<double>(p.x_scale);
  r->ridges = given.ridge * (scale * p.scales).cwiseAbs2();
  r->pull = given.pull;
  const Matrix<S> original = p.unit_weights(View<S>(given.original, p.n_outputs(), p.n_features()));
  r->original = original.template cast<double>();
  if (given.pull > 0) {
    r->signals.resize(p.n_outputs(), p.n_samples());
    p.signals_of(original, r->signals);
  }
  return r;
}

template <class S>
double norm_of_drawn_targets(const UnitProgram<S>& p) {
  const UnitRegularisation<S>& r = *p.regularisation;
  double square = r.original.cwiseAbs2().colwise().sum() * r.ridges;
  if (r.pull == 0) return std::sqrt(square);
  p.with_entries([&](auto entry) {
    for (Index i = 0; i < r.signals.size(); ++i) {
      const double z = static_cast<double>(r.signals.data()[i]);
      if (!entry(i).active) square += r.pull * z * z;
    }
  });
  return std::sqrt(square);
}

template <class S>
void add_pulled_rows(const UnitProgram<S>& p, Range piece, const Matrix<double>& signal,
                     const Vector& given_slopes, Matrix<double>& dual, Evidence& sums) {
  const UnitRegularisation<S>& r = *p.regularisation;
  const Vector slopes = or_zeros(given_slopes, p.n_outputs());
  const Index first = piece.begin * p.n_outputs();
  p.with_entries([&](auto entry) {
    for (Index column = 0; column < piece.size; ++column) {
      for (Index m = 0; m < p.n_outputs(); ++m) {
        if (entry(first + column * p.n_outputs() + m).active) continue;
        const double target = static_cast<double>(r.signals(m, piece.begin + column));
        const double missing = target - signal(m, column);
        const double multiplier = r.pull * slopes[m] * missing;
        sums.linear[m] += multiplier * target;
        sums.linear_size[m] += std::abs(multiplier * target);
        sums.square[m] += multiplier * multiplier / r.pull;
        sums.size[m] +=
            std::abs(multiplier) * (std::abs(multiplier) + 2 * std::abs(dual(m, column)));
        sums.residual += r.pull * missing * missing;
        dual(m, column) += multiplier;
      }
    }
  });
}

template <class S>
void add_ridge_rows(const UnitProgram<S>& p, const Matrix<double>& weights,
                    const Vector& given_slopes, Evidence& sums) {
  const UnitRegularisation<S>& r = *p.regularisation;
  const Vector slopes = or_zeros(given_slopes, p.n_outputs());
  for (Index j = 0; j < p.n_features(); ++j) {
    if (r.ridges[j] == 0) continue;
    const Vector missing = r.original.col(j) - weights.col(j);
    const Vector multipliers = r.ridges[j] * slopes.cwiseProduct(missing);
    const Vector squares = multipliers.cwiseAbs2() / r.ridges[j];
    sums.gradient.col(j) += multipliers;
    sums.linear += multipliers.cwiseProduct(r.original.col(j));
    sums.linear_size += multipliers.cwiseProduct(r.original.col(j)).cwiseAbs();
    sums.square += squares;
    sums.size += squares;
    sums.residual += r.ridges[j] * missing.squaredNorm();
  }
}

// By the triangle inequality from the original weights, and Cauchy and Schwarz over the costs of
// those that are allowed.
template <class S>
double norm_beyond_reach(const UnitProgram<S>& p) {
  const UnitRegularisation<S>& r = *p.regularisation;
  if (!p.constrained()) return kInfinity;
  double largest = 0, squares = 0;
  for (Index m = 0; m < p.n_outputs(); ++m) {
    const Vector costs =
        p.costs_of(m).unaryExpr([](double cost) { return std::isinf(cost) ? 0 : cost; });
    largest += (costs.cwiseQuotient(p.scales)).maxCoeff();
    squares += costs.cwiseAbs2().cwiseQuotient(r.ridges).sum();
  }
  if (!(r.ridges.minCoeff() > 0)) return kOutOfSense * largest * std::max(p.largest, 1.0);
  const double most = p.norm_of(p.allowed(r.original)) + p.level * std::sqrt(squares);
  return (1 + kBallRounding) * most;
}

#define NETTRIM_FOR(S)                                                                            \
  template std::shared_ptr<const UnitRegularisation<S>> regularisation_of(const UnitProgram<S>&); \
  template double norm_of_drawn_targets(const UnitProgram<S>&);                                   \
  template void add_pulled_rows(const UnitProgram<S>&, Range, const Matrix<double>&,              \
                                const Vector&, Matrix<double>&, Evidence&);                       \
  template void add_ridge_rows(const UnitProgram<S>&, const Matrix<double>&, const Vector&,       \
                               Evidence&);                                                        \
  template double norm_beyond_reach(const UnitProgram<S>&);
NETTRIM_FOR(float)
NETTRIM_FOR(double)
#undef NETTRIM_FOR

}  // namespace nettrim::layer
