// Factorisation K = L D L' of a symmetric quasidefinite matrix [H C'; C -E], H and E positive
// definite, whose rows come and go one at a time in any order: such a matrix can be factored
// without pivoting under every symmetric permutation (Vanderbei, 1995).
#pragma once

#include "nettrim/types.hpp"

namespace nettrim {

// Rows are numbered in the order of their arrival and keep their numbers; a removed one stays as an
// empty row, whose entries in a solution are zero, until the next reset.
class QuasidefiniteFactor {
 public:
  using Vector = Eigen::VectorXd;

  // Where to write the lower triangle of a new matrix. `room` is how many rows there may be before
  // the next one.
  Eigen::Block<Matrix<double>> prepare(Index size, Index room);
  // Factors what was written, of which the first `positive` rows are H. False if it is not
  // quasidefinite to working precision.
  bool factor(Index positive);
  // Adds a row: its entries in the rows so far (whatever in removed ones), its diagonal and sign.
  bool append(Eigen::Ref<Vector> entries, double diagonal, bool positive);
  // False if rounding spoils a pivot; then the matrix is to be factored anew.
  bool remove(Index row);

  Index size() const { return size_; }
  Index room() const { return room_; }
  void solve(Eigen::Ref<Vector> x) const;  // x of size()

 private:
  Index size_ = 0, room_ = 0;
  Matrix<double> packed_;  // L below the diagonal
  Vector d_;               // D; zero where removed
  Vector spike_;           // of an update
};

}  // namespace nettrim
