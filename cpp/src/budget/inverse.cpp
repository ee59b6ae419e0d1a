#include "budget/inverse.hpp"

#include <Eigen/Cholesky>

namespace nettrim::budget {
namespace {

constexpr Index kSmall = 64;

using Part = Eigen::Ref<Matrix<double>>;

void invert_small(Part lower) {
  const Index n = lower.rows();
  const Eigen::LLT<Part> factor(lower);
  Matrix<double> half = Matrix<double>::Identity(n, n);
  lower.triangularView<Eigen::Lower>().solveInPlace(half);
  lower.triangularView<Eigen::Lower>().setZero();
  lower.selfadjointView<Eigen::Lower>().rankUpdate(half.transpose());
}

}  // namespace

// By halves, so that all but the smallest parts are matrix products: with S = C - B A^-1 B',
// [A B'; B C]^-1 = [A^-1 + T'S^-1 T, -T'S^-1; -S^-1 T, S^-1] and T = B A^-1.
void invert(Part lower) {
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
void update(Part inverse, const Matrix<double>& V, double sign) {
  if (V.cols() == 0) return;
  if (V.cols() > V.rows()) {
    invert(inverse);
    inverse.selfadjointView<Eigen::Lower>().rankUpdate(V, sign);
    invert(inverse);
    return;
  }
  Matrix<double> image = inverse.selfadjointView<Eigen::Lower>() * V;
  Matrix<double> small = sign * (V.transpose() * image);
  small.diagonal().array() += 1;
  const Eigen::LLT<Part> factor(small);
  small.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(image);
  inverse.selfadjointView<Eigen::Lower>().rankUpdate(image, -sign);
}

}  // namespace nettrim::budget
