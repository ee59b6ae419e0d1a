#include "layer/newton/newton.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "linalg/product.hpp"

namespace nettrim::layer {
namespace {

constexpr double kLambdaStep = 3;       // largest factor between the penalties of two rounds
constexpr Index kTrustedRounds = 15;    // of Newton's steps alone, before bounds on lambda count
constexpr Index kFewestAdded = 20;      // to a working set in a round; otherwise it doubles at most
constexpr double kAimBelow = 0.1;       // of the tolerance, at what a round leaves undone
constexpr double kBesideLambda = 0.01;  // of its relative change: what a column may leave undone
constexpr double kFarthestFollowed = 0.2;  // relative change of lambda
constexpr double kLowestStart = 1e-3;      // share of the steepest gradient, for a first penalty
constexpr double kSpare = 1.1;             // working features over those in use, before some leave
constexpr double kFarFromUse = 0.7;        // gradient over lambda
constexpr std::size_t kRoomForGrams = 80'000'000;  // bytes, or those of the program's arrays
// Rounds without progress that end a run. A Gram matrix in single precision gives way to a double
// one as soon as it slows the rounds down.
constexpr Index kPatience = 20, kSinglePatience = 6;
constexpr double kSingleProgress = 0.5;
constexpr double kFirmestProximalWeight = 1e-2;
constexpr Index kRaysApart = 4;  // rounds between looks for a proof of infeasibility
// While working sets still grow, Gram matrices are estimated from so many active samples for each
// feature at the start, if that leaves out most; for so many rounds at most, and until a round adds
// no more than this share of what is in use.
constexpr Index kEstimateSamples = 8, kMostEstimated = 6;
constexpr double kSettled = 0.03;
constexpr Index kOutputsAtOnce = 16;  // whose Gram matrices are assembled together
// A weight below this share of lambda moves no gradient: the longest feature has length 1 to 2.
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
// held by a firm proximal weight are as short as costs are low: it is for features of one cost.
template <class S>
ColumnTolerances tolerances_for(const UnitProgram<S>& p, double tol) {
  const double signal = p.largest > 0 ? p.largest : 1;
  const double proximal_weight = p.even ? 0 : kFirmestProximalWeight;
  return {kAimBelow * tol, kAimBelow * tol * signal, kAimBelow * tol * signal, proximal_weight};
}

}  // namespace

template <class S>
Newton<S>::Newton(const UnitProgram<S>& program, const Supervisor& supervisor, Precision grams)
    : p_(program),
      supervisor_(supervisor),
      precision_(grams),
      grams_(program, grams),
      tolerances_(tolerances_for(program, supervisor.options().tol)),
      workspaces_(static_cast<std::size_t>(program.threads)),
      weights_(Matrix<double>::Zero(program.n_outputs(), program.n_features())),
      dual_(Matrix<S>::Zero(program.n_outputs(), program.n_samples())),
      excesses_(static_cast<std::size_t>(program.n_outputs())),
      keeps_gram_(excesses_.size()) {
  columns_.reserve(excesses_.size());
  for (Index output = 0; output < program.n_outputs(); ++output) columns_.emplace_back(grams);
}

template <class S>
Patience Newton<S>::patience() const {
  return precision_ == Precision::float32 ? Patience(kSinglePatience, kSingleProgress)
                                          : Patience(kPatience);
}

template <class S>
void Newton<S>::start(const Matrix<S>& weights, const Matrix<S>& dual) {
  const double size = norm_over_active(dual);
  lambda_ = !p_.constrained() ? p_.level / 2 : p_.level > 0 && size > 0 ? p_.level / size : 1;
  start_columns(weights, dual);
  share_room();
  begin_estimates();
  look_at_all_samples();
  next_lambda_ = lambda_of_weights();
}

template <class S>
void Newton<S>::begin_estimates() {
  if (precision_ != Precision::float32) return;
  bool worthwhile = false;
  for (Index m = 0; m < p_.n_outputs(); ++m) {
    const auto features = columns_[static_cast<std::size_t>(m)].features().size();
    const Index enough = kEstimateSamples * std::max(static_cast<Index>(features), kFewestAdded);
    strides_.push_back(std::max<Index>(1, grams_.active_samples(m) / enough));
    worthwhile = worthwhile || strides_.back() > 1;
  }
  if (worthwhile) {
    grams_.prepare_estimates();
  } else {
    strides_.clear();
  }
}

template <class S>
void Newton<S>::end_estimates_once_settled(Index added) {
  if (!estimates_grams()) return;
  Index in_use = 0;
  for (const Column& column : columns_) in_use += column.support_size() + column.tight_size();
  const bool settled = static_cast<double>(added) <= kSettled * static_cast<double>(in_use);
  if (!settled && ++estimated_rounds_ < kMostEstimated) return;
  for (std::size_t m = 0; m < columns_.size(); ++m) {
    if (strides_[m] > 1) columns_[m].forget_gram();
  }
  strides_.clear();
}

// At an optimum the gradient of every weight that is used equals its penalty. Without weights, a
// penalty at which few are worth having.
template <class S>
double Newton<S>::lambda_of_weights() const {
  if (!p_.constrained()) return p_.level / 2;
  const double paid = weights_.cwiseProduct(evidence_.gradient).sum() / dual_scale();
  const double lambda = paid / p_.norm_of(weights_);
  if (lambda > 0) return lambda;
  const double share = p_.total > 0 ? p_.level / p_.total : 0;
  const double steepest =
      (evidence_.gradient.cwiseAbs() * p_.costs.cwiseInverse().asDiagonal()).maxCoeff() /
      dual_scale();
  return std::clamp(share, kLowestStart, 1.0) * steepest;
}

template <class S>
double Newton<S>::norm_over_active(const Matrix<S>& dual) const {
  double square = 0;
  p_.with_entries([&](auto entry) {
    for (Index i = 0; i < dual.size(); ++i) {
      if (entry(i).active) square += double(dual.data()[i]) * double(dual.data()[i]);
    }
  });
  return std::sqrt(square);
}

template <class S>
void Newton<S>::start_columns(const Matrix<S>& weights, const Matrix<S>& dual) {
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
template <class S>
void Newton<S>::step() {
  const double seen_at = dual_scale();
  lambda_ = next_lambda_;
  const ColumnTolerances enough = tolerances_after(slack_ ? 0 : last_change_);
  std::atomic<bool> stop = false;
  std::atomic<Index> added = 0;
  const std::vector<Range> groups = cut(p_.n_outputs(), kOutputsAtOnce, p_.threads);
  parallel_for_uneven(static_cast<Index>(groups.size()), p_.threads, [&](Index k, int thread) {
    const Range group = groups[static_cast<std::size_t>(k)];
    auto& work = workspaces_[static_cast<std::size_t>(thread)];
    const auto stops = [&] {
      if (thread == 0 && supervisor_.limit(0)) stop = true;
      return stop.load();
    };
    std::vector<Index> unsolved;
    for (Index output = group.begin; output < group.begin + group.size && !stops(); ++output) {
      added += update_working_sets(output, seen_at, work);
      const auto& column = columns_[static_cast<std::size_t>(output)];
      if (!column.is_optimal(lambda_, enough)) unsolved.push_back(output);
    }
    if (!stop) complete_grams(unsolved);
    for (const Index output : unsolved) {
      if (stops()) return;
      solve_column(output, work);
    }
  });
  end_estimates_once_settled(added);
  share_room();
  find_lambda();
  follow_lambda();
  look_at_all_samples();
}

// To what the last look found, at the dual scale of then. How many elements are new.
template <class S>
Index Newton<S>::update_working_sets(Index output, double seen_at, ColumnWorkspace& work) {
  auto& column = columns_[static_cast<std::size_t>(output)];
  const Eigen::VectorXd gradient = evidence_.gradient.row(output) / -seen_at;
  shrink(column, gradient);
  const auto features = missing_features(column, gradient);
  const auto rows = missing_rows(column, excesses_[static_cast<std::size_t>(output)]);
  extend(output, features, rows);
  gather_values(column, work);
  column.refer(gradient(column.features()), evidence_.square[output] / (seen_at * seen_at), work);
  return static_cast<Index>(features.size() + rows.size());
}

template <class S>
void Newton<S>::solve_column(Index output, ColumnWorkspace& work) {
  auto& column = columns_[static_cast<std::size_t>(output)];
  gather_values(column, work);
  column.solve(lambda_,
               {tolerances_.gradient, tolerances_.row, least_weight(), tolerances_.proximal_weight},
               work);
  if (!keeps_gram_[static_cast<std::size_t>(output)]) column.forget_gram();
}

// Features that lambda keeps far from use leave, once they are many: Gram matrices are large.
template <class S>
void Newton<S>::shrink(Column& column, const Eigen::VectorXd& gradient) {
  const auto size = static_cast<Index>(column.features().size());
  const auto spare = static_cast<double>(column.support_size()) * kSpare;
  if (size <= static_cast<Index>(spare) + kFewestAdded) return;
  std::vector<Index> places;
  for (Index i = 0; i < size; ++i) {
    const Index j = column.features()[static_cast<std::size_t>(i)];
    const double steep = std::abs(gradient[j]);
    if (column.uses(i) || steep > kFarFromUse * lambda_ * p_.costs[j]) places.push_back(i);
  }
  column.keep_features(places);
}

template <class S>
void Newton<S>::extend(Index output, const std::vector<Index>& features,
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

template <class S>
void Newton<S>::complete_grams(const std::vector<Index>& outputs) {
  std::vector<GramColumns> asked;
  for (const Index output : outputs) {
    const auto& column = columns_[static_cast<std::size_t>(output)];
    const Index known = column.gram_size();
    if (known == static_cast<Index>(column.features().size())) continue;
    const Index stride = estimates_grams() ? strides_[static_cast<std::size_t>(output)] : 1;
    asked.push_back({output, &column.features(), known, stride});
  }
  grams_.fill(asked);
  for (const GramColumns& a : asked) {
    columns_[static_cast<std::size_t>(a.output)].add_gram(a.entries);
  }
}

// Gram matrices that do not fit are computed anew for every solve. Which ones must not depend on
// the threads.
template <class S>
void Newton<S>::share_room() {
  const Index arrays = p_.n_samples() * (p_.n_features() + p_.n_outputs()) + weights_.size();
  std::size_t room = std::max(kRoomForGrams, static_cast<std::size_t>(arrays) * sizeof(S));
  for (std::size_t k = 0; k < columns_.size(); ++k) {
    const std::size_t bytes = PackedSymmetric::bytes(columns_[k].features().size(), precision_);
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
template <class S>
void Newton<S>::gather_values(const Column& column, ColumnWorkspace& work) const {
  const auto& features = column.features();
  const auto& rows = column.rows();
  work.values.resize(static_cast<Index>(features.size()), static_cast<Index>(rows.size()));
  for (std::size_t k = 0; k < rows.size(); ++k) {
    double* const out = work.values.col(static_cast<Index>(k)).data();
    for (std::size_t i = 0; i < features.size(); ++i) {
      out[i] = double(p_.x_scale) * double(p_.X(rows[k], features[i]));
    }
  }
}

// The features with the steepest gradients of those that are worth their penalty.
template <class S>
std::vector<Index> Newton<S>::missing_features(const Column& column,
                                               const Eigen::VectorXd& gradient) const {
  std::vector<std::pair<double, Index>> missing;
  const double least = lambda_ * (1 + tolerances_.gradient);
  for (Index j = 0; j < gradient.size(); ++j) {
    const double steep = std::abs(gradient[j]) / p_.costs[j];
    if (steep > least) missing.emplace_back(-steep, j);
  }
  return foremost(missing, column.features(), column.support_size());
}

template <class S>
std::vector<Index> Newton<S>::missing_rows(const Column& column,
                                           const std::vector<Excess>& excesses) const {
  std::vector<std::pair<double, Index>> missing;
  for (const Excess& e : excesses) missing.emplace_back(-double(e.size), e.sample);
  return foremost(missing, column.rows(), column.tight_size());
}

template <class S>
void Newton<S>::write_back(Index output) {
  const auto& column = columns_[static_cast<std::size_t>(output)];
  for (std::size_t i = 0; i < column.features().size(); ++i) {
    weights_(output, column.features()[i]) = column.weights()[static_cast<Index>(i)];
  }
  for (std::size_t k = 0; k < column.rows().size(); ++k) {
    dual_(output, column.rows()[k]) =
        static_cast<S>(-dual_scale() * column.multipliers()[static_cast<Index>(k)]);
  }
}

template <class S>
double Newton<S>::least_weight() const {
  return std::min(tolerances_.weight, kNegligible * lambda_);
}

// What a round may leave undone: little beside the error of lambda itself.
template <class S>
ColumnTolerances Newton<S>::tolerances_after(double lambda_change) const {
  ColumnTolerances t = tolerances_;
  t.gradient = std::max(t.gradient, kBesideLambda * lambda_change);
  t.row = std::max(t.row, kBesideLambda * lambda_change * p_.largest);
  return t;
}

// One Newton step on the squared lambda: the sum of squared residuals is to be epsilon squared.
template <class S>
void Newton<S>::find_lambda() {
  if (!p_.constrained()) return step_to(p_.level / 2);
  double squared_residual = 0;
  for (const auto& column : columns_) squared_residual += column.squared_residual();
  const double missing = p_.level * p_.level - squared_residual, slope = total_slope();
  double lambda = (missing > 0 && p_.total > 0 ? kLambdaStep : 1) * lambda_;
  if (slope > 0) lambda = std::sqrt(std::max(lambda_ * lambda_ + missing / slope, 0.0));
  step_to(safeguard(lambda, missing));
}

// The residual grows with lambda. Steps that go on for long stay between penalties that leave room
// and penalties that leave none; where none does, the ball is slack and lambda goes up and up.
template <class S>
double Newton<S>::safeguard(double lambda, double missing) {
  if (missing > 0) {
    feasible_lambda_ = lambda_ < infeasible_lambda_ ? std::max(feasible_lambda_, lambda_) : lambda_;
    if (lambda_ >= infeasible_lambda_) infeasible_lambda_ = std::numeric_limits<double>::infinity();
  } else {
    infeasible_lambda_ =
        lambda_ > feasible_lambda_ ? std::min(infeasible_lambda_, lambda_) : lambda_;
    if (lambda_ <= feasible_lambda_) feasible_lambda_ = 0;
  }
  slack_ = false;
  if (++lambda_rounds_ <= kTrustedRounds ||
      (lambda > feasible_lambda_ && lambda < infeasible_lambda_ &&
       std::isfinite(infeasible_lambda_))) {
    return lambda;
  }
  if (std::isfinite(infeasible_lambda_))
    return std::sqrt(std::max(feasible_lambda_, infeasible_lambda_ / 9) * infeasible_lambda_);
  slack_ = true;
  return kLambdaStep * lambda_;
}

// Far away the residual goes with a power of lambda, of which its slope tells the exponent.
template <class S>
void Newton<S>::aim() {
  const double exponent = lambda_ * lambda_ * total_slope() / evidence_.residual;
  const double ratio = exponent > 0 ? p_.level / std::sqrt(evidence_.residual) : 1;
  last_step_ = 0;
  feasible_lambda_ = 0;
  infeasible_lambda_ = std::numeric_limits<double>::infinity();
  lambda_rounds_ = 0;
  step_to(lambda_ * std::pow(ratio, 1 / exponent));
}

template <class S>
double Newton<S>::total_slope() const {
  double slope = 0;
  for (const auto& column : columns_) slope += column.slope();
  return slope;
}

// A step back goes half as far as the one before at most: the slope changes from piece to piece,
// and whole steps may go round and round.
template <class S>
void Newton<S>::step_to(double lambda) {
  double step =
      std::clamp(std::log(lambda / lambda_), -std::log(kLambdaStep), std::log(kLambdaStep));
  if (step * last_step_ < 0)
    step = std::clamp(step, -std::abs(last_step_) / 2, std::abs(last_step_) / 2);
  next_lambda_ = lambda_ * std::exp(step);
  last_step_ = step;
  last_change_ = std::abs(next_lambda_ / lambda_ - 1);
}

// Weights and multipliers are piecewise linear in lambda: a small change needs no new solve.
template <class S>
void Newton<S>::follow_lambda() {
  const bool follows = last_change_ < kFarthestFollowed;
  const double change = next_lambda_ - lambda_, least = least_weight();
  if (follows) lambda_ = next_lambda_;
  parallel_for_uneven(p_.n_outputs(), p_.threads, [&](Index output, int) {
    if (follows) columns_[static_cast<std::size_t>(output)].follow(change, least);
    write_back(output);
  });
}

// In single precision as long as Gram matrices are estimated: what is wrong is far more then.
template <class S>
void Newton<S>::look_at_all_samples() {
  saw_roughly_ = estimates_grams();
  if (saw_roughly_) {
    look<float>();
  } else {
    look<double>();
  }
}

// Signals and gradients of all outputs at once; entries over their bound are remembered.
template <class S>
template <class G>
void Newton<S>::look() {
  const Matrix<G> W = (weights_ * double(p_.x_scale)).template cast<G>();
  const Index outputs = p_.n_outputs();
  const double scale = dual_scale();
  std::vector<std::vector<std::pair<std::int32_t, Excess>>> found(p_.samples.size());
  evidence_ = gather_evidence(p_, [&](Index k, Range piece, Evidence& mine) {
    const Matrix<G> X = p_.X(piece).template cast<G>();
    const Matrix<G> signal = product(W, X);
    p_.with_entries([&](auto entry) {
      const Index first = piece.begin * outputs;
      for (Index i = 0; i < signal.size(); ++i) {
        const auto e = entry(first + i);
        const double excess = double(signal.data()[i]) - double(e.target);
        if (e.active) {
          dual_.data()[first + i] = static_cast<S>(-scale * excess);
        } else if (excess > tolerances_.row) {
          found[static_cast<std::size_t>(k)].push_back(
              {static_cast<std::int32_t>(i % outputs),
               {static_cast<float>(excess), static_cast<std::int32_t>(piece.begin + i / outputs)}});
        }
      }
    });
    if constexpr (std::is_same_v<G, double>) {
      add_piece(p_, piece, signal, dual_, mine);
    } else {
      add_roughly(piece, X, mine);
    }
  });
  for (auto& list : excesses_) list = {};
  for (auto& list : found) {
    for (const auto& [output, excess] : list) {
      excesses_[static_cast<std::size_t>(output)].push_back(excess);
    }
    list = {};
  }
}

// What the rounds ask of a look: the gradient and the squares of the active multipliers.
template <class S>
void Newton<S>::add_roughly(Range piece, const Matrix<float>& X, Evidence& mine) const {
  const Matrix<float> G = dual_.middleCols(piece.begin, piece.size).template cast<float>();
  const Index outputs = p_.n_outputs();
  p_.with_entries([&](auto entry) {
    for (Index i = 0; i < G.size(); ++i) {
      if (!entry(piece.begin * outputs + i).active) continue;
      const double g = double(G.data()[i]);
      mine.square[i % outputs] += g * g;
    }
  });
  mine.gradient += double(p_.x_scale) * product(G, X.transpose()).template cast<double>();
}

template <class S>
void Newton<S>::report(EngineResult<S>& a) const {
  a.weights = weights_.template cast<S>();
  a.dual = dual_;
  if constexpr (std::is_same_v<S, double>) {
    if (!saw_roughly_) {
      a.certificate = conclude(p_, p_.norm_of(weights_), evidence_, dual_);
      return;
    }
  }
  a.certificate = certify(p_, a.weights, a.dual);
}

template <class S>
const Matrix<S>* Newton<S>::ray(const EngineResult<S>&) {
  return ++looks_for_ray_ % kRaysApart == 0 ? &dual_ : nullptr;
}

template <class S>
std::size_t most_gram_bytes(const UnitProgram<S>& p) {
  return static_cast<std::size_t>(p.n_outputs()) *
         PackedRows<double>::bytes(static_cast<std::size_t>(p.n_features()));
}

template class Newton<float>;
template class Newton<double>;
template std::size_t most_gram_bytes(const UnitProgram<float>&);
template std::size_t most_gram_bytes(const UnitProgram<double>&);

}  // namespace nettrim::layer
