// Products with samples, of which many are mostly zero: images, and what a ReLU leaves.
#pragma once

#include <cstdint>
#include <vector>

#include "linalg/product.hpp"

namespace nettrim {

// Entries that are not zero, column by column.
template <class S>
struct SparseColumns {
  std::vector<std::int32_t> begin = {0}, row;
  std::vector<S> value;

  Index count() const { return static_cast<Index>(begin.size()) - 1; }
  void read(const ConstPart<S>& X);
  void read_transposed(const SparseColumns& other, Index rows);
};

// Samples of which products are asked again and again. Where most of their entries are zero they
// are passed over, if that saves time with so many rows on the left.
template <class S>
class SparseSamples {
 public:
  void read(const ConstPart<S>& X, Index left_rows);

  // out += factor A X, and out += factor A X'
  void add_product_with_samples(const ConstPart<S>& A, const ConstPart<S>& X, Part<S> out,
                                S factor = 1) const;
  void add_product_with_features(const ConstPart<S>& A, const ConstPart<S>& X, Part<S> out,
                                 S factor = 1) const;

 private:
  SparseColumns<S> samples_, features_;
};

namespace compiled {

template <class S>
void add_product_with_samples(const ConstPart<S>& A, const ConstPart<S>& X, Part<S> out, S factor);
template <class S>
void add_product_with_features(const ConstPart<S>& A, const ConstPart<S>& X, Part<S> out, S factor);

}  // namespace compiled

// The same for samples of which one product is asked.
template <class Left, class Samples, class Out>
void add_product_with_samples(const Left& A, const Samples& X, Out&& out,
                              typename Left::Scalar factor = 1) {
  compiled::add_product_with_samples<typename Left::Scalar>(A, X, out, factor);
}

template <class Left, class Samples, class Out>
void add_product_with_features(const Left& A, const Samples& X, Out&& out,
                               typename Left::Scalar factor = 1) {
  compiled::add_product_with_features<typename Left::Scalar>(A, X, out, factor);
}

}  // namespace nettrim
