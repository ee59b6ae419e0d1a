#include <algorithm>
#include <cmath>

#include "layer/newton/column.hpp"
#include "linalg/product.hpp"

namespace nettrim::layer {
namespace {

// Events of a path, per element in use, before it is given up.
constexpr Index kMostEvents = 20, kFewestEvents = 50;
// How far a path begins from where elements change, relative to lambda and to the longest
// signal: otherwise those of a degenerate start would change one after the other without end.
constexpr double kApart = 0.01;

}  // namespace

// From a program that the reference solves to the one at hand, on a straight line between the data
// in which they differ: lambda, and shifts of the gradients and slacks that are wrong at the
// reference. Everything is linear on the way until an element changes; the way goes on with the
// other guess (parametric active sets: Best, 1996; Ferreau, Bock and Diehl, 2008).
void Column::follow_path(double lambda, ColumnWorkspace& work) {
  const double start = measured_ ? lambda_ : lambda, lambda_change = lambda - start;
  begin_path(start, work);
  const Index most = kFewestEvents + kMostEvents * (support_size_ + tight_size_);
  double left = 1;  // of the way
  Index last = -1;
  for (Index event = 0; event < most; ++event) {
    if (!synchronise(work)) return;
    find_direction(lambda_change, work);
    const auto [part, element] =
        next_event(lambda - left * lambda_change, lambda_change, left, last, work);
    left -= part;
    step_ += part * work.path.weights;
    candidate_ += part * work.path.multipliers;
    gradient_ += part * work.path.gradients;
    slack_ += part * work.path.slacks;
    if (element < 0) return;
    exchange(element);
    last = element;
  }
}

void Column::begin_path(double lambda, ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size()), m = static_cast<Index>(rows_.size());
  step_ = Vector::Zero(n);
  candidate_ = multiplier_center_;
  gradient_ = full_gradient_there_;
  slack_ = slack_there_;
  work.path.gradient_shift.resize(n);
  work.path.slack_shift.resize(m);
  const auto apart = [](Index k) {  // differs from one element to the next
    const double golden = 0.6180339887498949 * static_cast<double>(k + 1);
    return kApart * (0.1 + golden - std::floor(golden));
  };
  for (Index i = 0; i < n; ++i) {
    const int sign = (reference_[i] > 0) - (reference_[i] < 0);
    const double most = due(i, lambda) * (1 - apart(i));
    guess_.sign[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(sign);
    work.path.gradient_shift[i] =
        (sign != 0 ? -sign * due(i, lambda) : std::clamp(gradient_[i], -most, most)) - gradient_[i];
  }
  for (Index k = 0; k < m; ++k) {
    const bool tight = candidate_[k] > 0;
    guess_.tight[static_cast<std::size_t>(k)] = tight;
    work.path.slack_shift[k] = tight ? -slack_[k] : std::min(0.0, -apart(k) - slack_[k]);
  }
  gradient_ += work.path.gradient_shift;
  slack_ += work.path.slack_shift;
}

// Of weights, multipliers, gradients and slacks, for the whole way.
void Column::find_direction(double lambda_change, ColumnWorkspace& work) {
  respond(work.path.gradient_shift - lambda_change * signed_costs(), work.path.slack_shift,
          work.path.weights, work.path.multipliers, work);
  work.path.gradients =
      gram_ * work.path.weights + proximal_weight_ * work.path.weights - work.path.gradient_shift;
  work.path.slacks = -work.path.slack_shift;
  if (!rows_.empty()) {
    add_product(work.values, work.path.multipliers, work.path.gradients);
    add_product(work.values.transpose(), work.path.weights, work.path.slacks);
  }
}

// The part of the way up to the next change, and the element that changes; -1 at the end.
std::pair<double, Index> Column::next_event(double lambda, double lambda_change, double left,
                                            Index last, const ColumnWorkspace& work) const {
  const auto n = static_cast<Index>(features_.size()), m = static_cast<Index>(rows_.size());
  double nearest = left;
  Index element = -1;
  const auto consider = [&](double room, double speed, Index e) {  // at which the room shrinks
    if (speed * nearest > room) {
      nearest = std::max(room, 0.0) / speed;
      element = e;
    }
  };
  // What has just changed does not change back, but a weight may go on to the other sign.
  for (Index i = 0; i < n; ++i) {
    const double sign = guess_.sign[static_cast<std::size_t>(i)];
    const double gradient = gradient_[i], speed = work.path.gradients[i];
    const double most = due(i, lambda), growth = due(i, lambda_change);
    if (sign == 0) {
      if (i != last || gradient < 0) consider(most - gradient, speed - growth, i);
      if (i != last || gradient > 0) consider(most + gradient, -speed - growth, i);
    } else if (i != last) {
      consider(sign * (reference_[i] + step_[i]), -sign * work.path.weights[i], i);
    }
  }
  for (Index k = 0; k < m; ++k) {
    if (n + k == last) continue;
    if (guess_.tight[static_cast<std::size_t>(k)] != 0) {
      consider(candidate_[k], -work.path.multipliers[k], n + k);
    } else {
      consider(-slack_[k] - multiplier_center_[k] / rho_, work.path.slacks[k], n + k);
    }
  }
  return {nearest, element};
}

}  // namespace nettrim::layer
