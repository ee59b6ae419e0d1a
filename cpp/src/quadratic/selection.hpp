// Which entries of a matrix stay when only so many may.
#pragma once

#include <cstdint>
#include <vector>

#include "nettrim/budget.hpp"

namespace nettrim::quadratic {

using Mask = Matrix<std::uint8_t>;  // 1 where a weight stays

class Selection {
 public:
  Selection(const BudgetPattern& pattern, Index features, Index budget, int threads);

  // Marks, of outputs x features, the largest entries within groups and budget; and all of features
  // to be kept.
  void mark(const Matrix<float>& values, Mask& kept) const;

 private:
  void mark_groups(const Matrix<float>& values, Mask& kept) const;
  void keep_largest(const Matrix<float>& values, Mask& kept) const;

  BudgetPattern pattern_;
  Index budget_;
  int threads_;
  std::vector<Index> free_;  // features whose weights may go
};

// In how many entries two masks differ.
Index count_differences(const Mask& a, const Mask& b, int threads);

}  // namespace nettrim::quadratic
