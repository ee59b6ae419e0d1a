// Cholesky factors of symmetric positive definite matrices, and what is solved with them.
#pragma once

#include "linalg/product.hpp"

namespace nettrim {

// Puts L of L L' in the place of the lower triangle; false where a pivot is not positive.
bool cholesky(Part<double> lower);
bool cholesky(Part<float> lower);
// The same of a symmetric quasidefinite matrix, whose rows after the first `positive` have negative
// pivots: L of L S L', S being 1 for the first rows and -1 for the others.
bool cholesky(Part<double> lower, Index positive);
bool cholesky(Part<float> lower, Index positive);

// X becomes L^-1 X
void solve_from_left(const ConstPart<double>& L, Part<double> X);
void solve_from_left(const ConstPart<float>& L, Part<float> X);
// X becomes X L'^-1
void solve_from_right(const ConstPart<double>& L, Part<double> X);
void solve_from_right(const ConstPart<float>& L, Part<float> X);

// x of L L' x = right
Eigen::VectorXd solve_factored(const ConstPart<double>& L, const Eigen::VectorXd& right);

}  // namespace nettrim
