// How alternating directions keep their pace: relaxation, and the weight rho of their copies.
#pragma once

#include <algorithm>
#include <cmath>

#include "nettrim/types.hpp"

namespace nettrim::branch_hull {

constexpr double kRelaxation = 1.6;

// What to multiply rho by; 1 where that is not worth it. Copies are to come together as fast as the
// signals come to rest: `apart` is their squared distance relative to the signals, `moving` the
// squared last step relative to the multipliers.
inline double balancing_factor(double apart, double moving) {
  constexpr double kBoldest = 5, kWorthwhile = 1.5;
  if (!(apart > 0 && moving > 0)) return 1;
  const double factor = std::clamp(std::pow(apart / moving, 0.25), 1 / kBoldest, kBoldest);
  return factor < kWorthwhile && factor > 1 / kWorthwhile ? 1 : factor;
}

// Due after `first` steps, and then ever more rarely.
class BackoffCounter {
 public:
  explicit BackoffCounter(Index first) : wait_(first), left_(first) {}
  bool due() {
    if (--left_ > 0) return false;
    left_ = wait_ += wait_ / 4;
    return true;
  }

 private:
  Index wait_, left_;
};

}  // namespace nettrim::branch_hull
