// Whether the caller has stopped a call, known to all of its threads, or time is up.
#pragma once

#include <atomic>
#include <chrono>

#include "nettrim/budget.hpp"

namespace nettrim::budget {

class StopFlag {
 public:
  explicit StopFlag(const BudgetOptions& options) : options_(options) {}

  // The first thread asks; what it was told stays.
  bool poll(int thread) {
    if (thread == 0 && options_.interrupted && options_.interrupted()) stopped_ = true;
    return stopped_;
  }
  bool is_set() const { return stopped_; }
  bool is_late() const {
    return std::chrono::duration<double>(Clock::now() - began_).count() > options_.time_limit;
  }

 private:
  using Clock = std::chrono::steady_clock;
  const BudgetOptions& options_;
  Clock::time_point began_ = Clock::now();
  std::atomic<bool> stopped_ = false;
};

}  // namespace nettrim::budget
