#include "layer/newton.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

namespace nettrim::layer {
namespace {

constexpr double kPriceStep = 3;       // largest factor between the prices of two rounds
constexpr Index kTrustedRounds = 15;   // of Newton's steps alone, before bounds on the price count
constexpr Index kFewestAdded = 20;     // to a working set in a round; otherwise it doubles at most
constexpr double kAimBelow = 0.1;      // of the tolerance, at what a round leaves undone
constexpr double kBesidePrice = 0.01;  // of its relative change: what a column may leave undone
constexpr double kFarthestFollowed = 0.2;  // relative change of the price
constexpr double kLowestStart = 1e-3;      // share of the steepest gradient, for a first price
constexpr double kSpare = 1.1;             // working features over those in use, before some leave
constexpr double kFarFromUse = 0.7;        // gradient over price
constexpr std::size_t kRoomForGrams = 80'000'000;  // bytes, or those of the program's arrays
// Rounds without progress that end a run. A Gram matrix in single precision gives way to a double
// one as soon as it slows the rounds down.
constexpr Index kPatience = 20, kSinglePatience = 6;
constexpr double kSingleProgress = 0.5;
constexpr double kFirmestAnchor = 1e-2;
constexpr Index kRaysApart = 4;  // rounds between looks for a proof of infeasibility
// A weight below this share of the price moves no gradient: the longest feature has length 1 to 2.
constexpr double kNegligible = 2.5e-4;

// The first of the ranked candidates that are not in the working set yet: as many as are in use.
std::vector<Index> foremost(std::vector<std::pair<double, Index>>& ranked,
                            const std::vector<Index>& working, Index in_use) {
  const auto most = static_cast<std::size_t>(std::max(kFewestAdded, in_use));
  std::sort(ranked.begin(), ranked.end());
  std::vector<Index> chosen;
  for (const auto& [rank, index] : ranked) {
    if (chosen.size() == most) break;
    if (std::find(working.begin(), working.end(), index) == working.end()) chosen.push_back(index);
  }
  return chosen;
}

// A weight that moves no signal noticeably is what a rounded multiplier leaves of a zero. Steps
// held by a firm anchor are as short as costs are low: it is for features of one cost.
template <class S>
ColumnTolerances tolerances_for(const UnitProgram<S>& p, double tol) {
  const double signal = p.largest > 0 ? p.largest : 1;
  const double anchor = p.even() ? 0 : kFirmestAnchor;
  return {kAimBelow * tol, kAimBelow * tol * signal, kAimBelow * tol * signal, anchor};
}

}  // namespace

template <class S, class G>
Newton<S, G>::Newton(const UnitProgram<S>& program, const Supervisor& supervisor)
    : p_(program),
      supervisor_(supervisor),
      grams_(program),
      tolerances_(tolerances_for(program, supervisor.options().tol)),
      columns_(static_cast<std::size_t>(program.n_outputs())),
      workspaces_(static_cast<std::size_t>(program.threads)),
      weights_(Matrix<double>::Zero(program.n_outputs(), program.n_features())),
      dual_(Matrix<S>::Zero(program.n_outputs(), program.n_samples())),
      excesses_(columns_.size()),
      keeps_gram_(columns_.size()) {}

template <class S, class G>
Patience Newton<S, G>::patience() const {
  return std::is_same_v<G, float> ? Patience(kSinglePatience, kSingleProgress)
                                  : Patience(kPatience);
}

template <class S, class G>
void Newton<S, G>::start(const Matrix<S>& weights, const Matrix<S>& dual) {
  const double size = norm_over_active(dual);
  price_ = !p_.constrained() ? p_.level / 2 : p_.level > 0 && size > 0 ? p_.level / size : 1;
  start_columns(weights, dual);
  share_room();
  look_at_all_samples();
  next_price_ = price_of_weights();
}

// At an optimum the gradient of every weight that is used equals its price. Without weights, a
// price at which few are worth having.
template <class S, class G>
double Newton<S, G>::price_of_weights() const {
  if (!p_.constrained()) return p_.level / 2;
  const double paid = weights_.cwiseProduct(evidence_.gradient).sum() / dual_scale();
  const double price = paid / p_.l1_of(weights_);
  if (price > 0) return price;
  const double share = p_.total > 0 ? p_.level / p_.total : 0;
  const double steepest =
      (evidence_.gradient.cwiseAbs() * p_.costs.cwiseInverse().asDiagonal()).maxCoeff() /
      dual_scale();
  return std::clamp(share, kLowestStart, 1.0) * steepest;
}

template <class S, class G>
double Newton<S, G>::norm_over_active(const Matrix<S>& dual) const {
  double square = 0;
  p_.with_entries([&](auto entry) {
    for (Index i = 0; i < dual.size(); ++i) {
      if (entry(i).active) square += double(dual.data()[i]) * double(dual.data()[i]);
    }
  });
  return std::sqrt(square);
}

template <class S, class G>
void Newton<S, G>::start_columns(const Matrix<S>& weights, const Matrix<S>& dual) {
  parallel_for_uneven(p_.n_outputs(), p_.threads, [&](Index output, int) {
    std::vector<Index> features;
    for (Index j = 0; j < p_.n_features(); ++j) {
      if (weights(output, j) != 0) features.push_back(j);
    }
    std::vector<std::pair<double, Index>> pushed;  // rows, the hardest first
    p_.with_entries([&](auto entry) {
      for (Index i = 0; i < p_.n_samples(); ++i) {
        const double g = double(dual(output, i));
        if (g < 0 && !entry(i * p_.n_outputs() + output).active) pushed.emplace_back(g, i);
      }
    });
    // More tight rows than weights are one too many: they depend on each other.
    const auto rows = foremost(pushed, {}, static_cast<Index>(features.size()));
    auto& column = columns_[static_cast<std::size_t>(output)];
    extend(output, features, rows);
    Eigen::VectorXd multipliers(static_cast<Index>(column.rows().size()));
    for (std::size_t k = 0; k < column.rows().size(); ++k) {
      multipliers[static_cast<Index>(k)] = -double(dual(output, column.rows()[k])) / dual_scale();
    }
    const Eigen::VectorXd start = weights.row(output).template cast<double>();
    column.start(start(column.features()), multipliers);
    write_back(output);
  });
}

// An interrupt or the time limit leaves the outputs that were not reached as they were.
template <class S, class G>
void Newton<S, G>::step() {
  const double seen_at = dual_scale();
  price_ = next_price_;
  const ColumnTolerances enough = tolerances_after(slack_ ? 0 : last_change_);
  std::atomic<bool> stop = false;
  parallel_for_uneven(p_.n_outputs(), p_.threads, [&](Index output, int thread) {
    if (thread == 0 && supervisor_.limit(0)) stop = true;
    if (stop) return;
    auto& column = columns_[static_cast<std::size_t>(output)];
    const Eigen::VectorXd gradient = evidence_.gradient.row(output) / -seen_at;
    shrink(column, gradient);
    extend(output, missing_features(column, gradient),
           missing_rows(column, excesses_[static_cast<std::size_t>(output)]));
    auto& work = workspaces_[static_cast<std::size_t>(thread)];
    gather_values(column, work);
    column.refer(gradient(column.features()), evidence_.square[output] / (seen_at * seen_at), work);
    if (!column.is_right(price_, enough)) {
      complete_gram(output);
      column.solve(price_,
                   {tolerances_.gradient, tolerances_.row, least_weight(), tolerances_.anchor},
                   work);
    }
    if (!keeps_gram_[static_cast<std::size_t>(output)]) column.forget_gram();
  });
  share_room();
  find_price();
  follow_price();
  look_at_all_samples();
}

// Features that the price keeps far from use leave, once they are many: Gram matrices are large.
template <class S, class G>
void Newton<S, G>::shrink(Column<G>& column, const Eigen::VectorXd& gradient) {
  const auto size = static_cast<Index>(column.features().size());
  const auto spare = static_cast<double>(column.support_size()) * kSpare;
  if (size <= static_cast<Index>(spare) + kFewestAdded) return;
  std::vector<Index> places;
  for (Index i = 0; i < size; ++i) {
    const Index j = column.features()[static_cast<std::size_t>(i)];
    const double steep = std::abs(gradient[j]);
    if (column.uses(i) || steep > kFarFromUse * price_ * p_.costs[j]) places.push_back(i);
  }
  column.keep_features(places);
}

template <class S, class G>
void Newton<S, G>::extend(Index output, const std::vector<Index>& features,
                          const std::vector<Index>& rows) {
  auto& column = columns_[static_cast<std::size_t>(output)];
  column.add_features(features, p_.costs(features));
  if (!rows.empty()) {
    Eigen::VectorXd bounds(static_cast<Index>(rows.size()));
    p_.with_entries([&](auto entry) {
      for (std::size_t k = 0; k < rows.size(); ++k) {
        bounds[static_cast<Index>(k)] = double(entry(rows[k] * p_.n_outputs() + output).target);
      }
    });
    column.add_rows(rows, bounds);
  }
}

template <class S, class G>
void Newton<S, G>::complete_gram(Index output) {
  auto& column = columns_[static_cast<std::size_t>(output)];
  const Index known = column.gram_size();
  if (known < static_cast<Index>(column.features().size())) {
    column.add_gram(grams_.columns(output, column.features(), known));
  }
}

// Gram matrices that do not fit are computed anew for every solve. Which ones must not depend on
// the threads.
template <class S, class G>
void Newton<S, G>::share_room() {
  const Index arrays = p_.n_samples() * (p_.n_features() + p_.n_outputs()) + weights_.size();
  std::size_t room = std::max(kRoomForGrams, static_cast<std::size_t>(arrays) * sizeof(S));
  for (std::size_t k = 0; k < columns_.size(); ++k) {
    const std::size_t bytes = PackedSymmetric<G>::bytes(columns_[k].features().size());
    keeps_gram_[k] = bytes <= room;
    if (keeps_gram_[k]) {
      room -= bytes;
    } else {
      columns_[k].forget_gram();
    }
  }
}

// Signals of working rows by working features; gathered anew every round, for all outputs'
// together would fill the memory.
template <class S, class G>
void Newton<S, G>::gather_values(const Column<G>& column, ColumnWorkspace& work) const {
  const auto& features = column.features();
  const auto& rows = column.rows();
  work.values.resize(static_cast<Index>(features.size()), static_cast<Index>(rows.size()));
  for (std::size_t k = 0; k < rows.size(); ++k) {
    const S* const x = p_.given.X + rows[k] * p_.n_features();
    double* const out = work.values.col(static_cast<Index>(k)).data();
    for (std::size_t i = 0; i < features.size(); ++i) {
      out[i] = double(p_.x_scale) * double(x[features[i]]);
    }
  }
}

// The features with the steepest gradients of those that are worth their price.
template <class S, class G>
std::vector<Index> Newton<S, G>::missing_features(const Column<G>& column,
                                                  const Eigen::VectorXd& gradient) const {
  std::vector<std::pair<double, Index>> missing;
  const double least = price_ * (1 + tolerances_.gradient);
  for (Index j = 0; j < gradient.size(); ++j) {
    const double steep = std::abs(gradient[j]) / p_.costs[j];
    if (steep > least) missing.emplace_back(-steep, j);
  }
  return foremost(missing, column.features(), column.support_size());
}

template <class S, class G>
std::vector<Index> Newton<S, G>::missing_rows(const Column<G>& column,
                                              const std::vector<Excess>& excesses) const {
  std::vector<std::pair<double, Index>> missing;
  for (const Excess& e : excesses) missing.emplace_back(-double(e.size), e.sample);
  return foremost(missing, column.rows(), column.tight_size());
}

template <class S, class G>
void Newton<S, G>::write_back(Index output) {
  const auto& column = columns_[static_cast<std::size_t>(output)];
  for (std::size_t i = 0; i < column.features().size(); ++i) {
    weights_(output, column.features()[i]) = column.weights()[static_cast<Index>(i)];
  }
  for (std::size_t k = 0; k < column.rows().size(); ++k) {
    dual_(output, column.rows()[k]) =
        static_cast<S>(-dual_scale() * column.multipliers()[static_cast<Index>(k)]);
  }
}

template <class S, class G>
double Newton<S, G>::least_weight() const {
  return std::min(tolerances_.weight, kNegligible * price_);
}

// What a round may leave undone: little beside the error of the price itself.
template <class S, class G>
ColumnTolerances Newton<S, G>::tolerances_after(double price_change) const {
  ColumnTolerances t = tolerances_;
  t.gradient = std::max(t.gradient, kBesidePrice * price_change);
  t.row = std::max(t.row, kBesidePrice * price_change * p_.largest);
  return t;
}

// One Newton step on the squared price: the sum of squared residuals is to be epsilon squared.
template <class S, class G>
void Newton<S, G>::find_price() {
  if (!p_.constrained()) return head_for(p_.level / 2);
  double squared_residual = 0;
  for (const auto& column : columns_) squared_residual += column.squared_residual();
  const double missing = p_.level * p_.level - squared_residual, slope = total_slope();
  double price = (missing > 0 && p_.total > 0 ? kPriceStep : 1) * price_;
  if (slope > 0) price = std::sqrt(std::max(price_ * price_ + missing / slope, 0.0));
  head_for(safeguarded(price, missing));
}

// The residual grows with the price. Steps that go on for long stay between prices that leave room
// and prices that leave none; where none does, the ball is slack and the price goes up and up.
template <class S, class G>
double Newton<S, G>::safeguarded(double price, double missing) {
  if (missing > 0) {
    room_at_ = price_ < none_at_ ? std::max(room_at_, price_) : price_;
    if (price_ >= none_at_) none_at_ = std::numeric_limits<double>::infinity();
  } else {
    none_at_ = price_ > room_at_ ? std::min(none_at_, price_) : price_;
    if (price_ <= room_at_) room_at_ = 0;
  }
  slack_ = false;
  if (++price_rounds_ <= kTrustedRounds ||
      (price > room_at_ && price < none_at_ && std::isfinite(none_at_))) {
    return price;
  }
  if (std::isfinite(none_at_)) return std::sqrt(std::max(room_at_, none_at_ / 9) * none_at_);
  slack_ = true;
  return kPriceStep * price_;
}

// Far away the residual goes with a power of the price, of which its slope tells the exponent.
template <class S, class G>
void Newton<S, G>::aim() {
  const double exponent = price_ * price_ * total_slope() / evidence_.residual;
  const double ratio = exponent > 0 ? p_.level / std::sqrt(evidence_.residual) : 1;
  last_step_ = 0;
  room_at_ = 0;
  none_at_ = std::numeric_limits<double>::infinity();
  price_rounds_ = 0;
  head_for(price_ * std::pow(ratio, 1 / exponent));
}

template <class S, class G>
double Newton<S, G>::total_slope() const {
  double slope = 0;
  for (const auto& column : columns_) slope += column.slope();
  return slope;
}

// A step back goes half as far as the one before at most: the slope changes from piece to piece,
// and whole steps may go round and round.
template <class S, class G>
void Newton<S, G>::head_for(double price) {
  double step = std::clamp(std::log(price / price_), -std::log(kPriceStep), std::log(kPriceStep));
  if (step * last_step_ < 0)
    step = std::clamp(step, -std::abs(last_step_) / 2, std::abs(last_step_) / 2);
  next_price_ = price_ * std::exp(step);
  last_step_ = step;
  last_change_ = std::abs(next_price_ / price_ - 1);
}

// Weights and multipliers are piecewise linear in the price: a small change needs no new solve.
template <class S, class G>
void Newton<S, G>::follow_price() {
  const bool follows = last_change_ < kFarthestFollowed;
  const double change = next_price_ - price_, least = least_weight();
  if (follows) price_ = next_price_;
  parallel_for_uneven(p_.n_outputs(), p_.threads, [&](Index output, int) {
    if (follows) columns_[static_cast<std::size_t>(output)].follow(change, least);
    write_back(output);
  });
}

// Signals and gradients of all outputs at once; entries over their bound are remembered.
template <class S, class G>
void Newton<S, G>::look_at_all_samples() {
  const Matrix<double> W = weights_ * double(p_.x_scale);
  const Index outputs = p_.n_outputs();
  const double scale = dual_scale();
  std::vector<std::vector<std::pair<std::int32_t, Excess>>> found(p_.samples.size());
  evidence_ = gather_evidence(p_, [&](Index k, Range piece, Evidence& mine) {
    const Matrix<double> signal = W * p_.X(piece).template cast<double>();
    p_.with_entries([&](auto entry) {
      const Index first = piece.begin * outputs;
      for (Index i = 0; i < signal.size(); ++i) {
        const auto e = entry(first + i);
        const double excess = signal.data()[i] - double(e.target);
        if (e.active) {
          dual_.data()[first + i] = static_cast<S>(-scale * excess);
        } else if (excess > tolerances_.row) {
          found[static_cast<std::size_t>(k)].push_back(
              {static_cast<std::int32_t>(i % outputs),
               {static_cast<float>(excess), static_cast<std::int32_t>(piece.begin + i / outputs)}});
        }
      }
    });
    add_piece(p_, piece, signal, dual_, mine);
  });
  for (auto& list : excesses_) list = {};
  for (auto& list : found) {
    for (const auto& [output, excess] : list) {
      excesses_[static_cast<std::size_t>(output)].push_back(excess);
    }
    list = {};
  }
}

template <class S, class G>
void Newton<S, G>::report(Answer<S>& a) const {
  a.weights = weights_.template cast<S>();
  a.dual = dual_;
  if constexpr (std::is_same_v<S, double>) {
    a.certificate = conclude(p_, p_.l1_of(weights_), evidence_, dual_);
  } else {
    a.certificate = certify(p_, a.weights, a.dual);
  }
}

template <class S, class G>
const Matrix<S>* Newton<S, G>::ray(const Answer<S>&) {
  return ++looks_for_ray_ % kRaysApart == 0 ? &dual_ : nullptr;
}

template <class S>
std::size_t most_gram_bytes(const UnitProgram<S>& p) {
  return static_cast<std::size_t>(p.n_outputs()) *
         PackedSymmetric<double>::bytes(static_cast<std::size_t>(p.n_features()));
}

template class Newton<float, float>;
template class Newton<float, double>;
template class Newton<double, float>;
template class Newton<double, double>;
template std::size_t most_gram_bytes(const UnitProgram<float>&);
template std::size_t most_gram_bytes(const UnitProgram<double>&);

}  // namespace nettrim::layer
