#include "linalg/inverse.hpp"

#include <Eigen/Cholesky>

#include "linalg/product.hpp"

namespace nettrim {
namespace {

constexpr Index kSmall = 64;

template <class S>
using Part = Eigen::Ref<Matrix<S>>;

template <class S>
bool invert_small(Part<S> lower) {
  const Index n = lower.rows();
  const Eigen::LLT<Part<S>> factor(lower);
  if (factor.info() != Eigen::Success) return false;
  Matrix<S> half = Matrix<S>::Identity(n, n);
  lower.template triangularView<Eigen::Lower>().solveInPlace(half);
  lower.template triangularView<Eigen::Lower>().setZero();
  lower.template selfadjointView<Eigen::Lower>().rankUpdate(half.transpose());
  return true;
}

}  // namespace

// By halves, so that all but the smallest parts are matrix products: with S = C - B A^-1 B',
// [A B'; B C]^-1 = [A^-1 + T'S^-1 T, -T'S^-1; -S^-1 T, S^-1] and T = B A^-1.
template <class S>
bool invert(Part<S> lower, int threads) {
  const Index n = lower.rows(), half = n / 2;
  if (n <= kSmall) return invert_small<S>(lower);
  auto A = lower.topLeftCorner(half, half);
  auto B = lower.bottomLeftCorner(n - half, half);
  auto C = lower.bottomRightCorner(n - half, n - half);
  if (!invert<S>(A, threads)) return false;
  Matrix<S> whole = A.template selfadjointView<Eigen::Lower>();
  const Matrix<S> T = product(B, whole, threads);
  C.template triangularView<Eigen::Lower>() -= product(T, B.transpose(), threads);
  if (!invert<S>(C, threads)) return false;
  whole = C.template selfadjointView<Eigen::Lower>();
  B = -product(whole, T, threads);
  A.template triangularView<Eigen::Lower>() -= product(T.transpose(), B, threads);
  return true;
}

// (G + s V V')^-1 = A - A V (s + V'A V)^-1 V'A, and s + V'A V has the sign of s.
void update_inverse(Part<double> inverse, const Matrix<double>& V, double sign) {
  if (V.cols() == 0) return;
  if (V.cols() > V.rows()) {
    invert<double>(inverse);
    inverse.selfadjointView<Eigen::Lower>().rankUpdate(V, sign);
    invert<double>(inverse);
    return;
  }
  Matrix<double> image = inverse.selfadjointView<Eigen::Lower>() * V;
  Matrix<double> small = sign * (V.transpose() * image);
  small.diagonal().array() += 1;
  const Eigen::LLT<Part<double>> factor(small);
  small.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(image);
  inverse.selfadjointView<Eigen::Lower>().rankUpdate(image, -sign);
}

template bool invert<float>(Part<float>, int);
template bool invert<double>(Part<double>, int);

}  // namespace nettrim
