// Newton's working sets: which features and rows of an output are looked at, and their Gram matrix.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "layer/newton/newton.hpp"
#include "linalg/pick.hpp"

namespace nettrim::layer {
namespace {

constexpr Index kFewestAdded = 20;    // to a working set in a round; otherwise it doubles at most
constexpr Index kRowsPerFeature = 4;  // in use: as many rows may come at once
// Features in use for one that may come where its part of a Gram matrix is no estimate: what
// alternating directions leave looks better than it is.
constexpr Index kExactGrowth = 4;
constexpr double kSpare = 1.1;   // working features over those in use, before some leave
constexpr Index kSlackRows = 1;  // for each tight one, from which on some leave
constexpr double kFarFromUse = 0.7, kNearUse = 0.95;  // gradient over lambda
constexpr std::size_t kRoomForGrams = 80'000'000;     // bytes, or those of the program's arrays
// While working sets still grow, Gram matrices are estimated from so many active samples for each
// feature at the start, if that leaves out half of them; for so many rounds at most, and until a
// round adds no more than this share of what is in use.
constexpr Index kEstimateSamples = 8, kMostEstimated = 2;
constexpr double kSettled = 0.1;
// Rounds at one lambda; the share of the outputs that are few; and how far off the squared residual
// may be.
constexpr Index kMostRounds = 8;
constexpr std::size_t kFewOutputs = 2;
constexpr double kFarOff = 3;
// Outputs whose Gram matrices are completed together: bytes of what is fresh of them, and groups
// for each of several threads at least.
constexpr std::size_t kRoomForFresh = 40'000'000;
constexpr Index kGroupsPerThread = 4;

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

}  // namespace

template <class S>
void Newton<S>::begin_estimates() {
  if (precision_ != Precision::float32 || p_.regularisation) return;
  for (std::size_t m = 0; m < columns_.size(); ++m) {
    const auto features = static_cast<Index>(columns_[m].features().size());
    const Index enough = kEstimateSamples * std::max(features, kFewestAdded);
    const Index active = grams_.active_samples(static_cast<Index>(m));
    while (strides_[m] < kLargestStride && active > 2 * strides_[m] * enough) strides_[m] *= 2;
    estimates_grams_ = estimates_grams_ || strides_[m] > 1;
  }
  if (estimates_grams_) grams_.prepare_estimates();
}

template <class S>
double Newton<S>::in_use() const {
  Index sum = 0;
  for (const Column& column : columns_) sum += column.support_size() + column.tight_size();
  return static_cast<double>(sum);
}

// So much that lambda is to change first.
template <class S>
bool Newton<S>::misses_residual() const {
  if (!p_.constrained() || p_.level == 0) return false;
  double square = 0;
  for (const Column& column : columns_) square += column.squared_residual();
  return !(square < kFarOff * p_.level * p_.level && kFarOff * square > p_.level * p_.level);
}

// Outputs are solved at the present lambda, and those that were are looked at again while much is
// missing from working sets: what is missing tells more of the residual than lambda does. Where few
// outputs are left they are finished, for looking at them costs little. Looks in single precision
// are for Gram matrices of that kind: they lose what multipliers that run away have to come back
// to.
template <class S>
void Newton<S>::settle(double seen_at) {
  std::vector<Index> outputs(columns_.size());
  std::iota(outputs.begin(), outputs.end(), Index(0));
  for (Index round = 1;; ++round) {
    std::fill(has_grown_.begin(), has_grown_.end(), 0);
    const Index added = update_working_sets(outputs, seen_at);
    solve_columns();
    const bool unsettled = static_cast<double>(added) > kSettled * in_use();
    const bool estimated = estimates_grams_;
    estimates_grams_ = estimated && unsettled && round < kMostEstimated;
    outputs.clear();
    for (std::size_t m = 0; m < is_right_.size(); ++m) {
      if (unsettled ? !is_right_[m] : has_grown_[m] != 0) outputs.push_back(static_cast<Index>(m));
      is_right_[m] = 1;  // the others until lambda changes
    }
    const bool few = kFewOutputs * outputs.size() <= columns_.size();
    const bool goes_on =
        estimated || (unsettled && !misses_residual()) || (few && !outputs.empty());
    if (!goes_on || round >= kMostRounds || p_.regularisation || supervisor_.limit(0)) return;
    for (const Index output : outputs) write_back(output);
    look_at(outputs, unsettled && precision_ == Precision::float32);
    seen_at = dual_scale();
  }
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

template <class S>
Index Newton<S>::update_working_sets(const std::vector<Index>& outputs, double seen_at) {
  const ColumnTolerances enough = tolerances_after(slack_ ? 0 : last_change_);
  std::atomic<Index> added = 0;
  parallel_for_uneven(static_cast<Index>(outputs.size()), p_.threads, [&](Index k, int thread) {
    const Index output = outputs[static_cast<std::size_t>(k)];
    const Index count =
        update_working_set(output, seen_at, workspaces_[static_cast<std::size_t>(thread)]);
    added += count;
    has_grown_[static_cast<std::size_t>(output)] = count > 0;
    const auto& column = columns_[static_cast<std::size_t>(output)];
    is_right_[static_cast<std::size_t>(output)] = column.is_optimal(lambda_, enough);
  });
  return added;
}

// Outputs whose Gram matrices are completed together: as many as what is fresh of them has room,
// and all threads have some.
template <class S>
std::vector<std::vector<Index>> Newton<S>::groups_to_solve() const {
  const std::size_t room = kRoomForFresh / static_cast<std::size_t>(p_.threads);
  const Index groups_at_least = p_.threads > 1 ? kGroupsPerThread * p_.threads : 1;
  const Index most = (p_.n_outputs() + groups_at_least - 1) / groups_at_least;
  std::vector<std::vector<Index>> groups;
  std::size_t bytes = 0;
  for (Index output = 0; output < p_.n_outputs(); ++output) {
    if (is_right_[static_cast<std::size_t>(output)]) continue;
    const Column& column = columns_[static_cast<std::size_t>(output)];
    const std::size_t size = column.features().size();
    const std::size_t fresh = is_to_be_completed(output) ? size : size - column.gram_size();
    bytes += size * fresh * sizeof(double);
    if (groups.empty() || bytes > room || static_cast<Index>(groups.back().size()) == most) {
      groups.emplace_back();
      bytes = size * fresh * sizeof(double);
    }
    groups.back().push_back(output);
  }
  return groups;
}

// To what the last look found, at the dual scale of then. How many elements are new.
template <class S>
Index Newton<S>::update_working_set(Index output, double seen_at, ColumnWorkspace& work) {
  auto& column = columns_[static_cast<std::size_t>(output)];
  const Eigen::VectorXd gradient = evidence_.gradient.row(output) / -seen_at;
  const Eigen::VectorXd steepness = gradient.cwiseAbs().cwiseQuotient(p_.costs_of(output));
  shrink(output, steepness);
  const auto features = missing_features(column, steepness);
  const auto rows = missing_rows(column, excesses_[static_cast<std::size_t>(output)]);
  extend(output, features, rows);
  gather_values(column, work);
  column.refer(gradient(column.features()), evidence_.square[output] / (seen_at * seen_at), work);
  return static_cast<Index>(features.size() + rows.size());
}

// Rows and features that are far from use leave once they are many, features as lambda keeps them
// from it: Gram matrices are large. All features that are not near to use do before an estimate is
// completed.
template <class S>
void Newton<S>::shrink(Index output, const Eigen::VectorXd& steepness) {
  auto& column = columns_[static_cast<std::size_t>(output)];
  column.keep_slack_rows(std::max(kFewestAdded, kSlackRows * column.tight_size()));
  const auto size = static_cast<Index>(column.features().size());
  const bool is_dear = is_to_be_completed(output);
  const auto spare = static_cast<double>(column.support_size()) * kSpare;
  if (!is_dear && size <= static_cast<Index>(spare) + kFewestAdded) return;
  const double far = is_dear ? kNearUse : kFarFromUse;
  std::vector<Index> places;
  for (Index i = 0; i < size; ++i) {
    const Index j = column.features()[static_cast<std::size_t>(i)];
    if (column.uses(i) || steepness[j] > far * lambda_) places.push_back(i);
  }
  column.keep_features(places);
}

template <class S>
void Newton<S>::extend(Index output, const std::vector<Index>& features,
                       const std::vector<Index>& rows) {
  auto& column = columns_[static_cast<std::size_t>(output)];
  column.add_features(features, p_.costs_of(output)(features));
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

// Whether its Gram matrix is an estimate that is to become exact.
template <class S>
bool Newton<S>::is_to_be_completed(Index output) const {
  return !estimates_grams_ && strides_[static_cast<std::size_t>(output)] > 1;
}

// Of what is missing first, then of the samples that an estimate leaves out.
template <class S>
void Newton<S>::complete_grams(const std::vector<Index>& outputs) {
  std::vector<GramColumns> asked, left_out;
  for (const Index output : outputs) {
    const auto& column = columns_[static_cast<std::size_t>(output)];
    Index& stride = strides_[static_cast<std::size_t>(output)];
    const Index known = column.gram_size();
    if (is_to_be_completed(output) && known > 0) {
      left_out.push_back({output, &column.features(), 0, stride, &column.gram()});
    } else if (!estimates_grams_) {
      stride = 1;
    }
    if (known == static_cast<Index>(column.features().size())) continue;
    asked.push_back({output, &column.features(), known, stride});
  }
  grams_.fill(asked);
  for (const GramColumns& a : asked) {
    columns_[static_cast<std::size_t>(a.output)].add_gram(a.entries);
  }
  asked.clear();
  grams_.fill(left_out);
  for (const GramColumns& a : left_out) {
    columns_[static_cast<std::size_t>(a.output)].forget_gram();
    columns_[static_cast<std::size_t>(a.output)].add_gram(a.entries);
    strides_[static_cast<std::size_t>(a.output)] = 1;
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
    if (k + 1 < rows.size())
      fetch_ahead(&p_.given.X[rows[k + 1] * p_.n_features()], p_.n_features());
    double* const out = work.values.col(static_cast<Index>(k)).data();
    for (std::size_t i = 0; i < features.size(); ++i) {
      out[i] = double(p_.x_scale) * double(p_.X(rows[k], features[i]));
    }
  }
}

// The features with the steepest gradients, over their costs, of those that are worth them.
template <class S>
std::vector<Index> Newton<S>::missing_features(const Column& column,
                                               const Eigen::VectorXd& steepness) const {
  std::vector<std::pair<double, Index>> missing;
  const double least = lambda_ * (1 + tolerances_.gradient);
  for (Index j = 0; j < steepness.size(); ++j) {
    if (steepness[j] > least) missing.emplace_back(-steepness[j], j);
  }
  const Index most = column.support_size() / (estimates_grams_ ? 1 : kExactGrowth);
  return foremost(missing, column.features(), most);
}

template <class S>
std::vector<Index> Newton<S>::missing_rows(const Column& column,
                                           const std::vector<Excess>& excesses) const {
  std::vector<std::pair<double, Index>> missing;
  for (const Excess& e : excesses) missing.emplace_back(-double(e.size), e.sample);
  const Index most = std::max(column.tight_size(), column.support_size() / kRowsPerFeature);
  return foremost(missing, column.rows(), most);
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

#define NETTRIM_FOR(S)                                                           \
  template void Newton<S>::begin_estimates();                                    \
  template void Newton<S>::start_columns(const Matrix<S>&, const Matrix<S>&);    \
  template void Newton<S>::settle(double);                                       \
  template std::vector<std::vector<Index>> Newton<S>::groups_to_solve() const;   \
  template void Newton<S>::complete_grams(const std::vector<Index>&);            \
  template void Newton<S>::gather_values(const Column&, ColumnWorkspace&) const; \
  template void Newton<S>::share_room();                                         \
  template void Newton<S>::write_back(Index);
NETTRIM_FOR(float)
NETTRIM_FOR(double)
#undef NETTRIM_FOR

}  // namespace nettrim::layer
