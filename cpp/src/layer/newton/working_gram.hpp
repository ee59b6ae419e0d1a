// Gram matrices X_f' D X_f of a few features f, one diagonal D of active samples for each output.
#pragma once

#include <cstdint>
#include <vector>

#include "layer/program.hpp"
#include "linalg/packed.hpp"

namespace nettrim::layer {

template <class S>
class WorkingGram {
 public:
  // kept: the precision in which they are going to be kept.
  WorkingGram(const UnitProgram<S>& program, Precision kept);

  Index active_samples(Index output) const { return counts_[static_cast<std::size_t>(output)]; }

  // Columns from `known` on of the Gram matrix of `features`: features x (features - known).
  Matrix<double> columns(Index output, const std::vector<Index>& features, Index known) const;

  // The same from one in `stride` of the active samples, as if it stood for all of them. No
  // diagonal entry is below the exact one: features that the few samples miss do not look free.
  Matrix<double> estimated_columns(Index output, const std::vector<Index>& features, Index known,
                                   Index stride) const;
  void prepare_estimates();

 private:
  bool active(Index output, Index sample) const {
    return (bits_(sample / 64, output) >> (sample % 64)) & 1;
  }
  template <class G>
  void add_samples(Index output, bool active, const std::vector<Index>& features, Index known,
                   double sign, Index stride, Matrix<double>& side) const;

  const UnitProgram<S>& p_;
  Precision kept_;
  Matrix<std::uint64_t> bits_;  // of the active entries, words x outputs
  std::vector<Index> counts_;
  Matrix<double> squares_;  // sums of squares over active samples, outputs x features; for estimates
  Matrix<double> whole_;  // X'X over all samples, where some output is mostly active
};

}  // namespace nettrim::layer
