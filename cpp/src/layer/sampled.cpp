#include "layer/sampled.hpp"

#include <cmath>
#include <random>

namespace nettrim::layer {
namespace {

// One of each of `count` equal parts, at a place that looks random: data may be periodic.
std::vector<Index> spread(Index n, Index count) {
  std::minstd_rand place;
  std::vector<Index> chosen;
  for (Index k = 0; k < count; ++k) {
    const Index begin = n * k / count, size = n * (k + 1) / count - begin;
    chosen.push_back(begin + static_cast<Index>(place()) % size);
  }
  return chosen;
}

template <class T>
Matrix<T> chosen_columns(const T* values, Index rows, const std::vector<Index>& chosen) {
  if (values == nullptr) return {};
  Matrix<T> out(rows, static_cast<Index>(chosen.size()));
  for (std::size_t k = 0; k < chosen.size(); ++k) {
    std::copy_n(values + chosen[k] * rows, rows, out.col(static_cast<Index>(k)).data());
  }
  return out;
}

template <class T>
const T* data_or_null(const Matrix<T>& values) {
  return values.size() > 0 ? values.data() : nullptr;
}

}  // namespace

// In the caller's units: the sample has scales of its own.
template <class S>
SampledProgram<S>::SampledProgram(const UnitProgram<S>& whole, Index count)
    : whole_(whole),
      samples_(spread(whole.n_samples(), count)),
      X_(chosen_columns(whole.given.X, whole.n_features(), samples_)),
      Y_(chosen_columns(whole.given.Y, whole.n_outputs(), samples_)),
      upper_(chosen_columns(whole.given.upper, whole.n_outputs(), samples_)),
      active_(chosen_columns(whole.given.active, whole.n_outputs(), samples_)) {
  LayerProgram<S> given = whole.given;
  given.samples = count;
  given.X = X_.data();
  given.Y = Y_.data();
  given.upper = data_or_null(upper_);
  given.active = data_or_null(active_);
  program_ = to_unit_size(given, whole.threads);
  const double outputs = whole.total > 0 ? program_.total * program_.signal_unit() /
                                               (whole.total * whole.signal_unit())
                                         : 1;
  const double samples = static_cast<double>(count) / static_cast<double>(whole.n_samples());
  program_.set_level(given.level * (whole.constrained() ? outputs : samples));
}

// Where the ball binds, active multipliers are as the residual over the square of the samples'
// share: on the samples they are too large by the root of their share for the norm of all.
template <class S>
void SampledProgram<S>::extend(const EngineResult<S>& answer, EngineResult<S>& start) const {
  start.weights = whole_.unit_weights(program_.given_weights(answer.weights));
  start.dual.setZero(whole_.n_outputs(), whole_.n_samples());
  const double unit = program_.dual_unit() / whole_.dual_unit();
  const double share =
      static_cast<double>(program_.n_samples()) / static_cast<double>(whole_.n_samples());
  const auto active_unit = static_cast<S>(whole_.constrained() ? unit * std::sqrt(share) : unit);
  const auto row_unit = static_cast<S>(whole_.constrained() ? unit : unit / share);
  program_.with_entries([&](auto entry) {
    for (Index k = 0, i = 0; k < answer.dual.cols(); ++k) {
      const Index sample = samples_[static_cast<std::size_t>(k)];
      for (Index m = 0; m < answer.dual.rows(); ++m, ++i) {
        start.dual(m, sample) = answer.dual(m, k) * (entry(i).active ? active_unit : row_unit);
      }
    }
  });
}

template class SampledProgram<float>;
template class SampledProgram<double>;

}  // namespace nettrim::layer
