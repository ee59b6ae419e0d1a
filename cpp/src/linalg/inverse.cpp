#include "linalg/inverse.hpp"

#include "linalg/cholesky.hpp"
#include "linalg/parallel.hpp"

namespace nettrim {
namespace {

constexpr Index kSmall = 64;

void invert_small(Part<double> lower) {
  const Index n = lower.rows();
  cholesky(lower);
  Matrix<double> half = Matrix<double>::Identity(n, n);
  solve_from_left(lower, half);
  lower.triangularView<Eigen::Lower>().setZero();
  add_gram(half.transpose(), lower);
}

}  // namespace

Matrix<double> inverse_of_definite(const Matrix<double>& lower, int threads) {
  Matrix<double> L = lower;
  cholesky(L);
  Matrix<double> inverse = Matrix<double>::Identity(L.rows(), L.cols());
  const auto columns = cut(L.cols(), 128, threads);
  parallel_for(static_cast<Index>(columns.size()), threads, [&](Index k, int) {
    const Range r = columns[static_cast<std::size_t>(k)];
    auto block = inverse.middleCols(r.begin, r.size);
    solve_from_left(L, block);
    L.triangularView<Eigen::Lower>().transpose().solveInPlace(block);
  });
  return inverse;
}

// By halves, so that all but the smallest parts are matrix products: with S = C - B A^-1 B',
// [A B'; B C]^-1 = [A^-1 + T'S^-1 T, -T'S^-1; -S^-1 T, S^-1] and T = B A^-1.
void invert(Part<double> lower) {
  const Index n = lower.rows(), half = n / 2;
  if (n <= kSmall) return invert_small(lower);
  auto A = lower.topLeftCorner(half, half);
  auto B = lower.bottomLeftCorner(n - half, half);
  auto C = lower.bottomRightCorner(n - half, n - half);
  invert(A);
  const Matrix<double> T = B * A.selfadjointView<Eigen::Lower>();
  C.triangularView<Eigen::Lower>() -= T * B.transpose();
  invert(C);
  B.noalias() = C.selfadjointView<Eigen::Lower>() * (-T);
  A.triangularView<Eigen::Lower>() -= T.transpose() * B;
}

// (G + s V V')^-1 = A - A V (s + V'A V)^-1 V'A, and s + V'A V has the sign of s.
void update_inverse(Part<double> inverse, const Matrix<double>& V, double sign) {
  if (V.cols() == 0) return;
  if (V.cols() > V.rows()) {
    invert(inverse);
    add_gram(V, inverse, sign);
    invert(inverse);
    return;
  }
  Matrix<double> image = inverse.selfadjointView<Eigen::Lower>() * V;
  Matrix<double> small = Matrix<double>::Identity(V.cols(), V.cols());
  add_product(V.transpose(), image, small, sign);
  cholesky(small);
  solve_from_right(small, image);
  add_gram(image, inverse, -sign);
}

}  // namespace nettrim
