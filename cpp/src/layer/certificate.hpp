// The proof: what weights and a dual candidate, from whichever engine, say about a program.
#pragma once

#include <utility>
#include <vector>

#include "layer/program.hpp"

namespace nettrim::layer {

// In the units of the program. For G with G_inactive <= 0 and, per output, |X'g|_max <= 1
// (constrained) or <= penalty (penalised),
//   constrained: <G, target> - epsilon ||G_active||_F    <= optimum
//   penalised:   <G, target> - ||G_active||_F^2 / 4      <= optimum
// where |X'g| is over the costs; with groups, ||X_g'G||_F over the prices, which are the same scale
// for all outputs. Candidates are scaled per output until they qualify: `scale`,
// outputs. Sums are allowed for their rounding, so that the bound holds in exact arithmetic.
struct Certificate {
  double objective = 0, dual_bound = 0;
  double residual = 0, violation = 0;
  double dual_norm = 0;  // ||G_active||_F after scaling, with the rows that are not formed
  Eigen::VectorXd scale;

  double gap() const;
  bool finite() const;
};

// What a pass over the samples says about a candidate, summed in double.
struct Evidence {
  Matrix<double> gradient;             // outputs x features: (X'G)^T
  Eigen::VectorXd linear, square;      // per output: <g, target> and ||g_active||^2
  Eigen::VectorXd linear_size, size;   // per output: <|g|, |target|> and ||g||^2
  double residual = 0, violation = 0;  // squared, over the active entries; largest, elsewhere

  Evidence() = default;
  Evidence(Index outputs, Index features);
  void add(const Evidence& other);
};

// Adds the samples of `piece`: signal = XU there, dual = G there, both outputs x samples; and where
// there are slopes the rows that are not formed for their sake.
template <class S, class D>
void add_piece(const UnitProgram<S>& program, Range piece, const Matrix<double>& signal,
               const Matrix<D>& dual, const Eigen::VectorXd& slopes, Evidence& evidence);

// Evidence of so many outputs from all samples: examine(k, piece, evidence) adds piece k, on some
// thread.
template <class S, class Examine>
Evidence gather_evidence(const UnitProgram<S>& p, Index outputs, Examine&& examine) {
  std::vector<Evidence> parts(static_cast<std::size_t>(p.threads),
                              Evidence(outputs, p.n_features()));
  parallel_for(static_cast<Index>(p.samples.size()), p.threads, [&](Index k, int thread) {
    examine(k, p.samples[static_cast<std::size_t>(k)], parts[static_cast<std::size_t>(thread)]);
  });
  for (std::size_t t = 1; t < parts.size(); ++t) parts[0].add(parts[t]);
  return std::move(parts[0]);
}

template <class S, class Examine>
Evidence gather_evidence(const UnitProgram<S>& p, Examine&& examine) {
  return gather_evidence(p, p.n_outputs(), std::forward<Examine>(examine));
}

// Evidence of multipliers alone, beside zero weights; those of rows that are not formed are zero.
template <class S, class D>
Evidence evidence_of(const UnitProgram<S>& p, const Matrix<D>& dual) {
  return gather_evidence(p, [&](Index, Range piece, Evidence& mine) {
    const Matrix<double> no_signal = Matrix<double>::Zero(p.n_outputs(), piece.size);
    add_piece(p, piece, no_signal, dual, {}, mine);
  });
}

// Beside weights; slopes as in certify().
template <class S>
Evidence evidence_of(const UnitProgram<S>& p, const Matrix<S>& weights, const Matrix<S>& dual,
                     const Eigen::VectorXd& slopes);

// Bound on the rounding of (X'g)_j and of <g, target>, over |x_j| |g| and <|g|, |target|>.
template <class S>
double rounding_of_sums(const UnitProgram<S>& program);

// What the evidence of all samples, gathered with that dual, proves; norm is the program's of the
// weights.
template <class S>
Certificate conclude(const UnitProgram<S>& program, double norm, const Evidence& evidence,
                     const Matrix<S>& dual);

// weights: outputs x features, dual: outputs x samples with no positive inactive entry. slopes: of
// each output, of the multipliers of a regularisation's rows; empty for none. Everything is
// computed afresh and in double; costs two products.
template <class S>
Certificate certify(const UnitProgram<S>& program, const Matrix<S>& weights, const Matrix<S>& dual,
                    const Eigen::VectorXd& slopes = {});

}  // namespace nettrim::layer
