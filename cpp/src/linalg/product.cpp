#include "linalg/product.hpp"

namespace nettrim::compiled {

template <class S, int Left, int Right>
void add_product(const ConstPart<S, Left>& A, const ConstPart<S, Right>& B, Part<S> out, S factor) {
  if (A.size() > 0 && B.size() > 0) out.noalias() += factor * A * B;
}

template <class S, int Order>
void add_gram(const ConstPart<S, Order>& A, Part<S> lower, S factor) {
  if (A.size() > 0) lower.template selfadjointView<Eigen::Lower>().rankUpdate(A, factor);
}

#define NETTRIM_FOR(S, Left, Right)                        \
  template void add_product<S, Eigen::Left, Eigen::Right>( \
      const ConstPart<S, Eigen::Left>&, const ConstPart<S, Eigen::Right>&, Part<S>, S);
NETTRIM_FOR(float, ColMajor, ColMajor)
NETTRIM_FOR(float, ColMajor, RowMajor)
NETTRIM_FOR(float, RowMajor, ColMajor)
NETTRIM_FOR(double, ColMajor, ColMajor)
NETTRIM_FOR(double, ColMajor, RowMajor)
NETTRIM_FOR(double, RowMajor, ColMajor)
#undef NETTRIM_FOR
template void add_gram(const ConstPart<float, Eigen::ColMajor>&, Part<float>, float);
template void add_gram(const ConstPart<float, Eigen::RowMajor>&, Part<float>, float);
template void add_gram(const ConstPart<double, Eigen::ColMajor>&, Part<double>, double);
template void add_gram(const ConstPart<double, Eigen::RowMajor>&, Part<double>, double);

}  // namespace nettrim::compiled
