// Matrix products by a team of threads.
#pragma once

#include "linalg/parallel.hpp"

namespace nettrim {

constexpr Index kProductColumns = 128;  // of a piece: the left factor is packed once for each

// A B, each thread some columns of it.
template <class A, class B>
Matrix<typename A::Scalar> product(const Eigen::MatrixBase<A>& a, const Eigen::MatrixBase<B>& b,
                                   int threads) {
  Matrix<typename A::Scalar> result(a.rows(), b.cols());
  parallel_over(cut(b.cols(), kProductColumns, threads), threads, [&](Range r, int) {
    result.middleCols(r.begin, r.size).noalias() = a * b.middleCols(r.begin, r.size);
  });
  return result;
}

}  // namespace nettrim
