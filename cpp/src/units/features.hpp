// The features of a form, those of a unit side by side.
#pragma once

#include <vector>

#include "linalg/parallel.hpp"
#include "nettrim/units.hpp"

namespace nettrim::units {

class UnitFeatures {
 public:
  UnitFeatures(const UnitsForm& form, Index units);

  // All features: those of the first unit, of the second, and so on; those of none at the end.
  const std::vector<Index>& order() const { return order_; }
  // Places of a unit's features in that order.
  Range of(Index unit) const { return ranges_[static_cast<std::size_t>(unit)]; }
  Range of_none() const { return of_none_; }
  Index most() const { return most_; }  // features of one unit

 private:
  std::vector<Index> order_;
  std::vector<Range> ranges_;
  Range of_none_{0, 0};
  Index most_ = 0;
};

// In the order of the features' places.
Matrix<double> gram_of(const UnitsForm& form, const std::vector<Index>& order);
Matrix<double> correlations_of(const UnitsForm& form, const std::vector<Index>& order);

// What a group's weights U are worth: half of tr(U' P^-1 U), where squares = U U' and P, the block
// of an inverse or a Gram matrix. Both are spoilt; lower triangles are enough.
double half_of_trace(Matrix<double>& P, Matrix<double>& squares);

}  // namespace nettrim::units
