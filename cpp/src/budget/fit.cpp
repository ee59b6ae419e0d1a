#include <algorithm>
#include <cmath>

#include "budget/stop.hpp"
#include "budget/support.hpp"
#include "linalg/freed_memory.hpp"
#include "linalg/parallel.hpp"

namespace nettrim::budget {
namespace {

constexpr double kFirstShare = 0.005;  // of the weights that change places in the first round
constexpr double kMargin = 1.05;       // a swap must promise more than it costs
constexpr double kWorthwhile = 1e-5;   // relative decrease of a round that is kept
constexpr Index kTogether = 16;        // outputs whose absent weights are looked at together

struct Swap {
  Index output, feature;
  double value;
};

using Masks = std::vector<std::vector<bool>>;  // by output, of features

// All outputs on their supports.
class LayerFit {
 public:
  LayerFit(const BudgetProgram& program, const bool* keep, const BudgetOptions& options)
      : program_(program),
        keep_(keep),
        options_(options),
        stop_(options),
        gram_(stop_.is_late() ? BudgetGram(program, 0.0)
                              : BudgetGram(program, 0.0, options.n_threads)) {
    for (Index j = 0; j < program.outputs; ++j) outputs_.emplace_back(program, gram_, j);
  }

  void fit(const Masks& masks) {
    std::vector<Index> all(outputs_.size());
    for (std::size_t j = 0; j < all.size(); ++j) all[j] = static_cast<Index>(j);
    masks_ = masks;
    each(all, [&](Index j) {
      if (stop_.is_late()) {
        output(j).take(features(masks_, j));
      } else {
        output(j).fit(features(masks_, j));
      }
    });
    worths_.resize(outputs_.size());
    stale_ = std::move(all);
  }

  // Exchanges weights while that pays; returns how many.
  Index swap(Index rounds) {
    Index swaps = 0;
    double share = kFirstShare;
    for (Index round = 0; round < rounds && !is_over(); ++round) {
      look_at_worths();
      if (is_over()) break;
      const auto [cheap, good] = pairs(share);
      if (cheap.empty()) break;
      if (try_swaps(cheap, good)) {
        swaps += static_cast<Index>(cheap.size());
        share *= 2;
      } else if (cheap.size() == 1) {
        break;
      } else {
        share = static_cast<double>(cheap.size()) / (4.0 * static_cast<double>(nonzeros()));
      }
    }
    return swaps;
  }

  BudgetFit result(Index swaps) const {
    BudgetFit fit;
    fit.weights.resize(program_.features, program_.outputs);
    for (Index j = 0; j < program_.outputs; ++j) {
      fit.weights.col(j) = outputs_[static_cast<std::size_t>(j)].weights();
    }
    fit.loss = loss();
    fit.swaps = swaps;
    fit.complete = !stop_.is_set();
    return fit;
  }

 private:
  Support& output(Index j) { return outputs_[static_cast<std::size_t>(j)]; }

  static Features features(const Masks& masks, Index j) {
    const auto& mask = masks[static_cast<std::size_t>(j)];
    Features result;
    for (std::size_t i = 0; i < mask.size(); ++i) {
      if (mask[i]) result.push_back(static_cast<Index>(i));
    }
    return result;
  }

  // Of the outputs that have changed, a few at a time, so that sums over samples are products.
  void look_at_worths() {
    const auto batches = cut(static_cast<Index>(stale_.size()), kTogether, 1);
    parallel_for_uneven(static_cast<Index>(batches.size()), options_.n_threads,
                        [&](Index k, int thread) {
                          if (!stop_.poll(thread) && !stop_.is_late()) {
                            look_at_worths_of(batches[static_cast<std::size_t>(k)]);
                          }
                        });
    stale_.clear();
  }

  void look_at_worths_of(Range some) {
    Matrix<double> residuals(program_.samples, some.size), rows(program_.samples, some.size);
    for (Index k = 0; k < some.size; ++k) {
      const Support& one = output(stale_[static_cast<std::size_t>(some.begin + k)]);
      residuals.col(k) = one.residual();
      rows.col(k) = one.row_weights();
    }
    const auto sums = in_precision_for(
        program_.features, [&](auto zero) { return gram_.sums<decltype(zero)>(residuals, rows); });
    for (Index k = 0; k < some.size; ++k) {
      const Index j = stale_[static_cast<std::size_t>(some.begin + k)];
      worths_[static_cast<std::size_t>(j)] =
          output(j).worth(sums.slopes.col(k), sums.squares.col(k));
    }
  }

  template <class Body>
  void each(const std::vector<Index>& outputs, Body&& body) {
    parallel_for_uneven(static_cast<Index>(outputs.size()), options_.n_threads,
                        [&](Index k, int thread) {
                          if (!stop_.poll(thread)) body(outputs[static_cast<std::size_t>(k)]);
                        });
  }

  template <class Body>
  void each_in_time(const std::vector<Index>& outputs, Body&& body) {
    each(outputs, [&](Index j) {
      if (!stop_.is_late()) body(j);
    });
  }

  bool is_over() const { return stop_.is_set() || stop_.is_late(); }

  double loss() const {
    double total = 0;
    for (const Support& one : outputs_) total += one.loss();
    return total;
  }

  Index nonzeros() const {
    Index count = 0;
    for (const auto& mask : masks_) count += std::count(mask.begin(), mask.end(), true);
    return count;
  }

  bool may_go(Index feature) const { return !keep_ || !keep_[feature]; }

  // The cheapest weights against the absent ones that gain most, as long as that promises to pay.
  std::pair<std::vector<Swap>, std::vector<Swap>> pairs(double share) const {
    std::vector<Swap> cheap, good;
    for (Index j = 0; j < program_.outputs; ++j) {
      const auto& worth = worths_[static_cast<std::size_t>(j)];
      for (Index i = 0; i < program_.features; ++i) {
        if (!may_go(i)) continue;
        if (masks_[static_cast<std::size_t>(j)][static_cast<std::size_t>(i)]) {
          cheap.push_back({j, i, worth.cost[i]});
        } else {
          good.push_back({j, i, worth.gain[i]});
        }
      }
    }
    std::stable_sort(cheap.begin(), cheap.end(),
                     [](const Swap& a, const Swap& b) { return a.value < b.value; });
    std::stable_sort(good.begin(), good.end(),
                     [](const Swap& a, const Swap& b) { return a.value > b.value; });
    const auto most = static_cast<std::size_t>(share * static_cast<double>(nonzeros())) + 1;
    std::size_t count = 0;
    while (count < std::min({most, cheap.size(), good.size()}) &&
           good[count].value > kMargin * cheap[count].value) {
      ++count;
    }
    cheap.resize(count);
    good.resize(count);
    return {std::move(cheap), std::move(good)};
  }

  bool try_swaps(const std::vector<Swap>& cheap, const std::vector<Swap>& good) {
    Masks masks = masks_;
    std::vector<bool> touched(outputs_.size(), false);
    for (const auto* list : {&cheap, &good}) {
      for (const Swap& s : *list) {
        masks[static_cast<std::size_t>(s.output)][static_cast<std::size_t>(s.feature)].flip();
        touched[static_cast<std::size_t>(s.output)] = true;
      }
    }
    std::vector<Index> changed;
    for (std::size_t j = 0; j < touched.size(); ++j) {
      if (touched[j]) changed.push_back(static_cast<Index>(j));
    }
    std::vector<Support> before;
    for (const Index j : changed) before.push_back(output(j));
    const double old_loss = loss();
    each_in_time(changed, [&](Index j) { output(j).fit(features(masks, j)); });
    if (!is_over() && loss() < (1 - kWorthwhile) * old_loss) {
      masks_ = std::move(masks);
      stale_ = std::move(changed);
      return true;
    }
    for (std::size_t k = 0; k < changed.size(); ++k) output(changed[k]) = before[k];
    return false;
  }

  const BudgetProgram& program_;
  const bool* keep_;
  const BudgetOptions& options_;
  StopFlag stop_;
  BudgetGram gram_;
  std::vector<Support> outputs_;
  std::vector<SwapValue> worths_;
  Masks masks_;
  std::vector<Index> stale_;  // outputs whose worth is not known
};

}  // namespace
}  // namespace nettrim::budget

namespace nettrim {

BudgetFit fit_support(const BudgetProgram& program, const bool* support, Index rounds,
                      const bool* keep, const BudgetOptions& options) {
  using namespace budget;
  Masks masks(static_cast<std::size_t>(program.outputs));
  for (Index j = 0; j < program.outputs; ++j) {
    const bool* column = support + j * program.features;
    masks[static_cast<std::size_t>(j)].assign(column, column + program.features);
  }
  keep_freed_memory(kMostKept);
  LayerFit layer(program, keep, options);
  layer.fit(masks);
  return layer.result(layer.swap(rounds));
}

}  // namespace nettrim
