// Gram matrices X_f' D X_f + R of a few features f. Of each output D is diagonal: 1 for active
// samples, and for the others what they are drawn by. R is the diagonal of ridges.
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

 private:
  bool active(Index output, Index sample) const {
    return (bits_(sample / 64, output) >> (sample % 64)) & 1;
  }
  template <class G>
  void add_samples(Index output, bool active, const std::vector<Index>& features, Index known,
                   double sign, Matrix<double>& side) const;

  const UnitProgram<S>& p_;
  Precision kept_;
  Matrix<std::uint64_t> bits_;  // of the active entries, words x outputs
  std::vector<Index> counts_;
  double pull_ = 0;
  Matrix<double>
      whole_;  // X'X over all samples, where an output is mostly active or there is a pull
};

}  // namespace nettrim::layer
