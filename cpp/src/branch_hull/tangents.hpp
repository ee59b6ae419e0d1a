// A grid of tangents in place of a hull: theta u + v / theta >= 2 sqrt(r) for theta = middle
// ratio^k, and u, v >= 0. All that such a polygon holds has u v >= r / cosh^2(log(ratio) / 2), but
// for the ends of the grid (docs/mathematics/branch_hull.md#how-programs-are-solved).
#pragma once

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include "nettrim/types.hpp"

namespace nettrim::branch_hull {

// At r = 1; polygons of other r are this one times sqrt(r).
class TangentGrid {
 public:
  // As many tangents as it takes for theta from 1e-4 to 1e4, times `middle`.
  TangentGrid(double ratio, double middle)
      : ratio_(ratio),
        middle_(middle),
        last_(static_cast<Index>(std::ceil(std::log(kSteepest) / std::log(ratio)))) {
    for (Index k = -last_; k <= last_; ++k) {
      theta_.push_back(middle * std::pow(ratio, static_cast<double>(k)));
    }
  }

  // The least theta u + v / theta over the grid, over 2; for u, v >= 0.
  double reach(double u, double v) const {
    const Index k = nearest(std::sqrt(v / u));
    double least = value(k, u, v);
    if (k > -last_) least = std::min(least, value(k - 1, u, v));
    if (k < last_) least = std::min(least, value(k + 1, u, v));
    return least;
  }

  // The least p u + q v over the polygon, for p, q >= 0.
  double support(double p, double q) const {
    const Index k = nearest(std::sqrt(p / (q * ratio_)));
    double least = std::min(2 * q * theta(last_), 2 * p / theta(-last_));  // on the axes
    for (Index j = std::max(k - 1, -last_); j <= std::min(k + 1, last_ - 1); ++j) {
      const auto [u, v] = vertex(j);
      least = std::min(least, p * u + q * v);
    }
    return least;
  }

  // Replaces (u, v) by the nearest point of the polygon.
  void project(double& u, double& v) const {
    if (u >= 0 && v >= 0 && reach(u, v) >= 1) return;
    // The first edge whose far end the point has not passed.
    Index low = -last_, high = last_;
    while (low < high) {
      const Index middle = low + (high - low) / 2;
      if (passes(middle, u, v)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    const double t = theta(low);
    const double missing = std::max(2 - t * u - v / t, 0.0) / (t * t + 1 / (t * t));
    double foot_u = u + missing * t, foot_v = v + missing / t;
    if (low > -last_) {
      const auto [near_u, near_v] = vertex(low - 1);
      if (foot_u > near_u) std::tie(foot_u, foot_v) = std::pair(near_u, near_v);
    }
    if (foot_u < 0) std::tie(foot_u, foot_v) = std::pair(0.0, std::max(v, 2 * t));
    if (foot_v < 0) std::tie(foot_u, foot_v) = std::pair(std::max(u, 2 / t), 0.0);
    u = foot_u;
    v = foot_v;
  }

 private:
  static constexpr double kSteepest = 1e4;

  double theta(Index k) const { return theta_[static_cast<std::size_t>(k + last_)]; }
  Index nearest(double theta) const {
    const double k = std::log(theta / middle_) / std::log(ratio_);
    const auto most = static_cast<double>(last_);
    return static_cast<Index>(std::lround(std::clamp(std::isnan(k) ? 0 : k, -most, most)));
  }
  double value(Index k, double u, double v) const {
    const double t = theta(k);
    return (t * u + v / t) / 2;
  }
  // Where tangents k and k + 1 meet; u falls with k.
  std::pair<double, double> vertex(Index k) const {
    const double t = theta(k);
    return {2 / (t * (1 + ratio_)), 2 * t * ratio_ / (1 + ratio_)};
  }
  // Whether the foot of (u, v) on tangent k lies beyond its vertex with the next one.
  bool passes(Index k, double u, double v) const {
    const auto [end_u, end_v] = vertex(k);
    const double t = theta(k);
    return (v - end_v) * t - (u - end_u) / t > 0;
  }

  double ratio_, middle_;
  Index last_;
  std::vector<double> theta_;
};

}  // namespace nettrim::branch_hull
