#include "layer/certificate.hpp"

#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "layer/group_certificate.hpp"
#include "layer/regularisation.hpp"
#include "layer/repair.hpp"
#include "linalg/sparse.hpp"

namespace nettrim::layer {
namespace {

using Vector = Eigen::VectorXd;
constexpr double kTiny = std::numeric_limits<double>::min();

// A float matrix is widened, a double one is used where it lies.
template <class Derived>
decltype(auto) widened(const Eigen::MatrixBase<Derived>& m) {
  if constexpr (std::is_same_v<typename Derived::Scalar, double>) {
    return m.derived();
  } else {
    return Matrix<double>(m.template cast<double>());
  }
}

// One sample from entry `first` on: signal = XU there, dual = G there.
template <class Entries>
void add_entries(Entries entry, Index first, Index outputs, const double* signal,
                 const double* dual, Evidence& sums) {
  double *const linear = sums.linear.data(), *const linear_size = sums.linear_size.data();
  double *const square = sums.square.data(), *const size = sums.size.data();
  double residual = 0, violation = sums.violation;
#pragma omp simd reduction(+ : residual) reduction(max : violation)
  for (Index m = 0; m < outputs; ++m) {
    const bool active = entry.active(first + m);
    const double target = static_cast<double>(entry.target(first + m));
    const double excess = signal[m] - target, g = dual[m], product = g * target;
    linear[m] += product;
    linear_size[m] += std::abs(product);
    size[m] += g * g;
    square[m] += active ? g * g : 0;
    residual += active ? excess * excess : 0;
    violation = std::max(violation, active ? 0 : excess);
  }
  sums.residual += residual;
  sums.violation = violation;
}

// Every output shrunk to what the dual constraint allows; all of them stretched together where it
// leaves room, for a positive bound grows with G.
void scale_constrained(const DualSums& sums, double epsilon, Certificate& c) {
  c.scale = sums.steepest.cwiseMax(1.0).cwiseInverse();
  const double steepest_left = (c.scale.array() * sums.steepest.array()).maxCoeff();
  if (steepest_left > 0) c.scale /= steepest_left;
  c.dual_norm = std::sqrt((c.scale.array().square() * sums.square.array()).sum());
  c.dual_bound = std::max(0.0, c.scale.dot(sums.linear) - epsilon * c.dual_norm);
}

// Per output the best scale of  t linear - t^2 square / 4  within the dual constraint.
void scale_penalised(const DualSums& sums, double penalty, Certificate& c) {
  const Vector best = 2 * sums.linear.cwiseQuotient(sums.square.cwiseMax(kTiny));
  const Vector most = penalty * sums.steepest.cwiseMax(kTiny).cwiseInverse();
  c.scale = best.cwiseMin(most).cwiseMax(0.0);
  const double square = (c.scale.array().square() * sums.square.array()).sum();
  c.dual_norm = std::sqrt(square);
  c.dual_bound = c.scale.dot(sums.linear) - square / 4;
}

}  // namespace

double Certificate::gap() const {
  if (objective == dual_bound) return 0;
  return (objective - dual_bound) / std::max(std::abs(objective), kTiny);
}

bool Certificate::finite() const {
  return std::isfinite(objective) && std::isfinite(dual_bound) && std::isfinite(residual);
}

Evidence::Evidence(Index outputs, Index features)
    : gradient(Matrix<double>::Zero(outputs, features)),
      linear(Vector::Zero(outputs)),
      square(Vector::Zero(outputs)),
      linear_size(Vector::Zero(outputs)),
      size(Vector::Zero(outputs)) {}

void Evidence::add(const Evidence& other) {
  gradient += other.gradient;
  linear += other.linear;
  square += other.square;
  linear_size += other.linear_size;
  size += other.size;
  residual += other.residual;
  violation = std::max(violation, other.violation);
}

template <class S, class D>
void add_piece(const UnitProgram<S>& p, Range piece, const Matrix<double>& signal,
               const Matrix<D>& dual, const Vector& slopes, Evidence& evidence) {
  const auto X_view = p.X(piece);
  const auto G_view = dual.middleCols(piece.begin, piece.size);
  const auto& X = widened(X_view);
  const auto& G = widened(G_view);
  p.with_entries([&](auto entry) {
    for (Index k = 0; k < piece.size; ++k) {
      const Index first = (piece.begin + k) * p.n_outputs();
      add_entries(entry, first, p.n_outputs(), signal.col(k).data(), G.col(k).data(), evidence);
    }
  });
  const double scale = static_cast<double>(p.x_scale);
  if (p.regularisation && p.regularisation->pull > 0) {
    Matrix<double> both = G;
    add_pulled_rows(p, piece, signal, slopes, both, evidence);
    add_product_with_features(both, X, evidence.gradient, scale);
  } else if (!G.isZero(0)) {
    add_product_with_features(G, X, evidence.gradient, scale);
  }
}

// Sums within a piece of samples, and then over the pieces; and roundings of the factors.
template <class S>
double rounding_of_sums(const UnitProgram<S>& p) {
  Index longest = 0;
  for (const Range r : p.samples) longest = std::max(longest, r.size);
  const auto terms = static_cast<double>(longest) + static_cast<double>(p.samples.size()) + 8;
  return terms * std::numeric_limits<double>::epsilon() / 2;
}

template <class S>
Certificate conclude(const UnitProgram<S>& p, double norm, const Evidence& evidence,
                     const Matrix<S>& dual) {
  const DualSums sums = p.groups ? sums_of_groups(p, evidence, dual) : repaired(p, evidence, dual);
  Certificate c;
  c.residual = std::sqrt(evidence.residual);
  c.violation = evidence.violation;
  if (p.constrained()) {
    c.objective = norm;
    scale_constrained(sums, p.level, c);
  } else {
    c.objective = evidence.residual + p.level * norm;
    scale_penalised(sums, p.level, c);
  }
  return c;
}

template <class S>
Evidence evidence_of(const UnitProgram<S>& p, const Matrix<S>& weights, const Matrix<S>& dual,
                     const Vector& slopes) {
  const Matrix<double> W = weights.template cast<double>() * static_cast<double>(p.x_scale);
  const bool at_zero = W.isZero(0);
  Evidence evidence = gather_evidence(p, [&](Index, Range piece, Evidence& mine) {
    const auto X_view = p.X(piece);
    Matrix<double> signal = Matrix<double>::Zero(p.n_outputs(), piece.size);
    if (!at_zero) add_product_with_samples(W, widened(X_view), signal);
    add_piece(p, piece, signal, dual, slopes, mine);
  });
  if (p.regularisation) add_ridge_rows(p, weights.template cast<double>(), slopes, evidence);
  return evidence;
}

template <class S>
Certificate certify(const UnitProgram<S>& p, const Matrix<S>& weights, const Matrix<S>& dual,
                    const Vector& slopes) {
  const Evidence evidence = evidence_of(p, weights, dual, slopes);
  return conclude(p, p.norm_of(weights.template cast<double>()), evidence, dual);
}

#define NETTRIM_FOR(S)                                                                             \
  template void add_piece(const UnitProgram<S>&, Range, const Matrix<double>&, const Matrix<S>&,   \
                          const Vector&, Evidence&);                                               \
  template Evidence evidence_of(const UnitProgram<S>&, const Matrix<S>&, const Matrix<S>&,         \
                                const Vector&);                                                    \
  template double rounding_of_sums(const UnitProgram<S>&);                                         \
  template Certificate conclude(const UnitProgram<S>&, double, const Evidence&, const Matrix<S>&); \
  template Certificate certify(const UnitProgram<S>&, const Matrix<S>&, const Matrix<S>&,          \
                               const Vector&);
NETTRIM_FOR(float)
NETTRIM_FOR(double)
#undef NETTRIM_FOR
template void add_piece(const UnitProgram<float>&, Range, const Matrix<double>&,
                        const Matrix<double>&, const Vector&, Evidence&);

}  // namespace nettrim::layer
