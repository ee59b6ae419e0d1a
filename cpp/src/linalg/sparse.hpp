// Products with samples, of which many are mostly zero: images, and what a ReLU leaves.
#pragma once

#include "linalg/product.hpp"

namespace nettrim {

namespace compiled {

template <class S>
void add_product_with_samples(const ConstPart<S>& A, const ConstPart<S>& X, Part<S> out, S factor);
template <class S>
void add_product_with_features(const ConstPart<S>& A, const ConstPart<S>& X, Part<S> out, S factor);

}  // namespace compiled

// out += factor A X. Where most entries of X are zero they are passed over, if that saves time.
template <class Left, class Samples, class Out>
void add_product_with_samples(const Left& A, const Samples& X, Out&& out,
                              typename Left::Scalar factor = 1) {
  compiled::add_product_with_samples<typename Left::Scalar>(A, X, out, factor);
}

// out += factor A X'
template <class Left, class Samples, class Out>
void add_product_with_features(const Left& A, const Samples& X, Out&& out,
                               typename Left::Scalar factor = 1) {
  compiled::add_product_with_features<typename Left::Scalar>(A, X, out, factor);
}

}  // namespace nettrim
