#include "layer/group_certificate.hpp"

#include <cmath>
#include <limits>
#include <numeric>

#include "linalg/cholesky.hpp"

namespace nettrim::layer {
namespace {

using Vector = Eigen::VectorXd;

// Size of an inactive multiplier, over that of all of its output, that may change; and the most
// that the rest of the equations may change.
constexpr double kFirmly = 1e-6;
constexpr double kBeyondScales = 1e300;
// Multipliers that meet the equations may have the wrong sign: they become zero, and the others
// meet them again, so often at most.
constexpr Index kMostRounds = 5;

// Over the samples where the multipliers of each output may change.
struct FreeSamples {
  Matrix<double> grams;  // outputs x features^2: products of the free features
  Matrix<double> used;   // outputs x features: their sizes where there are multipliers
  Vector targets;        // of each output, squared norm of the target

  // The free features that are not zero there throughout, by their place among all, and their
  // products. What is zero wherever there are multipliers has no equation to be met.
  std::vector<Index> live(Index output) const {
    const Index n = count();
    std::vector<Index> places;
    for (Index k = 0; k < n; ++k) {
      if (used(output, k) > 0) places.push_back(k);
    }
    return places;
  }
  Matrix<double> gram(Index output, const std::vector<Index>& places) const {
    const Index n = count();
    const Vector products = grams.row(output);
    return Eigen::Map<const Matrix<double>>(products.data(), n, n)(places, places);
  }
  Index count() const { return used.cols(); }
};

std::vector<Index> all_outputs(Index count) {
  std::vector<Index> outputs(static_cast<std::size_t>(count));
  std::iota(outputs.begin(), outputs.end(), Index{0});
  return outputs;
}

template <class S>
Vector sizes_of(const Matrix<S>& dual, const std::vector<Index>& outputs) {
  Vector squares = Vector::Zero(static_cast<Index>(outputs.size()));
  for (Index i = 0; i < dual.cols(); ++i) {
    squares += dual.col(i)(outputs).template cast<double>().cwiseAbs2();
  }
  return squares.cwiseSqrt();
}

// Of each of some outputs: 1 where its multiplier may change, 1 where there is one, and the target.
struct Sample {
  const Vector &share, &used, &targets;
};

// visit(i, values of the free features, sample i)
template <class S, class Visit>
void for_changeable(const UnitProgram<S>& p, const Matrix<S>& dual,
                    const std::vector<Index>& outputs, const Vector& sizes, Visit&& visit) {
  const auto& free = p.groups->free();
  const auto count = static_cast<Index>(outputs.size());
  Vector x(static_cast<Index>(free.size())), share(count), used(count), targets(count);
  p.with_entries([&](auto entry) {
    for (Index i = 0; i < p.n_samples(); ++i) {
      const S* const features = p.given.X + i * p.n_features();
      for (Index k = 0; k < x.size(); ++k) {
        x[k] = static_cast<double>(features[free[static_cast<std::size_t>(k)]]) *
               static_cast<double>(p.x_scale);
      }
      for (Index k = 0; k < count; ++k) {
        const Index m = outputs[static_cast<std::size_t>(k)];
        const auto e = entry(i * p.n_outputs() + m);
        const bool firm = static_cast<double>(dual(m, i)) < -kFirmly * sizes[k];
        share[k] = e.active || firm ? 1.0 : 0.0;
        used[k] = dual(m, i) != 0 ? 1.0 : 0.0;
        targets[k] = static_cast<double>(e.target);
      }
      visit(i, x, Sample{share, used, targets});
    }
  });
}

template <class S>
FreeSamples free_samples(const UnitProgram<S>& p, const Matrix<S>& dual,
                         const std::vector<Index>& outputs, const Vector& sizes) {
  const auto n = static_cast<Index>(p.groups->free().size());
  FreeSamples all{Matrix<double>::Zero(sizes.size(), n * n), Matrix<double>::Zero(sizes.size(), n),
                  Vector::Zero(sizes.size())};
  for_changeable(p, dual, outputs, sizes, [&](Index, const Vector& x, const Sample& sample) {
    for (Index k = 0; k < n; ++k) {
      if (x[k] == 0) continue;
      all.used.col(k) += std::abs(x[k]) * sample.used;
      for (Index l = 0; l < n; ++l) {
        all.grams.col(k * n + l) += x[k] * x[l] * sample.share;
      }
    }
    all.targets += sample.share.cwiseProduct(sample.targets.cwiseAbs2());
  });
  return all;
}

// ||h|| of every output, beyond which there is none where it is infinite.
template <class S>
Vector distances_to_exact(const UnitProgram<S>& p, const Evidence& evidence, const Vector& sizes,
                          const FreeSamples& samples) {
  const double rounding = rounding_of_sums(p);
  const auto& free = p.groups->free();
  Vector away = Vector::Zero(p.n_outputs());
  for (Index m = 0; m < p.n_outputs(); ++m) {
    if (sizes[m] == 0) continue;
    const auto live = samples.live(m);
    if (live.empty()) continue;
    const Vector excess = evidence.gradient.row(m).cwiseAbs().transpose()(free) +
                          rounding * sizes[m] * p.lengths(free);
    const double least = least_singular_value(samples.gram(m, live), p.n_samples());
    away[m] = least > 0 ? excess(live).norm() / least : kInfinity;
    if (!(away[m] <= kFirmly * sizes[m])) away[m] = kInfinity;
  }
  return away;
}

// The largest ||X_g'(G - H)|| over the price of g, of the outputs that count.
template <class S>
double steepest_group(const UnitProgram<S>& p, const Evidence& evidence, const Vector& sizes,
                      const Vector& counts, double away) {
  const double rounding = rounding_of_sums(p);
  double steepest = 0;
  for (Index g = 0; g < p.groups->count(); ++g) {
    double square = 0, length = 0;
    for (const Index j : p.groups->features(g)) {
      const Vector slope = evidence.gradient.col(j).cwiseAbs() + rounding * p.lengths[j] * sizes;
      square += slope.cwiseProduct(counts).squaredNorm();
      length += p.lengths[j] * p.lengths[j];
    }
    const double norm = (1 + 2 * rounding) * std::sqrt(square) + std::sqrt(length) * away;
    steepest = std::max(steepest, norm / p.groups->price(g));
  }
  return steepest;
}

// Inactive multipliers too close to zero to be changed become zero.
template <class S>
void drop_faint(const UnitProgram<S>& p, Matrix<S>& dual) {
  const Vector sizes = sizes_of(dual, all_outputs(p.n_outputs()));
  p.with_entries([&](auto entry) {
    for (Index i = 0; i < p.n_samples(); ++i) {
      for (Index m = 0; m < p.n_outputs(); ++m) {
        const bool firm = static_cast<double>(dual(m, i)) < -kFirmly * sizes[m];
        if (!firm && !entry(i * p.n_outputs() + m).active) dual(m, i) = 0;
      }
    }
  });
}

// How to move the multipliers of some outputs so that these meet their equations, outputs x free
// features; NaN where that leads nowhere.
template <class S>
Matrix<double> moves_to_meet(const UnitProgram<S>& p, const Matrix<S>& dual,
                             const std::vector<Index>& outputs, const Vector& sizes) {
  const FreeSamples samples = free_samples(p, dual, outputs, sizes);
  Matrix<double> excess = Matrix<double>::Zero(sizes.size(), samples.count());
  for_changeable(p, dual, outputs, sizes, [&](Index i, const Vector& x, const Sample&) {
    excess += dual.col(i)(outputs).template cast<double>() * x.transpose();
  });
  Matrix<double> moves = Matrix<double>::Zero(excess.rows(), excess.cols());
  for (Index k = 0; k < excess.rows(); ++k) {
    const auto live = samples.live(k);
    Matrix<double> gram = samples.gram(k, live);
    const Vector slope = excess.row(k).transpose();
    if (cholesky(gram)) {
      moves.row(k)(live) = solve_factored(gram, slope(live));
    } else {
      moves.row(k).setConstant(std::numeric_limits<double>::quiet_NaN());
    }
  }
  return moves;
}

// Which outputs had multipliers that became zero, and have to meet their equations again.
template <class S>
std::vector<Index> meet(const UnitProgram<S>& p, Matrix<S>& dual,
                        const std::vector<Index>& outputs) {
  const Vector sizes = sizes_of(dual, outputs);
  const Matrix<double> moves = moves_to_meet(p, dual, outputs, sizes);
  std::vector<bool> is_cut(outputs.size());
  p.with_entries([&](auto entry) {
    for_changeable(p, dual, outputs, sizes, [&](Index i, const Vector& x, const Sample& sample) {
      const Vector change = (moves * x).cwiseProduct(sample.share);
      for (std::size_t k = 0; k < outputs.size(); ++k) {
        S& multiplier = dual(outputs[k], i);
        multiplier -= static_cast<S>(change[static_cast<Index>(k)]);
        if (!(multiplier > 0) || entry(i * p.n_outputs() + outputs[k]).active) continue;
        multiplier = 0;
        is_cut[k] = true;
      }
    });
  });
  std::vector<Index> again;
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    if (!moves.row(static_cast<Index>(k)).allFinite()) {
      dual.row(outputs[k]).setZero();
    } else if (is_cut[k]) {
      again.push_back(outputs[k]);
    }
  }
  return again;
}

}  // namespace

template <class S>
DualSums sums_of_groups(const UnitProgram<S>& p, const Evidence& evidence, const Matrix<S>& dual) {
  const double rounding = rounding_of_sums(p);
  const Vector sizes = (1 + 2 * rounding) * evidence.size.cwiseSqrt();
  DualSums sums{evidence.linear - rounding * evidence.linear_size,
                (1 + 2 * rounding) * evidence.square,
                Vector(p.n_outputs()),
                {}};
  Vector away = Vector::Zero(p.n_outputs()), counts = Vector::Ones(p.n_outputs());
  if (!p.groups->free().empty()) {
    const FreeSamples samples = free_samples(p, dual, all_outputs(p.n_outputs()), sizes);
    away = distances_to_exact(p, evidence, sizes, samples);
    counts = away.unaryExpr([](double h) { return h < kInfinity ? 1.0 : 0.0; });
    away = away.unaryExpr([](double h) { return h < kInfinity ? h : 0.0; });
    const double radius = p.constrained() ? p.level : 0;
    sums.linear.array() -= away.array() * (samples.targets.array().sqrt() + radius);
    if (!p.constrained()) sums.square = (sums.square.cwiseSqrt() + away).cwiseAbs2();
  }
  const double steepest = steepest_group(p, evidence, sizes, counts, away.norm());
  sums.steepest = counts.unaryExpr([=](double c) { return c > 0 ? steepest : kBeyondScales; });
  return sums;
}

template <class S>
void meet_free_features(const UnitProgram<S>& p, Matrix<S>& dual) {
  if (p.groups->free().empty()) return;
  drop_faint(p, dual);
  auto outputs = all_outputs(p.n_outputs());
  for (Index round = 0; round < kMostRounds && !outputs.empty(); ++round) {
    outputs = meet(p, dual, outputs);
  }
}

#define NETTRIM_FOR(S)                                                                        \
  template DualSums sums_of_groups(const UnitProgram<S>&, const Evidence&, const Matrix<S>&); \
  template void meet_free_features(const UnitProgram<S>&, Matrix<S>&);
NETTRIM_FOR(float)
NETTRIM_FOR(double)
#undef NETTRIM_FOR

}  // namespace nettrim::layer
