// What newton sees of all samples at the end of a round, and says of it.
#include <numeric>

#include "layer/newton/newton.hpp"
#include "linalg/sparse.hpp"

namespace nettrim::layer {
namespace {

constexpr Index kRaysApart = 4;  // rounds between looks for a proof of infeasibility

// What a look sees of one sample and of some outputs, and where it leaves what it finds.
template <class S, class G>
struct OneSample {
  Index outputs;
  const G* signals;
  S* dual;         // of all outputs
  G* multipliers;  // of these, as they are now
  double* squares;
  double* over;  // the bound, where there is one
};

// Multipliers of active entries from what they leave over. A function of its own, for in the loops
// around it too much may alias for the compiler to take several outputs at once.
template <class Entries, class Outputs, class S, class G>
void push(Entries entry, Outputs output_at, double scale, Index first, OneSample<S, G> sample) {
#pragma omp simd
  for (Index m = 0; m < sample.outputs; ++m) {
    const Index output = output_at(m);
    const bool active = entry.active(first + output);
    const double excess = double(sample.signals[m]) - double(entry.target(first + output));
    const double pushed = active ? scale * excess : 0;
    const S before = sample.dual[output];
    const S multiplier = active ? static_cast<S>(-pushed) : before;
    sample.dual[output] = multiplier;
    sample.multipliers[m] = static_cast<G>(multiplier);
    sample.squares[m] += pushed * pushed;
    sample.over[m] = active ? 0 : excess;
  }
}

}  // namespace

// In single precision while Gram matrices are estimated: what is wrong is far more then.
template <class S>
void Newton<S>::look_at_all_samples(bool roughly) {
  saw_roughly_ = roughly;
  std::vector<Index> outputs(columns_.size());
  std::iota(outputs.begin(), outputs.end(), Index(0));
  look_at(outputs, roughly);
}

template <class S>
void Newton<S>::look_at(const std::vector<Index>& outputs, bool roughly) {
  if (roughly) {
    look<float>(outputs);
  } else {
    look<double>(outputs);
  }
}

// Signals and gradients of these outputs at once; entries over their bound are remembered. In
// double precision and of all of them, what a certificate asks for.
template <class S>
template <class G>
void Newton<S>::look(const std::vector<Index>& outputs) {
  const auto count = static_cast<Index>(outputs.size());
  const bool certifies = std::is_same_v<G, double> && count == p_.n_outputs();
  const Matrix<G> W = weights_(outputs, Eigen::all).template cast<G>();
  const double scale = dual_scale();
  const Eigen::VectorXd slopes = Eigen::VectorXd::Constant(count, scale);
  std::vector<std::vector<std::pair<std::int32_t, Excess>>> found(p_.samples.size());
  Evidence evidence = gather_evidence(p_, count, [&](Index k, Range piece, Evidence& mine) {
    Matrix<G> X(p_.n_features(), piece.size);
    p_.write_X(piece, X);
    Matrix<G> signal = Matrix<G>::Zero(count, piece.size);
    add_product_with_samples(W, X, signal);
    Matrix<G> multipliers(count, piece.size);
    Eigen::VectorXd squares = Eigen::VectorXd::Zero(count), over(count);
    const auto examine = [&](auto entry, auto output_at) {
      for (Index j = 0; j < piece.size; ++j) {
        const Index sample = piece.begin + j;
        push(entry, output_at, scale, sample * p_.n_outputs(),
             OneSample<S, G>{count, signal.col(j).data(), dual_.col(sample).data(),
                             multipliers.col(j).data(), squares.data(), over.data()});
        for (Index m = 0; m < count; ++m) {
          if (!(over[m] > tolerances_.row)) continue;  // nor what is not a number
          found[static_cast<std::size_t>(k)].push_back(
              {static_cast<std::int32_t>(output_at(m)),
               {static_cast<float>(over[m]), static_cast<std::int32_t>(sample)}});
        }
      }
    };
    p_.with_entries([&](auto entry) {
      if (count == p_.n_outputs()) {
        examine(entry, [](Index m) { return m; });
      } else {
        examine(entry, [places = outputs.data()](Index m) { return places[m]; });
      }
    });
    if constexpr (std::is_same_v<G, double>) {
      if (certifies) return add_piece(p_, piece, signal, dual_, slopes, mine);
    }
    mine.square += squares;
    Matrix<G> gradient = Matrix<G>::Zero(count, p_.n_features());
    add_product_with_features(multipliers, X, gradient);
    mine.gradient += gradient.template cast<double>();
  });
  if (p_.regularisation) add_ridge_rows(p_, weights_, slopes, evidence);
  take(outputs, std::move(evidence));
  for (const Index output : outputs) excesses_[static_cast<std::size_t>(output)] = {};
  for (auto& list : found) {
    for (const auto& [output, excess] : list) {
      excesses_[static_cast<std::size_t>(output)].push_back(excess);
    }
    list = {};
  }
}

// What was seen of these outputs, in the place of what was.
template <class S>
void Newton<S>::take(const std::vector<Index>& outputs, Evidence&& seen) {
  if (seen.square.size() == p_.n_outputs()) {
    evidence_ = std::move(seen);
    return;
  }
  evidence_.gradient(outputs, Eigen::all) = seen.gradient;
  evidence_.square(outputs) = seen.square;
}

template <class S>
void Newton<S>::report(EngineResult<S>& a) const {
  a.weights = weights_.template cast<S>();
  a.dual = dual_;
  if (p_.regularisation) a.slopes.setConstant(p_.n_outputs(), dual_scale());
  if constexpr (std::is_same_v<S, double>) {
    if (!saw_roughly_) {
      a.certificate = conclude(p_, p_.norm_of(weights_), evidence_, dual_);
      return;
    }
  }
  a.certificate = certify(p_, a.weights, a.dual, a.slopes);
}

template <class S>
const Matrix<S>* Newton<S>::ray(const EngineResult<S>&) {
  return ++looks_for_ray_ % kRaysApart == 0 ? &dual_ : nullptr;
}

#define NETTRIM_FOR(S)                                               \
  template void Newton<S>::look_at_all_samples(bool);                \
  template void Newton<S>::look_at(const std::vector<Index>&, bool); \
  template void Newton<S>::report(EngineResult<S>&) const;           \
  template const Matrix<S>* Newton<S>::ray(const EngineResult<S>&);
NETTRIM_FOR(float)
NETTRIM_FOR(double)
#undef NETTRIM_FOR

}  // namespace nettrim::layer
