#include "layer/repair.hpp"

#include <cmath>
#include <limits>

#include "linalg/cholesky.hpp"
#include "linalg/factor.hpp"

namespace nettrim::layer {
namespace {

using Vector = Eigen::VectorXd;

// Excess over a cost, or room below it, over the bound on its rounding, up to which a candidate is
// repaired.
constexpr double kSmallExcess = 500;
// What shrinking may lose, so that the candidate itself proves the bound wherever that is enough.
constexpr double kLostUnrepaired = 1e-7;
// Size of an inactive multiplier, over that of all of its output, that may be repaired; and the
// most that a repair changes.
constexpr double kFirm = 1e-6;

// Constraints of one output that its candidate violates, or that its repair may: |x_j'g| <= limit
// cost_j, exceeded by so much at most. Those of features whose cost is far above the rounding are
// left to shrinking.
struct Excesses {
  std::vector<Index> features;
  Vector sizes;
};

template <class S>
Excesses small_excesses(const UnitProgram<S>& p, const Vector& costs, const Vector& steepness,
                        const Vector& sizes, double limit) {
  Excesses found;
  const double most = kSmallExcess * rounding_of_sums(p);
  for (Index j = 0; j < sizes.size(); ++j) {
    const double excess = steepness[j] - limit * costs[j];
    const bool is_cheap = most * sizes[j] > kLostUnrepaired * limit * costs[j];
    if (is_cheap && std::abs(excess) < most * sizes[j]) found.features.push_back(j);
  }
  found.sizes = (steepness(found.features) - limit * costs(found.features)).cwiseMax(0.0);
  return found;
}

// visit(i, values of some features, target) for the samples of an output where a repair may change
// the multipliers.
template <class S, class Visit>
void for_free_samples(const UnitProgram<S>& p, Index output, const Matrix<S>& dual, double firm,
                      const std::vector<Index>& features, Visit&& visit) {
  Vector x(static_cast<Index>(features.size()));
  p.with_entries([&](auto entry) {
    for (Index i = 0; i < p.n_samples(); ++i) {
      const auto e = entry(i * p.n_outputs() + output);
      if (!e.active && !(static_cast<double>(dual(output, i)) < -firm)) continue;
      for (std::size_t k = 0; k < features.size(); ++k) {
        x[static_cast<Index>(k)] = static_cast<double>(p.x_scale) * p.X(i, features[k]);
      }
      visit(i, x, static_cast<double>(e.target));
    }
  });
}

// Over those samples: products of the features, and the norm of the target.
struct FreePart {
  Matrix<double> gram;
  double target = 0;
};

template <class S>
FreePart free_part(const UnitProgram<S>& p, Index output, const Matrix<S>& dual, double firm,
                   const std::vector<Index>& features) {
  const auto size = static_cast<Index>(features.size());
  Matrix<double> gram = Matrix<double>::Zero(size, size);
  double square = 0;
  for_free_samples(p, output, dual, firm, features, [&](Index, const Vector& x, double target) {
    square += target * target;
    add_gram(x, gram);
  });
  return {std::move(gram), std::sqrt(square)};
}

// Of output m, whose constraints are violated. Kept where it loses less than to shrink.
template <class S>
void repair(const UnitProgram<S>& p, Index m, const Matrix<S>& dual, double firm,
            const Vector& sizes, Vector steepness, double limit, DualSums& sums) {
  const Vector costs = p.costs_of(m);
  Excesses excess = small_excesses(p, costs, steepness, sizes, limit);
  if (excess.features.empty()) return;
  Vector rest = steepness;
  rest(excess.features) = limit * costs(excess.features);
  if (rest.cwiseQuotient(costs).maxCoeff() >= sums.steepest[m]) return;  // nothing to be gained
  const FreePart part = free_part(p, m, dual, firm, excess.features);
  const double away =
      excess.sizes.norm() / least_singular_value(part.gram, p.n_samples());  // ||h||
  if (!(away <= firm)) return;
  const double norm = std::sqrt(sums.square[m]) + away;
  const double lost = away * (part.target + (p.constrained() ? p.level : 0));
  steepness += p.lengths * away;
  steepness(excess.features) = limit * costs(excess.features);
  const double left = std::max(limit, steepness.cwiseQuotient(costs).maxCoeff());
  if ((sums.linear[m] - lost) / left <= sums.linear[m] / sums.steepest[m]) return;
  sums.linear[m] -= lost;
  if (!p.constrained()) sums.square[m] = norm * norm;
  sums.steepest[m] = left;
  sums.repairs.push_back({m, std::move(excess.features)});
}

// Moves the multipliers of a repaired output by -h, and a little further: between their products
// and the costs it leaves room for the rounding of the result, and of the sums that will judge it.
template <class S>
void write(const UnitProgram<S>& p, const Repair& repair, const Evidence& evidence,
           Matrix<S>& dual) {
  const auto& features = repair.features;
  const double size = std::sqrt(evidence.size[repair.output]);
  const double limit = p.constrained() ? 1 : p.level;
  const double rounding = rounding_of_sums(p) + std::numeric_limits<S>::epsilon();
  const Vector slope = evidence.gradient.row(repair.output).transpose()(features);
  const Vector costs = p.costs_of(repair.output)(features);
  const Vector most = (limit * costs - rounding * size * p.lengths(features)).cwiseMax(0.0);
  const Vector excess = slope - slope.cwiseMin(most).cwiseMax(-most);
  FreePart part = free_part(p, repair.output, dual, kFirm * size, features);
  cholesky(part.gram);
  const Vector weights = solve_factored(part.gram, excess);
  for_free_samples(p, repair.output, dual, kFirm * size, features,
                   [&](Index i, const Vector& x, double) {
                     dual(repair.output, i) -= static_cast<S>(x.dot(weights));
                   });
}

}  // namespace

double least_singular_value(const Matrix<double>& gram, Index n) {
  const double rounding =
      static_cast<double>(n * gram.rows()) * std::numeric_limits<double>::epsilon() * gram.trace();
  return std::sqrt(std::max(least_eigenvalue(gram) - rounding, 0.0));
}

template <class S>
DualSums repaired(const UnitProgram<S>& p, const Evidence& evidence, const Matrix<S>& dual) {
  const double rounding = rounding_of_sums(p), limit = p.constrained() ? 1 : p.level;
  DualSums sums{evidence.linear - rounding * evidence.linear_size,
                (1 + 2 * rounding) * evidence.square,
                Vector(p.n_outputs()),
                {}};
  for (Index m = 0; m < p.n_outputs(); ++m) {
    const double size = std::sqrt(evidence.size[m]);
    const Vector sizes = p.lengths * size;
    const Vector steepness = evidence.gradient.row(m).cwiseAbs().transpose() + rounding * sizes;
    sums.steepest[m] = steepness.cwiseQuotient(p.costs_of(m)).maxCoeff();
    if (p.even && sums.steepest[m] > (1 + kLostUnrepaired) * limit) {
      repair(p, m, dual, kFirm * size, sizes, steepness, limit, sums);
    }
  }
  return sums;
}

template <class S>
bool write_repairs(const UnitProgram<S>& p, const Matrix<S>& weights, const Vector& slopes,
                   Matrix<S>& dual) {
  const Evidence evidence =
      p.regularisation ? evidence_of(p, weights, dual, slopes) : evidence_of(p, dual);
  const std::vector<Repair> repairs = repaired(p, evidence, dual).repairs;
  for (const Repair& repair : repairs) write(p, repair, evidence, dual);
  if (!repairs.empty()) cut_to_valid_signs(p, dual);
  return !repairs.empty();
}

template DualSums repaired(const UnitProgram<float>&, const Evidence&, const Matrix<float>&);
template DualSums repaired(const UnitProgram<double>&, const Evidence&, const Matrix<double>&);
template bool write_repairs(const UnitProgram<float>&, const Matrix<float>&, const Vector&,
                            Matrix<float>&);
template bool write_repairs(const UnitProgram<double>&, const Matrix<double>&, const Vector&,
                            Matrix<double>&);

}  // namespace nettrim::layer
