// The least-squares half of ADMM: the consistent pair (signal = XU, weights = U) nearest to a state
// in the metric ||signal||^2 + sum_j proximal_j ||weights_j||^2, one proximal weight for each
// feature. One factorisation serves every iteration.
#pragma once

#include <memory>
#include <vector>

#include "layer/program.hpp"

namespace nettrim::layer {

// Matrices are outputs x samples (signals) and outputs x features (weights).
template <class S>
struct Pair {
  Matrix<S> signal, weights;
};

// Work that rides along while a piece of samples is in cache.
class PieceWork {
 public:
  virtual ~PieceWork() = default;
  virtual void before(Index piece) = 0;  // the state of this piece is about to be read
  virtual void after(Index piece) = 0;   // the projected signal of this piece has been written
};

template <class S>
class Projection {
 public:
  virtual ~Projection() = default;
  virtual void apply(const Pair<S>& state, Pair<S>& nearest, PieceWork& work) = 0;
};

// Chooses by shape: features x features, or samples x samples where those are fewer.
template <class S>
std::unique_ptr<Projection<S>> make_projection(const UnitProgram<S>& program,
                                               const Eigen::VectorXd& proximal_weights);

}  // namespace nettrim::layer
