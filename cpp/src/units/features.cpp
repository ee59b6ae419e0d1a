#include "units/features.hpp"

#include <algorithm>
#include <numeric>

#include "linalg/cholesky.hpp"

namespace nettrim::units {

UnitFeatures::UnitFeatures(const UnitsForm& form, Index units)
    : order_(static_cast<std::size_t>(form.features)), ranges_(static_cast<std::size_t>(units)) {
  const auto unit_of = [&](Index i) { return form.unit_of[i] < 0 ? units : form.unit_of[i]; };
  std::iota(order_.begin(), order_.end(), Index{0});
  std::stable_sort(order_.begin(), order_.end(),
                   [&](Index a, Index b) { return unit_of(a) < unit_of(b); });
  Index place = 0;
  const auto next = [&](Index unit) {
    const Index begin = place;
    while (place < form.features && unit_of(order_[static_cast<std::size_t>(place)]) == unit) {
      ++place;
    }
    return Range{begin, place - begin};
  };
  for (Index u = 0; u < units; ++u) {
    ranges_[static_cast<std::size_t>(u)] = next(u);
    most_ = std::max(most_, of(u).size);
  }
  of_none_ = next(units);
}

Matrix<double> gram_of(const UnitsForm& form, const std::vector<Index>& order) {
  return View<double>(form.gram, form.features, form.features)(order, order);
}

Matrix<double> correlations_of(const UnitsForm& form, const std::vector<Index>& order) {
  return View<double>(form.correlations, form.outputs, form.features)(Eigen::all, order)
      .transpose();
}

double half_of_trace(Matrix<double>& P, Matrix<double>& squares) {
  if (P.size() == 1) return squares(0, 0) / (2 * P(0, 0));
  if (!cholesky(P)) return kInfinity;
  squares.triangularView<Eigen::StrictlyUpper>() = squares.transpose();
  solve_from_left(P, squares);
  solve_from_right(P, squares);
  return squares.trace() / 2;
}

}  // namespace nettrim::units
