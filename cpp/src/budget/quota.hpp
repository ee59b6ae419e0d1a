// Which weights of an output may go, where of every group of them only so many are to stay.
#pragma once

#include <vector>

#include "nettrim/budget.hpp"

namespace nettrim::budget {

class Quota {
 public:
  Quota(const BudgetPattern& pattern, Index features)
      : group_of_(static_cast<std::size_t>(features), kKept), limited_(pattern.group > 0) {
    Index count = 0;
    for (Index i = 0; i < features; ++i) {
      if (pattern.keep && pattern.keep[i]) continue;
      const Index group = limited_ ? count / pattern.group : 0;
      group_of_[static_cast<std::size_t>(i)] = group;
      room_.resize(static_cast<std::size_t>(group) + 1, -pattern.most);
      ++room_.back();
      ++count;
    }
  }

  bool may_go(Index feature) const {
    const Index group = group_of_[static_cast<std::size_t>(feature)];
    return group != kKept && (!limited_ || room_[static_cast<std::size_t>(group)] > 0);
  }

  void remove(Index feature) {
    --room_[static_cast<std::size_t>(group_of_[static_cast<std::size_t>(feature)])];
  }

  // When no group has more weights than are to stay: returns whether others may go now.
  bool lift() {
    const bool lifted = limited_;
    limited_ = false;
    return lifted;
  }

 private:
  static constexpr Index kKept = -1;

  std::vector<Index> group_of_;
  std::vector<Index> room_;  // weights of each group that still have to go
  bool limited_;
};

}  // namespace nettrim::budget
