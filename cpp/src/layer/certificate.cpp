#include "layer/certificate.hpp"

#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

namespace nettrim::layer {
namespace {

using Vector = Eigen::VectorXd;
constexpr double kTiny = std::numeric_limits<double>::min();

// Sums over samples, one per thread and then added in order.
struct Sums {
  Matrix<double> gradient;  // outputs x features: (X'G)^T
  Vector linear, square;    // per output: <g, target> and ||g_active||^2
  double residual = 0, violation = 0;

  Sums(Index outputs, Index features)
      : gradient(Matrix<double>::Zero(outputs, features)),
        linear(Vector::Zero(outputs)),
        square(Vector::Zero(outputs)) {}

  void add(const Sums& other) {
    gradient += other.gradient;
    linear += other.linear;
    square += other.square;
    residual += other.residual;
    violation = std::max(violation, other.violation);
  }
};

// A float matrix is widened, a double one is used where it lies.
template <class Derived>
decltype(auto) widened(const Eigen::MatrixBase<Derived>& m) {
  if constexpr (std::is_same_v<typename Derived::Scalar, double>) {
    return m.derived();
  } else {
    return Matrix<double>(m.template cast<double>());
  }
}

// One piece of samples: signal = XU there, dual = G there, both outputs x samples.
template <class Entries, class Signal, class Dual>
void add_entries(Entries entry, Index first, const Signal& signal, const Dual& dual, Sums& sums) {
  const Index outputs = signal.rows();
  for (Index column = 0; column < signal.cols(); ++column) {
    for (Index m = 0; m < outputs; ++m) {
      const auto e = entry(first + column * outputs + m);
      const double target = static_cast<double>(e.target);
      const double excess = signal(m, column) - target;
      const double g = static_cast<double>(dual(m, column));
      sums.linear[m] += g * target;
      if (e.active) {
        sums.square[m] += g * g;
        sums.residual += excess * excess;
      } else {
        sums.violation = std::max(sums.violation, excess);
      }
    }
  }
}

template <class S>
Sums sum_over_samples(const UnitProgram<S>& p, const Matrix<S>& weights, const Matrix<S>& dual) {
  std::vector<Sums> sums(static_cast<std::size_t>(p.threads), Sums(p.n_outputs(), p.n_features()));
  const Matrix<double> W = weights.template cast<double>() * static_cast<double>(p.x_scale);
  parallel_for(static_cast<Index>(p.samples.size()), p.threads, [&](Index k, int thread) {
    const Range r = p.samples[static_cast<std::size_t>(k)];
    Sums& mine = sums[static_cast<std::size_t>(thread)];
    const auto X_view = p.X(r);
    const auto G_view = dual.middleCols(r.begin, r.size);
    const auto& X = widened(X_view);
    const auto& G = widened(G_view);
    const Matrix<double> signal = W * X;
    p.with_entries(
        [&](auto entry) { add_entries(entry, r.begin * p.n_outputs(), signal, G, mine); });
    mine.gradient.noalias() += G * X.transpose();
  });
  for (std::size_t t = 1; t < sums.size(); ++t) sums[0].add(sums[t]);
  sums[0].gradient *= static_cast<double>(p.x_scale);
  return std::move(sums[0]);
}

// Every output shrunk to what the dual constraint allows; all of them stretched together where it
// leaves room, for a positive bound grows with G.
void scale_constrained(const Sums& sums, const Vector& steepest, double epsilon, Certificate& c) {
  c.scale = steepest.cwiseMax(1.0).cwiseInverse();
  const double steepest_left = (c.scale.array() * steepest.array()).maxCoeff();
  if (steepest_left > 0) c.scale /= steepest_left;
  c.dual_norm = std::sqrt((c.scale.array().square() * sums.square.array()).sum());
  c.dual_bound = std::max(0.0, c.scale.dot(sums.linear) - epsilon * c.dual_norm);
}

// Per output the best scale of  t linear - t^2 square / 4  within the dual constraint.
void scale_penalised(const Sums& sums, const Vector& steepest, double penalty, Certificate& c) {
  const Vector best = 2 * sums.linear.cwiseQuotient(sums.square.cwiseMax(kTiny));
  const Vector most = penalty * steepest.cwiseMax(kTiny).cwiseInverse();
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

template <class S>
Certificate certify(const UnitProgram<S>& p, const Matrix<S>& weights, const Matrix<S>& dual) {
  const Sums sums = sum_over_samples(p, weights, dual);
  const Vector steepest = sums.gradient.cwiseAbs().rowwise().maxCoeff();
  const double l1 = weights.template cast<double>().cwiseAbs().sum();
  Certificate c;
  c.residual = std::sqrt(sums.residual);
  c.violation = sums.violation;
  if (p.constrained()) {
    c.objective = l1;
    scale_constrained(sums, steepest, p.level, c);
  } else {
    c.objective = sums.residual + p.level * l1;
    scale_penalised(sums, steepest, p.level, c);
  }
  return c;
}

template Certificate certify(const UnitProgram<float>&, const Matrix<float>&, const Matrix<float>&);
template Certificate certify(const UnitProgram<double>&, const Matrix<double>&,
                             const Matrix<double>&);

}  // namespace nettrim::layer
