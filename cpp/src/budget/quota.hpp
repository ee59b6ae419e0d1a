// Which weights of an output may still go, by a pattern of N in every M.
#pragma once

#include <vector>

#include "nettrim/budget.hpp"

namespace nettrim::budget {

class Quota {
 public:
  Quota(const BudgetPattern& pattern, Index features)
      : group_of_(static_cast<std::size_t>(features), kNone) {
    Index n = 0;  // features so far that may go
    for (Index i = 0; i < features; ++i) {
      if (pattern.keep && pattern.keep[i]) continue;
      group_of_[static_cast<std::size_t>(i)] = pattern.group > 0 ? n / pattern.group : 0;
      ++n;
    }
    const Index groups = pattern.group > 0 ? (n + pattern.group - 1) / pattern.group : 1;
    room_.assign(static_cast<std::size_t>(groups), n);
    if (pattern.group > 0) {
      for (auto& room : room_) room = pattern.group - pattern.least;
      // The last group may be short: as many of it stay.
      if (const Index rest = n % pattern.group; rest > 0) {
        room_.back() = std::max<Index>(rest - pattern.least, 0);
      }
    }
  }

  bool may_go(Index feature) const { return room(feature) > 0; }
  void remove(Index feature) { --room_[index(feature)]; }

 private:
  static constexpr Index kNone = -1;
  std::size_t index(Index feature) const {
    return static_cast<std::size_t>(group_of_[static_cast<std::size_t>(feature)]);
  }
  Index room(Index feature) const {
    return group_of_[static_cast<std::size_t>(feature)] == kNone ? 0 : room_[index(feature)];
  }

  std::vector<Index> group_of_, room_;
};

}  // namespace nettrim::budget
