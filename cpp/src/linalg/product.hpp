// Products of dense matrices, compiled once: Eigen's are templates, which take the compiler a
// second or more for every new combination of operands.
#pragma once

#include "nettrim/types.hpp"

namespace nettrim {

// A matrix or a block of one, where it lies; with Order RowMajor, the transpose of one.
template <class S>
using Part = Eigen::Ref<Matrix<S>>;
template <class S, int Order = Eigen::ColMajor>
using ConstPart = Eigen::Ref<const Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic, Order>>;

namespace compiled {

template <class S, int Left, int Right>
void add_product(const ConstPart<S, Left>& A, const ConstPart<S, Right>& B, Part<S> out, S factor);

template <class S, int Order>
void add_gram(const ConstPart<S, Order>& A, Part<S> lower, S factor);

}  // namespace compiled

template <class Operand>
constexpr int order_of = Operand::IsRowMajor ? Eigen::RowMajor : Eigen::ColMajor;

// out += factor A B. Matrices and blocks are read where they lie, transposed or not; other
// expressions are evaluated first.
template <class Left, class Right, class Out>
void add_product(const Left& A, const Right& B, Out&& out, typename Left::Scalar factor = 1) {
  compiled::add_product<typename Left::Scalar, order_of<Left>, order_of<Right>>(A, B, out, factor);
}

// out = A B
template <class Left, class Right, class Out>
void write_product(const Left& A, const Right& B, Out&& out) {
  out.setZero();
  add_product(A, B, out);
}

template <class Left, class Right>
Matrix<typename Left::Scalar> product(const Left& A, const Right& B) {
  Matrix<typename Left::Scalar> out(A.rows(), B.cols());
  write_product(A, B, out);
  return out;
}

// The lower triangle of A A', times a factor, is added to `lower`.
template <class Operand, class Out>
void add_gram(const Operand& A, Out&& lower, typename Operand::Scalar factor = 1) {
  compiled::add_gram<typename Operand::Scalar, order_of<Operand>>(A, lower, factor);
}

}  // namespace nettrim
