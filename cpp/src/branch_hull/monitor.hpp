// What a search asks after a certificate: is that enough, and may it go on?
#pragma once

#include <chrono>
#include <optional>

#include "nettrim/branch_hull.hpp"

namespace nettrim::branch_hull {

class Monitor {
 public:
  explicit Monitor(const BranchHullOptions& options) : options_(options) {}

  double seconds() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }
  bool is_late() const { return seconds() > options_.time_limit; }
  bool interrupted() const { return options_.interrupted && options_.interrupted(); }

  // The status that ends the search, if any.
  std::optional<Status> verdict(Index iteration, double objective, double dual_bound,
                                double gap) const {
    if (gap <= options_.tol) return Status::optimal;
    if (interrupted()) return Status::interrupted;
    if (options_.callback && options_.callback({iteration, objective, dual_bound, gap, seconds()}))
      return Status::interrupted;
    if (is_late()) return Status::time_limit;
    return std::nullopt;
  }

 private:
  using Clock = std::chrono::steady_clock;
  const BranchHullOptions& options_;
  Clock::time_point began_ = Clock::now();
};

}  // namespace nettrim::branch_hull
