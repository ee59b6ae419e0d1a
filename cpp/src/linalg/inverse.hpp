// Inverses of symmetric positive definite matrices, by their lower triangles throughout.
#pragma once

#include "linalg/product.hpp"

namespace nettrim {

// For well-conditioned matrices only: multiplying by it runs twice as fast as triangular solves.
Matrix<double> inverse_of_definite(const Matrix<double>& lower, int threads);

// The lower triangle of an inverse takes the place of the matrix's; false where that is not
// definite as far as its precision can tell.
template <class S>
bool invert(Part<S> lower, int threads = 1);

// From the inverse of G to that of G + sign V V'.
template <class S>
void update_inverse(Part<S> inverse, const Matrix<S>& V, S sign);
// The same where the inverse of G times V is known; V has no more columns than rows.
template <class S>
void update_inverse(Part<S> inverse, const Matrix<S>& V, Matrix<S> image, S sign);

}  // namespace nettrim
