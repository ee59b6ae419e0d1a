#include "linalg/inverse.hpp"

#include "linalg/cholesky.hpp"
#include "linalg/product_by.hpp"

namespace nettrim {
namespace {

constexpr Index kSmall = 64;

// In double precision, whatever is asked for: it costs next to nothing.
template <class S>
bool invert_small(Part<S> lower) {
  Matrix<double> L = lower.template cast<double>();
  if (!cholesky(L)) return false;
  Matrix<double> half = Matrix<double>::Identity(L.rows(), L.cols());
  solve_from_left(L, half);
  L.setZero();
  add_gram(half.transpose(), L);
  lower.template triangularView<Eigen::Lower>() = L.cast<S>();
  return true;
}

template <class S>
Matrix<S> whole(const Part<S>& lower) {
  return lower.template selfadjointView<Eigen::Lower>();
}

}  // namespace

Matrix<double> inverse_of_definite(const Matrix<double>& lower, int threads) {
  Matrix<double> inverse = lower;
  invert<double>(inverse, threads);
  return whole<double>(inverse);
}

// By halves, so that all but the smallest parts are matrix products: with S = C - B A^-1 B',
// [A B'; B C]^-1 = [A^-1 + T'S^-1 T, -T'S^-1; -S^-1 T, S^-1] and T = B A^-1. The upper triangles
// of A and C are free for anything.
template <class S>
bool invert(Part<S> lower, int threads) {
  const Index n = lower.rows(), half = n / 2;
  if (n == 0) return true;
  if (n <= kSmall) return invert_small<S>(lower);
  auto A = lower.topLeftCorner(half, half);
  auto B = lower.bottomLeftCorner(n - half, half);
  auto C = lower.bottomRightCorner(n - half, n - half);
  if (!invert<S>(A, threads)) return false;
  Matrix<S> T = Matrix<S>::Zero(n - half, half);
  add_product_by(threads, B, whole<S>(A), T, S(1));
  const Matrix<S> transposed = T.transpose();
  add_lower_product_by(threads, B, transposed, C, S(-1));
  if (!invert<S>(C, threads)) return false;
  B.setZero();
  add_product_by(threads, whole<S>(C), T, B, S(-1));
  add_lower_product_by(threads, transposed, B, A, S(-1));
  return true;
}

template <class S>
void update_inverse(Part<S> inverse, const Matrix<S>& V, S sign) {
  if (V.cols() == 0) return;
  if (V.cols() > V.rows()) {
    invert<S>(inverse);
    add_gram(V, inverse, sign);
    invert<S>(inverse);
    return;
  }
  update_inverse<S>(inverse, V, inverse.template selfadjointView<Eigen::Lower>() * V, sign);
}

// (G + s V V')^-1 = A - A V (s + V'A V)^-1 V'A, and s + V'A V has the sign of s.
template <class S>
void update_inverse(Part<S> inverse, const Matrix<S>& V, Matrix<S> image, S sign) {
  Matrix<S> small = Matrix<S>::Identity(V.cols(), V.cols());
  add_lower_product_by(1, V.transpose(), image, small, sign);
  cholesky(small);
  solve_from_right(small, image);
  add_gram(image, inverse, -sign);
}

template bool invert<float>(Part<float>, int);
template bool invert<double>(Part<double>, int);
template void update_inverse(Part<float>, const Matrix<float>&, float);
template void update_inverse(Part<double>, const Matrix<double>&, double);
template void update_inverse(Part<float>, const Matrix<float>&, Matrix<float>, float);
template void update_inverse(Part<double>, const Matrix<double>&, Matrix<double>, double);

}  // namespace nettrim
