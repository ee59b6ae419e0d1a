// Products that several threads share, each some columns of the result.
#pragma once

#include "linalg/parallel.hpp"
#include "linalg/product.hpp"

namespace nettrim {

constexpr Index kProductColumns = 64;  // of a thread's piece

// out += factor A B
template <class Left, class Right, class Out>
void add_product_by(int threads, const Left& A, const Right& B, Out&& out,
                    typename Left::Scalar factor) {
  parallel_over(cut(B.cols(), kProductColumns, threads), threads, [&](Range r, int) {
    add_product(A, B.middleCols(r.begin, r.size), out.middleCols(r.begin, r.size), factor);
  });
}

// The same for a symmetric product, of which the lower triangle is needed.
template <class Left, class Right, class Out>
void add_lower_product_by(int threads, const Left& A, const Right& B, Out&& out,
                          typename Left::Scalar factor) {
  parallel_over(cut(B.cols(), kProductColumns, threads), threads, [&](Range r, int) {
    const Index rows = A.rows() - r.begin;
    add_product(A.bottomRows(rows), B.middleCols(r.begin, r.size),
                out.block(r.begin, r.begin, rows, r.size), factor);
  });
}

}  // namespace nettrim
