// A program on some of the samples: what answers it is near the answer on all of them, and costs
// little where there are many.
#pragma once

#include <vector>

#include "layer/search.hpp"

namespace nettrim::layer {

// The whole must outlive it.
template <class S>
class SampledProgram {
 public:
  // `count` samples, one of each of as many equal parts of the whole. Epsilon has its share of the
  // outputs' norm, a penalty that of the samples.
  SampledProgram(const UnitProgram<S>& whole, Index count);
  SampledProgram(const SampledProgram&) = delete;
  SampledProgram& operator=(const SampledProgram&) = delete;

  const UnitProgram<S>& program() const { return program_; }

  // Weights and multipliers to begin with on the whole.
  void extend(const EngineResult<S>& answer, EngineResult<S>& start) const;

 private:
  const UnitProgram<S>& whole_;
  std::vector<Index> samples_;
  Matrix<S> X_, Y_, upper_;
  Matrix<bool> active_;
  UnitProgram<S> program_;
};

}  // namespace nettrim::layer
