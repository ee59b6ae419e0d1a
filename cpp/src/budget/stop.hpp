// Whether the caller has stopped a call, known to all of its threads.
#pragma once

#include <atomic>

#include "nettrim/budget.hpp"

namespace nettrim::budget {

class Stop {
 public:
  explicit Stop(const BudgetOptions& options) : options_(options) {}

  // The first thread asks; what it was told stays.
  bool ask(int thread) {
    if (thread == 0 && options_.interrupted && options_.interrupted()) stopped_ = true;
    return stopped_;
  }
  bool told() const { return stopped_; }

 private:
  const BudgetOptions& options_;
  std::atomic<bool> stopped_ = false;
};

}  // namespace nettrim::budget
