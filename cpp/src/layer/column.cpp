#include "layer/column.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nettrim::layer {
namespace {

// Exchanges of one guess, and how many of them may fail to reduce the number of wrong elements.
constexpr Index kMostExchanges = 20;
constexpr Index kGrace = 3;
// Up to this share of changed rows an update of the factor is cheaper than a new one.
constexpr Index kColumnsAtOnce = 8;
constexpr double kUpdateShare = 0.15;
// The proximal terms: stiffness of the rows in units of a sample, anchor of the weights, where the
// longest feature has length 1 to 2. The anchor is above the rounding of the Gram matrix.
constexpr double kStiffness = 1e6;
template <class G>
constexpr double kAnchor = std::is_same_v<G, float> ? 1e-6 : 1e-8;
constexpr int kCenterUpdates = 3;
// Events of a walk, per element in use, before it is given up.
constexpr Index kMostEvents = 20, kFewestEvents = 50;
// How far a walk begins from where elements change, relative to the price and to the longest
// signal: otherwise those of a degenerate start would change one after the other without end.
constexpr double kApart = 0.01;

void append_zeros(Eigen::VectorXd& vector, Index count) {
  vector.conservativeResize(vector.size() + count);
  vector.tail(count).setZero();
}

}  // namespace

template <class G>
void Column<G>::add_features(const std::vector<Index>& features) {
  features_.insert(features_.end(), features.begin(), features.end());
  append_zeros(weights_, static_cast<Index>(features.size()));
  append_zeros(weight_slope_, static_cast<Index>(features.size()));
  guess_.sign.resize(features_.size(), 0);
}

template <class G>
void Column<G>::keep_features(const std::vector<Index>& places) {
  const auto known = std::lower_bound(places.begin(), places.end(), gram_.size());
  gram_.keep({places.begin(), known});
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto from = static_cast<std::size_t>(places[i]);
    features_[i] = features_[from];
    guess_.sign[i] = guess_.sign[from];
    weights_[static_cast<Index>(i)] = weights_[places[i]];
    weight_slope_[static_cast<Index>(i)] = weight_slope_[places[i]];
  }
  features_.resize(places.size());
  guess_.sign.resize(places.size());
  weights_.conservativeResize(static_cast<Index>(places.size()));
  weight_slope_.conservativeResize(static_cast<Index>(places.size()));
}

template <class G>
void Column<G>::add_rows(const std::vector<Index>& rows, const Vector& bounds) {
  rows_.insert(rows_.end(), rows.begin(), rows.end());
  bounds_.conservativeResize(static_cast<Index>(rows_.size()));
  bounds_.tail(bounds.size()) = bounds;
  append_zeros(multipliers_, bounds.size());
  append_zeros(multiplier_slope_, bounds.size());
  guess_.tight.resize(rows_.size(), 1);
}

template <class G>
void Column<G>::start(const Vector& weights, const Vector& multipliers) {
  weights_ = weights;
  multipliers_ = multipliers;
  for (std::size_t i = 0; i < features_.size(); ++i) {
    const double w = weights_[static_cast<Index>(i)];
    guess_.sign[i] = static_cast<std::int8_t>((w > 0) - (w < 0));
  }
}

template <class G>
void Column<G>::refer(const Vector& gradient, double squared_residual,
                      const ColumnWorkspace& work) {
  reference_ = weights_;
  multipliers_there_ = multipliers_;
  squared_residual_there_ = squared_residual_ = squared_residual;
  gradient_there_ = full_gradient_there_ = gradient;
  slack_there_.resize(0);
  if (!rows_.empty()) {
    gradient_there_.noalias() -= work.values * multipliers_;
    slack_there_.noalias() = work.values.transpose() * weights_;
    slack_there_ -= bounds_;
  }
  weight_center_ = weights_;
  multiplier_center_ = multipliers_;
}

template <class G>
bool Column<G>::is_right(double price, const ColumnTolerances& t) const {
  if (!measured_) return false;
  for (Index i = 0; i < weights_.size(); ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    const double gradient = full_gradient_there_[i];
    if (sign != 0 && weights_[i] == 0) return false;  // it was cut off on the way here
    const double error = sign == 0 ? std::abs(gradient) - price : std::abs(gradient + sign * price);
    if (error > t.gradient * price) return false;
  }
  for (Index k = 0; k < multipliers_.size(); ++k) {
    const double error = multipliers_[k] > 0 ? std::abs(slack_there_[k]) : slack_there_[k];
    if (error > t.row) return false;
  }
  return true;
}

template <class G>
void Column<G>::follow(double price_change, double least_weight) {
  if (!measured_) return;
  price_ += price_change;
  for (Index i = 0; i < weights_.size(); ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    weights_[i] += price_change * weight_slope_[i];
    if (sign * weights_[i] < least_weight) weights_[i] = 0;
  }
  multipliers_ = (multipliers_ + price_change * multiplier_slope_).cwiseMax(0.0);
}

// Exchanges of many at a time are quick, but may go in circles; a walk does not.
template <class G>
void Column<G>::solve(double price, const ColumnTolerances& t, ColumnWorkspace& work) {
  const Guess before = guess_;
  work.order.clear();
  bool solved = exchange_until_right(price, t, work);
  if (!solved) {
    walk(price, work);
    solved = exchange_until_right(price, t, work);
  }
  if (!solved) guess_ = before;
  price_ = price;
  for (int update = 1; update < kCenterUpdates && solved && move_centers(price, t); ++update) {
    solved = exchange_until_right(price, t, work);
  }
  measure(work);
}

// From a program that the reference solves to the one at hand, on a straight line between the data
// in which they differ: the price, and shifts of the gradients and slacks that are wrong at the
// reference. Everything is linear on the way until an element changes; the way goes on with the
// other guess (parametric active sets: Best, 1996; Ferreau, Bock and Diehl, 2008).
template <class G>
void Column<G>::walk(double price, ColumnWorkspace& work) {
  const double start = measured_ ? price_ : price, price_change = price - start;
  begin_walk(start, work);
  const Index most = kFewestEvents + kMostEvents * (support_size_ + tight_size_);
  double left = 1;  // of the way
  Index last = -1;
  for (Index event = 0; event < most; ++event) {
    if (!synchronise(work)) return;
    find_direction(price_change, work);
    const auto [part, element] =
        next_event(price - left * price_change, price_change, left, last, work);
    left -= part;
    step_ += part * work.walk.weights;
    candidate_ += part * work.walk.multipliers;
    gradient_ += part * work.walk.gradients;
    slack_ += part * work.walk.slacks;
    if (element < 0) return;
    exchange(element);
    last = element;
  }
}

template <class G>
void Column<G>::begin_walk(double price, ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size()), m = static_cast<Index>(rows_.size());
  step_ = Vector::Zero(n);
  candidate_ = multiplier_center_;
  gradient_ = full_gradient_there_;
  slack_ = slack_there_;
  work.walk.gradient_shift.resize(n);
  work.walk.slack_shift.resize(m);
  const auto apart = [](Index k) {  // differs from one element to the next
    const double golden = 0.6180339887498949 * static_cast<double>(k + 1);
    return kApart * (0.1 + golden - std::floor(golden));
  };
  for (Index i = 0; i < n; ++i) {
    const int sign = (reference_[i] > 0) - (reference_[i] < 0);
    const double most = price * (1 - apart(i));
    guess_.sign[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(sign);
    work.walk.gradient_shift[i] =
        (sign != 0 ? -sign * price : std::clamp(gradient_[i], -most, most)) - gradient_[i];
  }
  for (Index k = 0; k < m; ++k) {
    const bool tight = candidate_[k] > 0;
    guess_.tight[static_cast<std::size_t>(k)] = tight;
    work.walk.slack_shift[k] = tight ? -slack_[k] : std::min(0.0, -apart(k) - slack_[k]);
  }
  gradient_ += work.walk.gradient_shift;
  slack_ += work.walk.slack_shift;
}

// Of weights, multipliers, gradients and slacks, for the whole way.
template <class G>
void Column<G>::find_direction(double price_change, ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size());
  respond(
      [&](Index e) {
        return e >= n ? work.walk.slack_shift[e - n]
                      : work.walk.gradient_shift[e] -
                            price_change * guess_.sign[static_cast<std::size_t>(e)];
      },
      work.walk.weights, work.walk.multipliers, work);
  work.walk.gradients =
      gram_ * work.walk.weights + kAnchor<G> * work.walk.weights - work.walk.gradient_shift;
  work.walk.slacks = -work.walk.slack_shift;
  if (!rows_.empty()) {
    work.walk.gradients.noalias() += work.values * work.walk.multipliers;
    work.walk.slacks.noalias() += work.values.transpose() * work.walk.weights;
  }
}

// The part of the way up to the next change, and the element that changes; -1 at the end.
template <class G>
std::pair<double, Index> Column<G>::next_event(double price, double price_change, double left,
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
    const double gradient = gradient_[i], speed = work.walk.gradients[i];
    if (sign == 0) {
      if (i != last || gradient < 0) consider(price - gradient, speed - price_change, i);
      if (i != last || gradient > 0) consider(price + gradient, -speed - price_change, i);
    } else if (i != last) {
      consider(sign * (reference_[i] + step_[i]), -sign * work.walk.weights[i], i);
    }
  }
  for (Index k = 0; k < m; ++k) {
    if (n + k == last) continue;
    if (guess_.tight[static_cast<std::size_t>(k)] != 0) {
      consider(candidate_[k], -work.walk.multipliers[k], n + k);
    } else {
      consider(-slack_[k] - multiplier_center_[k] / kStiffness, work.walk.slacks[k], n + k);
    }
  }
  return {nearest, element};
}

// Whether they moved by more than the tolerances.
template <class G>
bool Column<G>::move_centers(double price, const ColumnTolerances& t) {
  double pull = 0, slack = 0;
  if (weights_.size() > 0) pull = kAnchor<G> * (weights_ - weight_center_).cwiseAbs().maxCoeff();
  if (!rows_.empty())
    slack = (multipliers_ - multiplier_center_).cwiseAbs().maxCoeff() / kStiffness;
  weight_center_ = weights_;
  multiplier_center_ = multipliers_;
  return pull > t.gradient * price || slack > t.row;
}

// Leaves weights and multipliers alone unless it succeeds.
template <class G>
bool Column<G>::exchange_until_right(double price, const ColumnTolerances& t,
                                     ColumnWorkspace& work) {
  std::size_t fewest = std::numeric_limits<std::size_t>::max();
  Index grace = kGrace;
  for (Index round = 0; round < kMostExchanges; ++round) {
    if (!synchronise(work)) return false;
    solve_guess(price, work);
    find_wrong(price, t, work);
    const auto& wrong = work.wrong;
    if (wrong.empty()) {
      weights_ = reference_ + step_;
      for (std::size_t i = 0; i < features_.size(); ++i) {
        double& weight = weights_[static_cast<Index>(i)];
        if (guess_.sign[i] == 0 || std::abs(weight) < t.weight) weight = 0;
      }
      multipliers_ = candidate_;
      return true;
    }
    if (wrong.size() < fewest) {
      fewest = wrong.size();
      grace = kGrace;
    } else if (--grace < 0) {
      return false;
    }
    for (const Index element : wrong) exchange(element);
  }
  return false;
}

// Elements are working features and, after them, working rows.
template <class G>
bool Column<G>::is_in(Index element) const {
  const auto n = static_cast<Index>(features_.size());
  return element < n ? guess_.sign[static_cast<std::size_t>(element)] != 0
                     : guess_.tight[static_cast<std::size_t>(element - n)] != 0;
}

template <class G>
void Column<G>::exchange(Index element) {
  const auto n = static_cast<Index>(features_.size());
  if (element >= n) {
    guess_.tight[static_cast<std::size_t>(element - n)] ^= 1;
    return;
  }
  auto& sign = guess_.sign[static_cast<std::size_t>(element)];
  sign = static_cast<std::int8_t>(sign != 0 ? 0 : gradient_[element] > 0 ? -1 : 1);
}

// Brings the factor to the present guess: by updates, or anew.
template <class G>
bool Column<G>::synchronise(ColumnWorkspace& work) {
  const auto elements = static_cast<Index>(features_.size() + rows_.size());
  support_size_ =
      std::count_if(guess_.sign.begin(), guess_.sign.end(), [](auto s) { return s != 0; });
  tight_size_ = std::count(guess_.tight.begin(), guess_.tight.end(), 1);
  if (work.order.empty()) return factor_anew(work);
  Index in = 0, out = 0;
  for (Index e = 0; e < elements; ++e) {
    const bool there = work.place[static_cast<std::size_t>(e)] >= 0;
    if (is_in(e) && !there) ++in;
    if (!is_in(e) && there) ++out;
  }
  const auto most =
      static_cast<Index>(kUpdateShare * static_cast<double>(support_size_ + tight_size_));
  if (in + out > most || work.factor.size() + in > work.factor.room()) return factor_anew(work);
  for (Index e = 0; e < elements; ++e) {
    Index& place = work.place[static_cast<std::size_t>(e)];
    if (is_in(e) || place < 0) continue;
    if (!work.factor.remove(place)) return factor_anew(work);
    work.order[static_cast<std::size_t>(place)] = -1;
    place = -1;
  }
  for (Index e = 0; e < elements; ++e) {
    if (is_in(e) && work.place[static_cast<std::size_t>(e)] < 0 && !move_in(e, work)) {
      return factor_anew(work);
    }
  }
  return true;
}

template <class G>
bool Column<G>::factor_anew(ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size());
  work.order.clear();
  work.place.assign(features_.size() + rows_.size(), -1);
  for (Index e = 0; e < n + static_cast<Index>(rows_.size()); ++e) {
    if (!is_in(e)) continue;
    work.place[static_cast<std::size_t>(e)] = static_cast<Index>(work.order.size());
    work.order.push_back(e);
  }
  const Index size = support_size_ + tight_size_;
  auto lower = work.factor.prepare(size, size + size / 8 + 16);
  // A few columns at a time: rows of the Gram matrix are read, columns are written.
  for (Index first = 0; first < support_size_; first += kColumnsAtOnce) {
    const Index last = std::min(first + kColumnsAtOnce, support_size_);
    for (Index i = first; i < size; ++i) {
      const Index e = work.order[static_cast<std::size_t>(i)];
      const auto copy = [&](const auto* entries) {
        for (Index j = first; j < std::min(last, i + 1); ++j) {
          lower(i, j) = static_cast<double>(entries[work.order[static_cast<std::size_t>(j)]]);
        }
      };
      if (e < n) {
        copy(gram_.row(e));
      } else {
        copy(work.values.col(e - n).data());
      }
    }
  }
  auto corner = lower.bottomRightCorner(tight_size_, tight_size_);
  corner.setZero();
  corner.diagonal().setConstant(-1 / kStiffness);
  lower.diagonal().head(support_size_).array() += kAnchor<G>;
  return work.factor.factor(support_size_);
}

template <class G>
bool Column<G>::move_in(Index element, ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size());
  const auto size = static_cast<Index>(work.order.size());
  if (work.entries.size() < size) work.entries.resize(2 * size);
  for (Index i = 0; i < size; ++i) {
    const Index other = work.order[static_cast<std::size_t>(i)];
    double value = 0;
    if (other >= 0 && element < n) {
      value = other < n ? gram_(other, element) : work.values(element, other - n);
    } else if (other >= 0 && other < n) {
      value = work.values(other, element - n);
    }
    work.entries[i] = value;
  }
  const double diagonal = element < n ? gram_(element, element) + kAnchor<G> : -1 / kStiffness;
  if (!work.factor.append(work.entries.head(size), diagonal, element < n)) return false;
  work.place[static_cast<std::size_t>(element)] = size;
  work.order.push_back(element);
  return true;
}

// The stationary point of the guess: weights out of it are zero, rows in it are tight up to their
// softness; then the gradient and the slack of everything there.
template <class G>
void Column<G>::solve_guess(double price, ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size()), m = static_cast<Index>(rows_.size());
  step_ = Vector::Zero(n);
  gradient_ = full_gradient_there_ + kAnchor<G> * (reference_ - weight_center_);
  slack_ = slack_there_;
  for (Index i = 0; i < n; ++i) {
    if (guess_.sign[static_cast<std::size_t>(i)] != 0 || reference_[i] == 0) continue;
    step_[i] = -reference_[i];
    gram_.add_column(i, step_[i], gradient_);
    gradient_[i] += kAnchor<G> * step_[i];
    if (m > 0) slack_ += step_[i] * work.values.row(i).transpose();
  }
  Vector multiplier_step = Vector::Zero(m);
  for (Index k = 0; k < m; ++k) {
    if (guess_.tight[static_cast<std::size_t>(k)] != 0 || multipliers_there_[k] == 0) continue;
    multiplier_step[k] = -multipliers_there_[k];
    gradient_ += multiplier_step[k] * work.values.col(k);
  }
  Vector weights, multipliers;
  respond(
      [&](Index e) {
        return e >= n ? (multipliers_there_[e - n] - multiplier_center_[e - n]) / kStiffness -
                            slack_[e - n]
                      : -gradient_[e] - price * guess_.sign[static_cast<std::size_t>(e)];
      },
      weights, multipliers, work);
  step_ += weights;
  multiplier_step += multipliers;
  candidate_ = multipliers_there_ + multiplier_step;
  curved_ = gram_ * step_;
  gradient_ = full_gradient_there_ + curved_ + kAnchor<G> * (reference_ + step_ - weight_center_);
  if (m > 0) {
    gradient_.noalias() += work.values * multiplier_step;
    slack_ = slack_there_;
    slack_.noalias() += work.values.transpose() * step_;
  }
}

template <class G>
void Column<G>::find_wrong(double price, const ColumnTolerances& t, ColumnWorkspace& work) const {
  const auto n = static_cast<Index>(features_.size()), m = static_cast<Index>(rows_.size());
  work.wrong.clear();
  for (Index i = 0; i < n; ++i) {
    const int sign = guess_.sign[static_cast<std::size_t>(i)];
    const bool wrong = sign == 0 ? std::abs(gradient_[i]) > price * (1 + t.gradient)
                                 : (reference_[i] + step_[i]) * sign < 0;
    if (wrong) work.wrong.push_back(i);
  }
  for (Index k = 0; k < m; ++k) {
    const bool wrong = guess_.tight[static_cast<std::size_t>(k)] != 0
                           ? candidate_[k] < 0
                           : slack_[k] + multiplier_center_[k] / kStiffness > t.row;
    if (wrong) work.wrong.push_back(n + k);
  }
}

// ||(Xu - y)_active||^2 is quadratic about the reference; its slope is s'd where K [d; .] = [s; 0].
template <class G>
void Column<G>::measure(ColumnWorkspace& work) {
  step_ = weights_ - reference_;
  curved_ = gram_ * step_;
  squared_residual_ = squared_residual_there_ + step_.dot(2 * gradient_there_ + curved_);
  slope_ = 0;
  weight_slope_.setZero();
  multiplier_slope_.setZero();
  measured_ = true;
  if (!synchronise(work)) return;
  const auto n = static_cast<Index>(features_.size());
  const auto sign = [&](Index e) { return e < n ? guess_.sign[static_cast<std::size_t>(e)] : 0; };
  respond([&](Index e) { return -sign(e); }, weight_slope_, multiplier_slope_, work);
  for (Index i = 0; i < n; ++i) slope_ -= sign(i) * weight_slope_[i];
}

// Solves with the factor; `right(e)` is the right side at an element of the guess. The solution is
// zero at others.
template <class G>
template <class Right>
void Column<G>::respond(const Right& right, Vector& weights, Vector& multipliers,
                        ColumnWorkspace& work) const {
  const auto n = static_cast<Index>(features_.size());
  const auto size = static_cast<Index>(work.order.size());
  if (work.rhs.size() < size) work.rhs.resize(2 * size);
  auto rhs = work.rhs.head(size);
  for (Index k = 0; k < size; ++k) {
    const Index e = work.order[static_cast<std::size_t>(k)];
    rhs[k] = e < 0 ? 0 : right(e);
  }
  work.factor.solve(rhs);
  weights = Vector::Zero(n);
  multipliers = Vector::Zero(static_cast<Index>(rows_.size()));
  for (Index k = 0; k < size; ++k) {
    const Index e = work.order[static_cast<std::size_t>(k)];
    if (e >= n) {
      multipliers[e - n] = rhs[k];
    } else if (e >= 0) {
      weights[e] = rhs[k];
    }
  }
}

template class Column<float>;
template class Column<double>;

}  // namespace nettrim::layer
