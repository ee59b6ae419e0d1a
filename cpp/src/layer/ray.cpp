// Proofs that no weights satisfy the constraints.
//
// With G_inactive <= 0 and X'G = 0, and G_active = 0 in a penalised program,
//   <G, target> - epsilon ||G_active||_F > 0
// is one, whatever draws the weights; of X'G only the entries of weights that are allowed. What an
// engine's multipliers run away to is such a ray but for the engine's precision: the rest is taken
// out, and what is left must be zero as far as plain arithmetic can tell, on features of like
// length.
#include <cmath>
#include <limits>

#include "layer/search.hpp"
#include "linalg/factor.hpp"

namespace nettrim::layer {
namespace {

using Vector = Eigen::VectorXd;

constexpr double kPromising = 1e4;   // signals of an output's weights over its target
constexpr int kMostProjections = 8;  // each with fewer of the inactive samples
// Least value of a ray over the sizes of what it is the difference of.
constexpr double kSignificant = 1e-9;
// Bound on rounding over that of sums of the same length: the projection's own.
constexpr double kProjectionRounding = 8;

// Samples where the multipliers of an output may be changed, and their features.
struct RaySupport {
  std::vector<Index> samples;
  Matrix<double> X;  // samples x features
};

template <class S>
RaySupport support_of(const UnitProgram<S>& p, Index output, const Vector& g) {
  RaySupport support;
  p.with_entries([&](auto entry) {
    for (Index i = 0; i < p.n_samples(); ++i) {
      const bool free = p.constrained() && entry(i * p.n_outputs() + output).active;
      if (free || g[i] < 0) support.samples.push_back(i);
    }
  });
  support.X.resize(static_cast<Index>(support.samples.size()), p.n_features());
  const Vector scales = p.costs_of(output).unaryExpr(
      [&](double cost) { return std::isinf(cost) ? 0.0 : static_cast<double>(p.x_scale); });
  for (Index k = 0; k < support.X.rows(); ++k) {
    support.X.row(k) =
        p.X({support.samples[static_cast<std::size_t>(k)], 1}).template cast<double>().transpose() *
        scales.asDiagonal();
  }
  return support;
}

// Signs that come out wrong leave the support, until none does.
template <class S>
Vector projected(const UnitProgram<S>& p, Index output, Vector g) {
  for (int time = 0; time < kMostProjections; ++time) {
    const RaySupport support = support_of(p, output, g);
    const Vector part = orthogonal_part(support.X, g(support.samples));
    bool right = true;
    g.setZero();
    p.with_entries([&](auto entry) {
      for (std::size_t k = 0; k < support.samples.size(); ++k) {
        const Index i = support.samples[k];
        g[i] = part[static_cast<Index>(k)];
        if (g[i] <= 0 || entry(i * p.n_outputs() + output).active) continue;
        g[i] = 0;
        right = false;
      }
    });
    if (right) return g;
  }
  return Vector::Zero(g.size());
}

// Value of a candidate, less what rounding may have added.
template <class S>
double value_of(const UnitProgram<S>& p, const Evidence& e) {
  const double away = p.constrained() ? p.level * std::sqrt(e.square.sum()) : 0;
  return e.linear.sum() - away - kSignificant * (e.linear_size.sum() + away);
}

template <class S>
bool is_ray(const UnitProgram<S>& p, const Evidence& e) {
  if (!p.constrained() && e.square.sum() > 0) return false;
  if (!(value_of(p, e) > 0)) return false;
  const double rounding = kProjectionRounding * rounding_of_sums(p);
  const Matrix<double> gradient = p.allowed(e.gradient);
  for (Index m = 0; m < p.n_outputs(); ++m) {
    const Vector most = p.lengths * (rounding * std::sqrt(e.size[m]));
    if ((gradient.row(m).cwiseAbs().transpose().array() > most.array()).any()) return false;
  }
  return true;
}

// The active multipliers of a penalised program are no part of a ray.
template <class S>
Matrix<double> as_ray(const UnitProgram<S>& p, const Matrix<S>& dual) {
  Matrix<double> ray = dual.template cast<double>();
  if (p.constrained()) return ray;
  p.with_entries([&](auto entry) {
    for (Index i = 0; i < ray.size(); ++i) {
      if (entry(i).active) ray.data()[i] = 0;
    }
  });
  return ray;
}

}  // namespace

// By the output that runs furthest: the values of many outputs are large together without a ray.
template <class S>
bool promises_ray(const UnitProgram<S>& p, const Matrix<S>& dual) {
  const Evidence e = p.constrained() ? evidence_of(p, dual) : evidence_of(p, as_ray(p, dual));
  const double steepest = p.allowed(e.gradient).cwiseAbs().maxCoeff();
  const double norm = std::sqrt(e.square.sum());
  const double level = p.constrained() && norm > 0 ? p.level / norm : 0;
  const double most = (e.linear - level * e.square).maxCoeff();  // of an output's part of the value
  return value_of(p, e) > 0 && most > kPromising * std::max(p.largest, 1.0) * steepest;
}

template <class S>
bool prove_infeasible(const UnitProgram<S>& p, const Matrix<S>& dual, EngineResult<S>& a) {
  Matrix<double> ray = as_ray(p, dual);
  const double size = ray.cwiseAbs().maxCoeff();
  if (!(size > 0) || !std::isfinite(size)) return false;
  ray /= size;
  parallel_for_uneven(p.n_outputs(), p.threads, [&](Index m, int) {
    const Vector g = ray.row(m).transpose();
    if (!g.isZero(0)) ray.row(m) = projected(p, m, g).transpose();
  });
  const Evidence e = evidence_of(p, ray);
  if (!is_ray(p, e)) return false;
  a.dual = ray.template cast<S>();
  a.slopes.resize(0);
  a.certificate = certify(p, a.weights, a.dual);
  return true;
}

#define NETTRIM_FOR(S)                                                 \
  template bool promises_ray(const UnitProgram<S>&, const Matrix<S>&); \
  template bool prove_infeasible(const UnitProgram<S>&, const Matrix<S>&, EngineResult<S>&);
NETTRIM_FOR(float)
NETTRIM_FOR(double)
#undef NETTRIM_FOR

}  // namespace nettrim::layer
